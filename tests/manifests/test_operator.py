"""The operator's installation: hardened like the service, and with no right that it does not need."""

import re
import tomllib

import jsonschema
import pytest
import yaml
from manifests import (
    KUSTOMIZE, OPERATOR_NAMES, ROOT, build, containers, environment, inside, label, load, objects_of, of_kind, only,
    pod_labels, pod_spec, seconds, workloads, write_overlay,
)
from test_security import policies_for, ports

IMAGE = "registry.example.com/order-operator"
NAMESPACE = "order-operator-system"
CLUSTER_WIDE = {"Namespace", "CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"}
CLI = ROOT / "operator/src/cli.rs"
SAMPLES = sorted((KUSTOMIZE / "operator/samples").glob("*.yaml"))
README = KUSTOMIZE / "operator/components/namespaced/README.md"


@pytest.fixture(params=OPERATOR_NAMES)
def objects(request):
    return objects_of(request.param)


def operator(objects):
    return only(objects, "Deployment", "order-operator")


def settings():
    """Every setting of the operator with its default, out of the source."""
    pattern = r"#\[arg\((?P<options>[^#]*?)\)\]\s*(?:pub )?(?P<name>[a-z_]+):"
    found = {}
    for match in re.finditer(pattern, CLI.read_text(), re.DOTALL):
        if "env" not in match["options"]:
            continue
        named = re.search(r'env = "([A-Z_]+)"', match["options"])
        default = re.search(r'default_value = "([^"]*)"', match["options"])
        found[named[1] if named else match["name"].upper()] = default[1] if default else None
    assert {"WATCH_NAMESPACE", "POD_NAMESPACE", "POD_NAME", "HEALTH_ADDRESS", "METRICS_ADDRESS"} <= set(found)
    return found


def test_names_and_namespaces(objects):
    for item in objects:
        if item["kind"] in CLUSTER_WIDE:
            assert "namespace" not in item["metadata"], label(item)
        else:
            allowed = {NAMESPACE, "orders"} if item["kind"] == "RoleBinding" else {NAMESPACE}
            assert item["metadata"]["namespace"] in allowed, label(item)
    assert only(objects, "Namespace", NAMESPACE)
    assert only(objects, "CustomResourceDefinition", "orderservices.orders.example.com")


def test_hardened_like_the_service(objects):
    """The same container, pod and spreading as kustomize/base; only the token is mounted here."""
    served = only(load(build(KUSTOMIZE / "base")), "Deployment", "order-service")
    ours = operator(objects)
    assert pod_spec(ours)["securityContext"] == pod_spec(served)["securityContext"]
    assert containers(ours)[0]["securityContext"] == containers(served)[0]["securityContext"]
    assert pod_spec(ours)["enableServiceLinks"] is False
    assert set(containers(ours)[0]["resources"]["limits"]) == set(containers(served)[0]["resources"]["limits"])
    for workload in (ours, served):
        for constraint in pod_spec(workload)["topologySpreadConstraints"]:
            del constraint["labelSelector"]
    assert pod_spec(ours)["topologySpreadConstraints"] == pod_spec(served)["topologySpreadConstraints"]
    assert not pod_spec(ours).get("volumes"), "it writes no file"
    for namespace in of_kind(objects, "Namespace"):
        for mode in ("enforce", "audit", "warn"):
            assert namespace["metadata"]["labels"][f"pod-security.kubernetes.io/{mode}"] == "restricted"


def test_the_token_is_for_the_operator_alone(objects):
    assert only(objects, "ServiceAccount", "order-operator")["automountServiceAccountToken"] is False
    assert pod_spec(operator(objects))["automountServiceAccountToken"] is True
    assert pod_spec(operator(objects))["serviceAccountName"] == "order-operator"
    for binding in of_kind(objects, "RoleBinding", "ClusterRoleBinding"):
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "order-operator", "namespace": NAMESPACE}]
        roles = [r["metadata"]["name"] for r in of_kind(objects, binding["roleRef"]["kind"])]
        assert binding["roleRef"]["name"] in roles, label(binding)


def test_two_replicas_of_which_one_may_go(objects):
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


def test_no_wildcards_and_nothing_that_raises_rights(objects):
    for role in of_kind(objects, "Role", "ClusterRole"):
        for rule in role["rules"]:
            assert "nonResourceURLs" not in rule, label(role)
            for key in ("apiGroups", "resources", "verbs"):
                assert rule[key] and not any("*" in value for value in rule[key]), f"{label(role)}: {rule}"
                assert rule[key] == sorted(set(rule[key])), f"{label(role)}: {rule[key]} is not in order"
    every = granted(objects)
    # One Secret is its own, and it reads that one where it may read no others, too.
    assert {g for g in every if every.count(g) > 1} <= {("", "secrets", "get")}
    assert not {verb for _, _, verb in every} & {"escalate", "bind", "impersonate", "deletecollection", "approve", "sign"}
    resources = {resource for _, resource, _ in every}
    assert not resources & {"pods/exec", "pods/attach", "pods/portforward", "pods/ephemeralcontainers", "nodes",
                            "serviceaccounts/token", "roles", "clusterroles", "rolebindings", "clusterrolebindings"}
    verbs = {resource: {v for _, r, v in every if r == resource} for resource in resources}
    # Secrets are read one by one, by name, and none but its own is written. Pods are looked at. What a
    # person asked for is not changed.
    [own] = [rule for rule in rules_on(objects, "secrets") if rule["verbs"] != ["get"]]
    assert own["verbs"] == ["get", "patch"] and own["resourceNames"] == ["order-operator-key"]
    assert verbs["pods"] == {"list"}
    assert verbs["orderservices"] == {"list", "watch"}
    # What all else hangs on goes with its owner only.
    assert not any("delete" in verbs[kind] for kind in ("deployments", "services", "serviceaccounts"))
    assert "delete" not in verbs["leases"]


def test_people_get_orderservices_with_their_namespaces(objects):
    view, edit = (only(objects, "ClusterRole", f"orderservices-{name}") for name in ("view", "edit"))
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    for role in (view, edit):
        assert {group for rule in role["rules"] for group in rule["apiGroups"]} == {"orders.example.com"}
    assert {verb for rule in view["rules"] for verb in rule["verbs"]} == {"get", "list", "watch"}
    # The status is the operator's.
    assert "orderservices/status" not in {r for rule in edit["rules"] for r in rule["resources"]}


@pytest.mark.parametrize("name", [n for n in OPERATOR_NAMES if "namespaced" in n])
def test_namespaced_binds_nothing_in_the_whole_cluster(name):
    objects = objects_of(name)
    assert not of_kind(objects, "ClusterRoleBinding")
    binding = only(objects, "RoleBinding", "order-operator")
    namespace = binding["metadata"]["namespace"]
    assert environment(operator(objects), objects)["WATCH_NAMESPACE"] == namespace
    assert lease_of(objects) == f"order-operator-{namespace}"


def lease_of(objects):
    """The one Lease that it may renew."""
    rules = only(objects, "Role", "order-operator-leader-election")["rules"]
    [name] = [name for rule in rules for name in rule.get("resourceNames", [])]
    return name


def test_the_key_is_the_one_that_the_program_takes(objects):
    """Empty, for what is in Git is no secret; and where the operator runs, whatever namespace it serves."""
    source = (ROOT / "operator/src/reconcile/digest_key.rs").read_text()
    [name] = re.findall(r'const SECRET_NAME: &str = "([^"]*)"', source)
    key = only(objects, "Secret", name)
    assert key["metadata"]["namespace"] == NAMESPACE
    assert "data" not in key and "stringData" not in key and "immutable" not in key
    for kind in ("Role", "RoleBinding"):
        assert only(objects, kind, name)["metadata"]["namespace"] == NAMESPACE
    fields = {v["name"]: v["valueFrom"]["fieldRef"]["fieldPath"]
              for v in containers(operator(objects))[0]["env"] if "valueFrom" in v}
    assert fields["POD_NAMESPACE"] == "metadata.namespace"


def test_the_lease_is_the_one_that_the_program_takes():
    source = (ROOT / "operator/src/serve.rs").read_text()
    assert 'None => "order-operator".to_owned()' in source and 'format!("order-operator-{namespace}")' in source
    assert lease_of(objects_of("operator")) == "order-operator"


def test_the_readme_of_namespaced_is_right():
    [text] = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    kustomization = yaml.safe_load(text.replace("../operator", inside("operator")))
    objects = load(build(write_overlay("namespaced-readme", kustomization)))
    assert only(objects, "RoleBinding", "order-operator")["metadata"]["namespace"] == "shop"
    assert only(objects, "RoleBinding", "order-operator-leader-election")["metadata"]["namespace"] == NAMESPACE
    assert environment(operator(objects), objects)["WATCH_NAMESPACE"] == "shop"
    assert lease_of(objects) == "order-operator-shop"


def test_every_setting_exists(objects):
    container = containers(operator(objects))[0]
    known = settings()
    for variable in container["env"]:
        assert variable["name"] in known, variable["name"]
    values = environment(operator(objects), objects)
    by_name = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert values["HEALTH_ADDRESS"] == f"0.0.0.0:{by_name['health']}"
    assert values["METRICS_ADDRESS"] == f"0.0.0.0:{by_name['metrics']}"
    fields = {v["name"]: v["valueFrom"]["fieldRef"]["fieldPath"] for v in container["env"] if "valueFrom" in v}
    assert fields == {"POD_NAME": "metadata.name", "POD_NAMESPACE": "metadata.namespace"}
    # What is under way may end, and the lease is given back.
    assert seconds(known["SHUTDOWN_TIMEOUT"]) + 5 <= pod_spec(operator(objects))["terminationGracePeriodSeconds"]


def test_probes_do_not_depend_on_leadership(objects):
    container = containers(operator(objects))[0]
    handlers = {kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert handlers["liveness"] == {"path": "/healthz", "port": "health"}
    assert handlers["readiness"] == handlers["startup"] == {"path": "/readyz", "port": "health"}


def test_network_is_denied_but_for_named_flows(objects):
    assert only(objects, "NetworkPolicy", "default-deny")["spec"] == {
        "podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    found = policies_for(objects, pod_labels(operator(objects)))
    assert set().union(*(ports(p, "egress") for p in found)) == {("UDP", 53), ("TCP", 53), ("TCP", 443), ("TCP", 6443)}
    assert set().union(*(ports(p, "ingress") for p in found)) == {("TCP", "metrics")}
    for policy in found:
        for rule in policy["spec"].get("egress", []):
            assert rule["to"], f"{label(policy)}: to anywhere"
        for rule in policy["spec"].get("ingress", []):
            assert rule["from"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]


def test_the_version_is_the_one_of_the_program(objects):
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    [workload] = workloads(objects)
    assert containers(workload)[0]["image"] == f"{IMAGE}:{version}"


def schema():
    definition = yaml.safe_load((KUSTOMIZE / "operator/crd.yaml").read_text())
    [version] = [v for v in definition["spec"]["versions"] if v["name"] == "v1alpha1"]
    return version["schema"]["openAPIV3Schema"]


def strict(node):
    """The schema as a JSON Schema that refuses unknown fields, which an API server would drop."""
    found = {key: value for key, value in node.items() if key not in ("format", "properties", "items")}
    if "items" in node:
        found["items"] = strict(node["items"])
    if "properties" in node:
        found["properties"] = {name: strict(below) for name, below in node["properties"].items()}
        found["additionalProperties"] = False
    return found


@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.name)
def test_samples_fit_the_schema(file):
    [sample] = load(file.read_text())
    rules = strict(schema())
    rules["properties"] |= {"apiVersion": True, "kind": True, "metadata": True}
    jsonschema.validate(sample, rules)
    # And something else does not: the check works.
    sample["spec"]["imagee"] = "x"
    with pytest.raises(jsonschema.ValidationError, match="imagee"):
        jsonschema.validate(sample, rules)


def fields(node, path=""):
    """Every leaf of a schema as a dotted path."""
    for name, below in node.get("properties", {}).items():
        here = f"{path}.{name}" if path else name
        if below.get("properties"):
            yield from fields(below, here)
        else:
            yield here


def test_every_field_is_documented():
    text = (ROOT / "docs/OPERATOR.md").read_text()
    names = list(fields(schema()["properties"]["spec"]))
    assert len(names) > 30
    documented = set(re.findall(r"^\| `([A-Za-z.-]+)` \|", text, re.MULTILINE))
    assert [name for name in names if name not in documented] == []
    # And what is not there is not promised.
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
    source = (ROOT / "operator/src/metrics.rs").read_text()
    names = set(re.findall(r'"(order_operator_[a-z_]+)"', source))
    assert names == set(re.findall(r"`(order_operator_[a-z_]+)", section))


def reasons(file):
    """Words in a source of the operator that look like reasons."""
    source = (ROOT / "operator/src/reconcile" / file).read_text().split("#[cfg(test)]")[0]
    return set(re.findall(r'"([A-Z][a-z]+[A-Za-z]*)"', source))


def documented(heading):
    section = (ROOT / "docs/OPERATOR.md").read_text().split(f"## {heading}")[1].split("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return {word for row in rows for word in re.findall(r"`([A-Z][a-z]+[A-Za-z]*)`", row)}


def test_every_condition_and_reason_is_documented():
    types = {"Ready", "Progressing", "Degraded", "Migrated", "Paused", "Conflict"}
    found = reasons("status.rs") | reasons("conditions.rs")
    assert types < found and len(found) > 25
    assert documented("Conditions") == found


def test_every_event_is_documented():
    actions = {"Reconcile", "Rollback", "Validate", "Dereference", "Apply", "Observe", "Migrate", "Pause"}
    conditions = {"Degraded", "Progressing"}
    assert documented("Events") == reasons("condition_events.rs") - actions - conditions
