"""The operator's installation: hardened like the service, with only the rights that it needs."""

import re
import tomllib

import jsonschema
import pytest
import yaml
from manifests import (
    KUSTOMIZE, OPERATOR_NAMES, ROOT, build, containers, environment, inside, label, load, objects_of, of_kind, only,
    pod_labels, pod_spec, rust_source, seconds, workloads, write_overlay,
)
from test_security import API_SERVER_PORTS, in_namespace, policies_for, ports

IMAGE = "registry.example.com/order-operator"
NAMESPACE = "order-operator-system"
CLUSTER_WIDE = {"Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}
SAMPLES = sorted((KUSTOMIZE / "operator/samples").glob("*.yaml"))
README = KUSTOMIZE / "operator/components/namespaced/README.md"


@pytest.fixture(params=OPERATOR_NAMES)
def objects(request):
    return objects_of(request.param)


def operator(objects):
    return only(objects, "Deployment", "order-operator")


def settings():
    """Every setting of the operator with its default, from the source code."""
    pattern = r"#\[arg\((?P<options>[^#]*?)\)\]\s*(?:pub )?(?P<name>[a-z_]+):"
    found = {}
    for match in re.finditer(pattern, rust_source("operator/src", "cli.rs"), re.DOTALL):
        if "env" not in match["options"]:
            continue
        named = re.search(r'env = "([A-Z_]+)"', match["options"])
        default = re.search(r'default_value = "([^"]*)"', match["options"])
        found[named[1] if named else match["name"].upper()] = default[1] if default else None
    assert {"WATCH_NAMESPACE", "POD_NAMESPACE", "POD_NAME", "HEALTH_ADDRESS", "METRICS_ADDRESS"} <= set(found)
    return found


def namespace_of(objects):
    """The namespace of the operator."""
    return operator(objects)["metadata"]["namespace"]


@pytest.mark.parametrize("name", OPERATOR_NAMES)
def test_names_and_namespaces(name):
    objects, expected = objects_of(name), "orders" if "namespaced" in name else NAMESPACE
    for item in objects:
        if item["kind"] in CLUSTER_WIDE:
            assert "namespace" not in item["metadata"], label(item)
        else:
            assert item["metadata"]["namespace"] == expected, label(item)
    if "namespaced" not in name:
        assert only(objects, "Namespace", NAMESPACE)
        assert only(objects, "CustomResourceDefinition", "orderservices.orders.example.com")


def test_hardened_like_the_service(objects):
    """Container, pod and spreading are those of kustomize/base; only the token is mounted in addition."""
    served = only(load(build(KUSTOMIZE / "base")), "Deployment", "order-service")
    ours = operator(objects)
    ids = {key: 65532 for key in ("runAsUser", "runAsGroup", "fsGroup")}
    # OpenShift assigns them.
    theirs = {key: value for key, value in pod_spec(ours)["securityContext"].items()}
    assert theirs | ids == pod_spec(served)["securityContext"]
    assert not set(ids) & set(theirs) or ids.items() <= theirs.items()
    assert containers(ours)[0]["securityContext"] == containers(served)[0]["securityContext"]
    assert pod_spec(ours)["enableServiceLinks"] is False
    assert set(containers(ours)[0]["resources"]["limits"]) == set(containers(served)[0]["resources"]["limits"])

    def spread(workload):
        return [constraint | {"labelSelector": None} for constraint in pod_spec(workload)["topologySpreadConstraints"]]

    assert spread(ours) == spread(served)
    assert not pod_spec(ours).get("volumes"), "the operator writes no file"
    for namespace in of_kind(objects, "Namespace"):
        for mode in ("enforce", "audit", "warn"):
            assert namespace["metadata"]["labels"][f"pod-security.kubernetes.io/{mode}"] == "restricted"


def test_only_the_operator_gets_the_token(objects):
    assert only(objects, "ServiceAccount", "order-operator")["automountServiceAccountToken"] is False
    assert pod_spec(operator(objects))["automountServiceAccountToken"] is True
    assert pod_spec(operator(objects))["serviceAccountName"] == "order-operator"
    for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": "order-operator", "namespace": namespace_of(objects)}]
        roles = [r["metadata"]["name"] for r in of_kind(objects, binding["roleRef"]["kind"])]
        assert binding["roleRef"]["name"] in roles, label(binding)


def test_one_of_two_replicas_may_be_evicted(objects):
    assert operator(objects)["spec"]["replicas"] == 2
    assert operator(objects)["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    budget = only(objects, "PodDisruptionBudget", "order-operator")["spec"]
    assert budget["maxUnavailable"] == 1 and budget["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    for selector in (budget["selector"], operator(objects)["spec"]["selector"]):
        assert selector["matchLabels"].items() <= pod_labels(operator(objects)).items()


def granted(objects):
    """(group, resource, verb) of every rule that is bound to the operator."""
    roles = [i for i in of_kind(objects, "Role", "ClusterRole") if not i["metadata"]["name"].startswith("orderservices-")]
    return [
        (group, resource, verb)
        for role in roles for rule in role["rules"]
        for group in rule["apiGroups"] for resource in rule["resources"] for verb in rule["verbs"]
    ]


def rules_on(objects, resource):
    return [rule for role in of_kind(objects, "Role", "ClusterRole") for rule in role["rules"]
            if resource in rule["resources"]]


def test_no_wildcards_and_no_rights_that_grant_rights(objects):
    for role in of_kind(objects, "Role", "ClusterRole"):
        for rule in role["rules"]:
            assert "nonResourceURLs" not in rule, label(role)
            for key in ("apiGroups", "resources", "verbs"):
                assert rule[key] and not any("*" in value for value in rule[key]), f"{label(role)}: {rule}"
                assert rule[key] == sorted(set(rule[key])), f"{label(role)}: {rule[key]} is not in order"
    every = granted(objects)
    # Its own Secret is readable also where it may read no other Secrets.
    assert {g for g in every if every.count(g) > 1} <= {("", "secrets", "get")}
    assert not {verb for _, _, verb in every} & {"escalate", "bind", "impersonate", "deletecollection", "approve", "sign"}
    resources = {resource for _, resource, _ in every}
    assert not resources & {"pods/exec", "pods/attach", "pods/portforward", "pods/ephemeralcontainers", "nodes",
                            "serviceaccounts/token", "roles", "clusterroles", "rolebindings", "clusterrolebindings"}
    verbs = {resource: {v for _, r, v in every if r == resource} for resource in resources}
    # Secrets are read one by one, by name, and only its own is written. Pods are only listed. The spec of an
    # OrderService is not changed.
    [own] = [rule for rule in rules_on(objects, "secrets") if "resourceNames" in rule]
    assert own["verbs"] == ["get", "patch"] and own["resourceNames"] == ["order-operator-key"]
    # Copies of the URLs of databases are created and deleted, but no secret of a user is changed or listed.
    [others] = [rule for rule in rules_on(objects, "secrets") if "resourceNames" not in rule]
    assert others["verbs"] == ["create", "delete", "get"]
    assert verbs["pods"] == {"list"}
    # Warnings about pods are read where the scheduler and the kubelet write them; its own events are only written.
    assert {(group, verb) for group, resource, verb in every if resource == "events"} == {
        ("", "list"), ("events.k8s.io", "create"), ("events.k8s.io", "patch")}
    assert verbs["orderservices"] == {"list", "watch"}
    # Kubernetes deletes these together with their owner.
    assert not any("delete" in verbs[kind] for kind in ("deployments", "services", "serviceaccounts"))
    assert "delete" not in verbs["leases"]


@pytest.mark.parametrize("name", [n for n in OPERATOR_NAMES if "namespaced" not in n])
def test_roles_of_a_namespace_include_its_orderservices(name):
    objects = objects_of(name)
    view, edit = (only(objects, "ClusterRole", f"orderservices-{name}") for name in ("view", "edit"))
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    for role in (view, edit):
        assert {group for rule in role["rules"] for group in rule["apiGroups"]} == {"orders.example.com"}
    assert {verb for rule in view["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}
    # Only the operator writes the status.
    assert "orderservices/status" not in {r for rule in edit["rules"] for r in rule["resources"]}


@pytest.mark.parametrize("name", [n for n in OPERATOR_NAMES if "namespaced" in n])
def test_namespaced_has_nothing_outside_of_its_namespace(name):
    objects = objects_of(name)
    assert not of_kind(objects, *CLUSTER_WIDE)
    assert only(objects, "RoleBinding", "order-operator")["roleRef"]["kind"] == "Role"
    # The same rights as those of the whole cluster.
    rules = only(objects, "Role", "order-operator")["rules"]
    assert rules == only(objects_of("operator"), "ClusterRole", "order-operator")["rules"]
    watched = fields_of_the_pod(objects)["WATCH_NAMESPACE"]
    assert watched == "metadata.namespace"
    assert lease_of(objects) == environment(operator(objects), objects)["LEASE_NAME"]
    # Other pods of the namespace are not isolated, and the operator still is, in both directions.
    policies = of_kind(objects, "NetworkPolicy", "CiliumNetworkPolicy")
    for policy in policies:
        selector = policy["spec"].get("podSelector") or policy["spec"]["endpointSelector"]
        assert selector["matchLabels"]["app.kubernetes.io/name"] == "order-operator", label(policy)
    assert {kind for policy in policies for kind in policy["spec"].get("policyTypes", [])} == {"Ingress", "Egress"}


def in_the_namespace(name):
    overlay = {"resources": [inside("operator")], "components": [inside("operator", "components", "namespaced")],
               "namespace": name}
    return load(build(write_overlay(f"namespaced-{name}", overlay)))


def test_two_namespaced_operators_share_no_object():
    one, other = in_the_namespace("orders"), in_the_namespace("shop")

    def keys(objects):
        return {(item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]) for item in objects}

    assert len(one) == len(other) > 10
    assert not keys(one) & keys(other)
    # Neither has an object in common with the installation for the whole cluster, whose CRD they use.
    assert not keys(one) & keys(objects_of("operator"))
    for namespace, objects in (("orders", one), ("shop", other)):
        for binding in of_kind(objects, "RoleBinding"):
            assert binding["subjects"][0]["namespace"] == namespace, label(binding)


def fields_of_the_pod(objects):
    """variable → field of the pod."""
    return {v["name"]: v["valueFrom"]["fieldRef"]["fieldPath"]
            for v in containers(operator(objects))[0]["env"] if "valueFrom" in v}


def lease_of(objects):
    """The only Lease that the operator may renew."""
    rules = only(objects, "Role", "order-operator-leader-election")["rules"]
    [name] = [name for rule in rules for name in rule.get("resourceNames", [])]
    return name


def test_the_program_uses_the_key_of_the_manifests(objects):
    """The key is empty, because Git holds no secrets, and it is in the operator's own namespace."""
    key = only(objects, "Secret")
    name = key["metadata"]["name"]
    assert f'"{name}"' in rust_source("operator/src")
    assert key["metadata"]["namespace"] == namespace_of(objects)
    assert "data" not in key and "stringData" not in key and "immutable" not in key
    for kind in ("Role", "RoleBinding"):
        assert only(objects, kind, name)["metadata"]["namespace"] == namespace_of(objects)
    assert fields_of_the_pod(objects)["POD_NAMESPACE"] == "metadata.namespace"


def test_the_program_uses_the_lease_of_the_manifests():
    source = rust_source("operator/src")
    assert '"order-operator"' in source and '"order-operator-{namespace}"' in source
    assert lease_of(objects_of("operator")) == "order-operator"


def test_the_documented_overlay_of_namespaced_works():
    [text] = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    kustomization = yaml.safe_load(text.replace("../operator", inside("operator")))
    objects = load(build(write_overlay("namespaced-readme", kustomization)))
    assert {item["metadata"]["namespace"] for item in objects} == {"shop"}
    # What the cluster needs besides, in the command beside it.
    for file in re.findall(r"-f kustomize/operator/([a-z-]+\.yaml)", README.read_text()):
        assert {item["kind"] for item in load((KUSTOMIZE / "operator" / file).read_text())} <= CLUSTER_WIDE


def test_each_component_has_a_readme_that_names_it():
    for component in (KUSTOMIZE / "operator/components").iterdir():
        text = (component / "README.md").read_text()
        assert text.startswith(f"# {component.name}\n") and f"../operator/components/{component.name}" in text


def test_every_setting_exists(objects):
    container = containers(operator(objects))[0]
    known = settings()
    for variable in container["env"]:
        assert variable["name"] in known, variable["name"]
    values = environment(operator(objects), objects)
    by_name = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert values["HEALTH_ADDRESS"] == f"0.0.0.0:{by_name['health']}"
    assert values["METRICS_ADDRESS"] == f"0.0.0.0:{by_name['metrics']}"
    assert fields_of_the_pod(objects).items() >= {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace"}.items()
    # Enough time to finish requests in flight and to release the Lease.
    assert seconds(known["SHUTDOWN_TIMEOUT"]) + 5 <= pod_spec(operator(objects))["terminationGracePeriodSeconds"]


def test_probes_do_not_depend_on_leadership(objects):
    container = containers(operator(objects))[0]
    handlers = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert handlers["liveness"] == {"path": "/healthz", "port": "health"}
    assert handlers["readiness"] == handlers["startup"] == {"path": "/readyz", "port": "health"}


@pytest.mark.parametrize("name", OPERATOR_NAMES)
def test_only_named_network_flows_are_permitted(name):
    objects, added = objects_of(name), name.split("+")
    if "namespaced" not in added:
        assert only(objects, "NetworkPolicy", "default-deny")["spec"] == {
            "podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    found = policies_for(objects, pod_labels(operator(objects)))
    dns = 5353 if "openshift" in added else 53
    # With Cilium another policy permits it: test_platforms.py.
    api_server = set() if "cilium" in added else {("TCP", port) for port in API_SERVER_PORTS}
    assert set().union(*(ports(p, "egress") for p in found)) == {("UDP", dns), ("TCP", dns)} | api_server
    assert set().union(*(ports(p, "ingress") for p in found)) == {("TCP", "metrics")}
    for policy in found:
        for rule in policy["spec"].get("egress", []):
            everywhere = "any-api-server" in added and policy["metadata"]["name"] == "order-operator-allow-api-server"
            assert everywhere != bool(rule.get("to")), f"{label(policy)} permits every destination"
        for rule in policy["spec"].get("ingress", []):
            scrapers = ["monitoring"] + ["openshift-user-workload-monitoring"] * ("openshift" in added)
            assert rule["from"] == [in_namespace(scraper) for scraper in scrapers]


def test_the_version_is_that_of_the_program(objects):
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    [workload] = workloads(objects)
    assert containers(workload)[0]["image"] == f"{IMAGE}:{version}"


def schema():
    definition = yaml.safe_load((KUSTOMIZE / "operator/crd.yaml").read_text())
    [version] = [v for v in definition["spec"]["versions"] if v["name"] == "v1alpha1"]
    return version["schema"]["openAPIV3Schema"]


def strict(node):
    """The schema as a JSON Schema that rejects unknown fields, which an API server would drop."""
    found = {key: value for key, value in node.items() if key not in ("format", "properties", "items")}
    if "items" in node:
        found["items"] = strict(node["items"])
    if "properties" in node:
        found["properties"] = {name: strict(below) for name, below in node["properties"].items()}
        found["additionalProperties"] = node.get("x-kubernetes-preserve-unknown-fields", False)
    return found


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.name)
def test_samples_fit_the_schema(file):
    [sample] = load(file.read_text())
    rules = strict(schema())
    rules["properties"] |= {"apiVersion": True, "kind": True, "metadata": True}
    jsonschema.validate(sample, rules)
    # The check detects an unknown field.
    sample["spec"]["imagee"] = "x"
    with pytest.raises(jsonschema.ValidationError, match="imagee"):
        jsonschema.validate(sample, rules)


def fields(node, path=""):
    """Every leaf of a schema as a dotted path."""
    for name, below in node.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        # A part of a pod is documented as a whole.
        if below.get("properties") and here != "podTemplate.spec":
            yield from fields(below, here)
        else:
            yield here


def test_every_field_is_documented():
    text = (ROOT / "docs/OPERATOR.md").read_text()
    names = list(fields(schema()["properties"]["spec"]))
    assert len(names) > 30
    documented = set(re.findall(r"^\| `([A-Za-z.-]+)` \|", text, re.MULTILINE))
    assert [name for name in names if name not in documented] == []
    # No other fields are documented.
    section = text.split("## Fields")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `([A-Za-z.-]+)` \|", section, re.MULTILINE)) == set(names)


def test_every_setting_is_documented():
    section = (ROOT / "docs/OPERATOR.md").read_text().split("## Run it")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| ([^|]+) \|", section, re.MULTILINE))
    assert set(rows) == set(settings())
    for name, default in settings().items():
        assert default is None or rows[name].strip("`") == default, name


def test_every_metric_is_documented():
    section = (ROOT / "docs/OPERATOR.md").read_text().split("## Run it")[1].split("\n## ")[0]
    names = set(re.findall(r'"(order_operator_[a-z_]+)"', rust_source("operator/src")))
    assert names == set(re.findall(r"`(order_operator_[a-z_]+)", section))


def reasons(file):
    """String literals in a source file of the operator that have the form of reasons."""
    files = [path for path in (ROOT / "operator/src").rglob(file) if path.parent.name not in ("crd", "cluster")]
    source = "\n".join(path.read_text().split("#[cfg(test)]")[0] for path in files)
    return set(re.findall(r'"([A-Z][a-z]+[A-Za-z]*)"', source))


def documented(heading):
    section = (ROOT / "docs/OPERATOR.md").read_text().split(f"## {heading}")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return {word for row in rows for word in re.findall(r"`([A-Z][a-z]+[A-Za-z]*)`", row)}


def test_every_condition_and_reason_is_documented():
    types = {"Ready", "Available", "Progressing", "Degraded", "Migrated", "Monitored", "Paused", "Conflict", "Reconciling", "Stalled"}
    found = reasons("status.rs") | reasons("conditions/*.rs")
    assert types < found and len(found) > 25
    # Reasons of pods are those of Kubernetes, so only the most frequent ones are listed.
    pods = reasons("pods/*.rs")
    assert {"Unschedulable", "QuotaExceeded", "ImagePullBackOff", "DatabaseUnreachable", "NotReady"} < pods
    assert documented("Conditions") - pods == found - pods


def test_every_event_is_documented():
    actions = {"Reconcile", "Rollback", "Validate", "Dereference", "Apply", "Observe", "Migrate", "Pause"}
    conditions = {"Degraded", "Progressing", "Monitored"}
    assert documented("Events") == reasons("*events.rs") - actions - conditions
