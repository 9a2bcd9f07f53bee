"""The Helm charts install the same objects as kustomize, for every value that they offer."""

import functools
import json
import re
import subprocess
import sys

import pytest
import yaml
from charts import CHARTS, HELMS, comparable, every_helm, overlay, rendered, run, template
from manifests import COMPONENTS, KUSTOMIZE, OPERATOR_COMPONENTS, ROOT, TOOLS, WORK, build, inside, load

SERVICE, OPERATOR = "order-service", "order-operator"
NAMESPACES = {SERVICE: "shop", OPERATOR: "order-operator-system"}
TRANSFORMERS = [inside("transformers", "image-tag")]


def patch(kind, name, *operations):
    """A JSON patch of kustomize."""
    text = yaml.safe_dump([{"op": op, "path": path, **({} if op == "remove" else {"value": value})}
                           for op, path, value in operations])
    return {"target": {"kind": kind, "name": name}, "patch": text}


def delete(kind, name=".*"):
    return {"target": {"kind": kind, "name": name}, "patch": f"$patch: delete\nkind: {kind}\nmetadata: {{name: x}}"}


POD = "/spec/template/spec"
CRON_POD = f"/spec/jobTemplate{POD}"
CONTAINER = f"{POD}/containers/0"
SERVER, JOB, CRON = ("Deployment", "order-service"), ("Job", ".*"), ("CronJob", "order-service-maintain")
PODS = ((SERVER, POD), (JOB, POD), (CRON, CRON_POD))
OPERATOR_DEPLOYMENT = ("Deployment", "order-operator")
TOLERATIONS = [{"key": "orders", "operator": "Exists"}]
AFFINITY = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
    {"matchExpressions": [{"key": "arch", "operator": "In", "values": ["amd64"]}]}]}}}
RULES = [{"to": [{"podSelector": {"matchLabels": {"cnpg.io/cluster": "orders"}}}], "ports": [{"protocol": "TCP", "port": 5432}]}]
FROM = [{"from": [{"podSelector": {}}], "ports": [{"protocol": "TCP", "port": "metrics"}]}]
RESOURCES = {"requests": {"cpu": "2", "memory": "64Mi"}, "limits": {"memory": "1Gi"}}
DIGEST = "sha256:" + "0" * 64


def each_pod(field, value, op="add"):
    return [patch(*target, (op, f"{path}/{field}", value)) for target, path in PODS]


@functools.cache
def env_index(kind, name, variable):
    (item,) = [o for o in load(build(KUSTOMIZE / ("base" if name == SERVICE else "operator")))
               if o["kind"] == kind and o["metadata"]["name"] == name]
    return [e["name"] for e in item["spec"]["template"]["spec"]["containers"][0]["env"]].index(variable)


def env(variable, value):
    return patch(*SERVER, ("replace", f"{CONTAINER}/env/{env_index(*SERVER, variable)}/value", value))


def policy(flow, field, rules, chart=SERVICE):
    return patch("NetworkPolicy", f"{chart}-allow-{flow}", ("replace", f"/spec/{field}", rules))


WITHOUT_AUTH = [
    {"patch": """
apiVersion: apps/v1
kind: Deployment
metadata: {name: order-service}
spec: {template: {spec: {
  containers: [{name: order-service, env: [{name: AUTH_FILE, $patch: delete}, {name: AUTH_ANONYMOUS, value: all}],
                volumeMounts: [{mountPath: /run/secrets/order-service-auth, $patch: delete}]}],
  volumes: [{name: auth, $patch: delete}]}}}
"""}]
def namespaces(*names):
    return [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}} for name in names]


WITHOUT_IDS = {"runAsUser": None, "runAsGroup": None, "fsGroup": None}
OPENSHIFT_POLICIES = {
    "dns": [{"to": namespaces("openshift-dns"), "ports": [{"protocol": "UDP", "port": 5353}, {"protocol": "TCP", "port": 5353}]}],
    "metrics": [{"from": namespaces("monitoring", "openshift-user-workload-monitoring"),
                 "ports": [{"protocol": "TCP", "port": "metrics"}]}]}
MONITORING, GATEWAY = inside("components", "monitoring"), inside("components", "gateway")
RUNBOOKS = "https://git.my-company.com/OPERATIONS.md"


# Values of the chart → what a kustomization changes for the same result.
SERVICE_CASES = {
    "defaults": ({}, {}),
    "image": ({"image": {"repository": "registry.my-company.com/orders", "tag": "1.2.3"}},
              {"images": [{"name": "registry.example.com/order-service", "newName": "registry.my-company.com/orders", "newTag": "1.2.3"}]}),
    "digest": ({"image": {"tag": "1.2.3", "digest": DIGEST}},
               {"images": [{"name": "registry.example.com/order-service", "newTag": "1.2.3", "digest": DIGEST}]}),
    "pull": ({"image": {"pullPolicy": "Always"}, "imagePullSecrets": [{"name": "registry"}]},
             {"patches": [*each_pod("containers/0/imagePullPolicy", "Always", "replace"),
                          *each_pod("imagePullSecrets", [{"name": "registry"}])]}),
    "replicas": ({"autoscaling": {"enabled": False}, "replicas": 3},
                 {"patches": [delete("HorizontalPodAutoscaler")], "replicas": [{"name": "order-service", "count": 3}]}),
    "no replicas": ({"autoscaling": {"enabled": False}, "replicas": 0},
                    {"patches": [delete("HorizontalPodAutoscaler")], "replicas": [{"name": "order-service", "count": 0}]}),
    "autoscaling": ({"autoscaling": {"minReplicas": 3, "maxReplicas": 12, "targetCPUUtilizationPercentage": 70}},
                    {"patches": [patch("HorizontalPodAutoscaler", "order-service",
                                       ("replace", "/spec/minReplicas", 3), ("replace", "/spec/maxReplicas", 12),
                                       ("replace", "/spec/metrics/0/resource/target/averageUtilization", 70))]}),
    "resources": ({"resources": {"requests": {"cpu": "2", "memory": "64Mi", "ephemeral-storage": None},
                                 "limits": {"memory": "1Gi", "ephemeral-storage": None}}},
                  {"patches": [patch(*SERVER, ("replace", f"{CONTAINER}/resources", RESOURCES))]}),
    "settings": ({"settings": {"POOL_MAX_SIZE": "6", "EVENT_RETENTION": "90d", "RUST_LOG": "info,order_service=debug"}},
                 {"configMapGenerator": [{"name": "order-service-config", "behavior": "merge", "literals": [
                     "POOL_MAX_SIZE=6", "EVENT_RETENTION=90d", "RUST_LOG=info,order_service=debug"]}]}),
    "shutdown": ({"drainDelay": "30s", "shutdownTimeout": "25s", "terminationGracePeriodSeconds": 90},
                 {"patches": [env("DRAIN_DELAY", "30s"), env("SHUTDOWN_TIMEOUT", "25s"),
                              patch(*SERVER, ("replace", f"{POD}/terminationGracePeriodSeconds", 90))]}),
    "secrets": ({"database": {"secretName": "db", "secretKey": "uri"}, "migrations": {"secretName": "owner"},
                 "auth": {"secretName": "keys"}},
                {"patches": [
                    patch(*SERVER, ("replace", f"{POD}/volumes/0/secret/secretName", "db"),
                          ("replace", f"{POD}/volumes/0/secret/items/0/key", "uri"),
                          ("replace", f"{POD}/volumes/1/secret/secretName", "keys")),
                    *[patch(*target, *[("replace", f"{path}/volumes/0/projected/sources/{rest}", value) for rest, value in (
                        ("0/secret/name", "db"), ("0/secret/items/0/key", "uri"), ("1/secret/name", "owner"))])
                      for target, path in PODS[1:]]]}),
    "anonymous": ({"auth": {"secretName": "", "anonymous": "all"}}, {"patches": WITHOUT_AUTH}),
    "anonymous readers": ({"auth": {"anonymous": "orders:read"}},
                          {"patches": [patch(*SERVER, ("add", f"{CONTAINER}/env/-", {"name": "AUTH_ANONYMOUS", "value": "orders:read"}))]}),
    "no budget": ({"podDisruptionBudget": {"enabled": False}}, {"patches": [delete("PodDisruptionBudget")]}),
    "budget": ({"podDisruptionBudget": {"maxUnavailable": "25%"}},
               {"patches": [patch("PodDisruptionBudget", "order-service", ("replace", "/spec/maxUnavailable", "25%"))]}),
    "no maintenance": ({"maintenance": {"enabled": False}}, {"patches": [delete("CronJob")]}),
    "maintenance": ({"maintenance": {"schedule": "*/5 * * * *", "suspend": True}},
                    {"patches": [patch(*CRON, ("replace", "/spec/schedule", "*/5 * * * *"), ("add", "/spec/suspend", True))]}),
    "no policies": ({"networkPolicy": {"enabled": False}}, {"patches": [delete("NetworkPolicy")]}),
    "policies": ({"networkPolicy": {"database": RULES, "dns": RULES, "clients": FROM, "metrics": FROM}},
                 {"patches": [policy("postgres", "egress", RULES), policy("dns", "egress", RULES),
                              policy("clients", "ingress", FROM), policy("metrics", "ingress", FROM)]}),
    "scheduling": ({"nodeSelector": {"pool": "orders"}, "tolerations": TOLERATIONS, "affinity": AFFINITY, "priorityClassName": "high"},
                   {"patches": [*each_pod("nodeSelector", {"pool": "orders"}), *each_pod("tolerations", TOLERATIONS),
                                *each_pod("affinity", AFFINITY), *each_pod("priorityClassName", "high")]}),
    "openshift": ({"podSecurityContext": WITHOUT_IDS, "networkPolicy": OPENSHIFT_POLICIES},
                  {"components": [inside("components", "openshift")]}),
    "load balancer with IP targets": ({"drainDelay": "90s", "terminationGracePeriodSeconds": 150, "minReadySeconds": 120},
                                      {"components": [inside("components", "ip-targets")]}),
    "database in the cluster": ({"networkPolicy": {"database": [{
        "to": [{"namespaceSelector": {"matchLabels": {"orders.example.com/database": "true"}}}],
        "ports": [{"protocol": "TCP", "port": 5432}]}]}}, {"components": [inside("components", "in-cluster-database")]}),
    "annotations": ({"podAnnotations": {"example.com/team": "a: {{ b }}"}},
                    {"patches": [patch(*SERVER, ("add", "/spec/template/metadata/annotations/example.com~1team", "a: {{ b }}"))]}),
    "spreading": ({"topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}]},
                  {"patches": [patch(*SERVER, ("replace", f"{POD}/topologySpreadConstraints", [
                      {"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}]))]}),
    "monitoring": ({"monitoring": {"enabled": True}}, {"components": [MONITORING]}),
    "runbooks": ({"monitoring": {"enabled": True, "runbooks": RUNBOOKS}},
                 {"components": [MONITORING], "transformers": [*TRANSFORMERS, inside("transformers", "runbooks")], "patches": [{
                     "patch": "apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: order-service\n"
                              f"  annotations: {{orders.example.com/runbooks: {RUNBOOKS!r}}}\n"}]}),
    "gateway": ({"gateway": {"enabled": True, "hostnames": ["orders.my-company.com"], "parentRefs": [{"name": "edge"}]},
                 "networkPolicy": {"gateway": FROM}},
                {"components": [GATEWAY], "patches": [
                    patch("HTTPRoute", "order-service", ("replace", "/spec/hostnames", ["orders.my-company.com"]),
                          ("replace", "/spec/parentRefs", [{"name": "edge"}])),
                    policy("gateway", "ingress", FROM)]}),
    "gateway without policies": ({"gateway": {"enabled": True}, "networkPolicy": {"enabled": False}},
                                 {"components": [GATEWAY], "patches": [delete("NetworkPolicy")]}),
}
OPERATOR_CASES = {
    "defaults": ({}, {}),
    "image": ({"image": {"repository": "registry.my-company.com/operator", "tag": "1.2.3", "digest": DIGEST, "pullPolicy": "Never"},
               "imagePullSecrets": [{"name": "registry"}]},
              {"patches": [patch(*OPERATOR_DEPLOYMENT,
                                 ("replace", f"{CONTAINER}/image", f"registry.my-company.com/operator:1.2.3@{DIGEST}"),
                                 ("replace", f"{CONTAINER}/imagePullPolicy", "Never"),
                                 ("add", f"{POD}/imagePullSecrets", [{"name": "registry"}]))]}),
    "pods": ({"replicas": 1, "resources": {"requests": {"cpu": "2", "memory": "64Mi", "ephemeral-storage": None},
                                           "limits": {"memory": "1Gi", "ephemeral-storage": None}},
              "nodeSelector": {"pool": "a"}, "tolerations": TOLERATIONS, "affinity": AFFINITY, "priorityClassName": "high",
              "podSecurityContext": {"fsGroup": None}},
             {"patches": [patch(*OPERATOR_DEPLOYMENT, ("replace", "/spec/replicas", 1),
                                ("replace", f"{CONTAINER}/resources", RESOURCES), ("add", f"{POD}/nodeSelector", {"pool": "a"}),
                                ("add", f"{POD}/tolerations", TOLERATIONS), ("add", f"{POD}/affinity", AFFINITY),
                                ("add", f"{POD}/priorityClassName", "high"), ("remove", f"{POD}/securityContext/fsGroup", None))]}),
    "settings": ({"settings": {"RESYNC_PERIOD": "60s"}},
                 {"patches": [patch(*OPERATOR_DEPLOYMENT, ("add", f"{CONTAINER}/env/-", {"name": "RESYNC_PERIOD", "value": "60s"}))]}),
    "one namespace": ({"namespaced": True}, {"components": [inside("operator", "components", "namespaced")],
                                             "namespace": "order-operator-system"}),
    "openshift": ({"podSecurityContext": WITHOUT_IDS, "networkPolicy": OPENSHIFT_POLICIES},
                  {"components": [inside("operator", "components", "openshift")]}),
    "any API server": ({"networkPolicy": {"apiServer": [{"ports": [
        {"protocol": "TCP", "port": port} for port in (443, 6443, 8443, 16443)]}]}},
        {"components": [inside("operator", "components", "any-api-server")]}),
    "cilium": ({"networkPolicy": {"cilium": True}}, {"components": [inside("operator", "components", "cilium")]}),
    "cilium without policies": ({"networkPolicy": {"cilium": True, "enabled": False}}, {"patches": [delete("NetworkPolicy")]}),
    "no policies": ({"networkPolicy": {"enabled": False}}, {"patches": [delete("NetworkPolicy")]}),
    "policies": ({"networkPolicy": {"apiServer": RULES, "dns": RULES, "metrics": FROM}},
                 {"patches": [policy("api-server", "egress", RULES, OPERATOR), policy("dns", "egress", RULES, OPERATOR),
                              policy("metrics", "ingress", FROM, OPERATOR)]}),
    "monitoring": ({"monitoring": {"enabled": True}}, {"components": [inside("operator", "components", "monitoring")]}),
}
CASES = [(SERVICE, name) for name in SERVICE_CASES] + [(OPERATOR, name) for name in OPERATOR_CASES]


def case(chart, name):
    return (SERVICE_CASES if chart == SERVICE else OPERATOR_CASES)[name]


@functools.cache
def expected(chart, name):
    _, changes = case(chart, name)
    start = {"resources": [inside("base")], "transformers": TRANSFORMERS, "namespace": NAMESPACES[chart]}
    if chart == OPERATOR:
        start = {"resources": [inside("operator")]}
    return load(build(overlay(f"{chart}-{name.replace(' ', '-')}", {**start, **changes})))


@every_helm
@pytest.mark.parametrize("chart, name", CASES, ids=lambda text: text.replace(" ", "-"))
def test_the_chart_equals_the_manifests(helm, chart, name):
    values, _ = case(chart, name)
    ours = comparable(rendered(helm, chart, values, NAMESPACES[chart]))
    theirs = comparable(expected(chart, name))
    assert ours.keys() == theirs.keys()
    for key, item in theirs.items():
        assert ours[key] == item, key
    if name != "defaults":
        assert theirs != comparable(expected(chart, "defaults")), "the case changes nothing"


@every_helm
def test_names_change_exactly_with_the_content(helm):
    """The template of a Job is immutable, and a changed setting has to replace the pods."""
    def named(values, kind, field):
        (item,) = [o for o in rendered(helm, SERVICE, values, "shop")
                   if o["kind"] == kind and not o["metadata"]["name"].endswith("dashboard")]
        return item["metadata"]["name"], item[field]

    changed = {"Job": set(), "ConfigMap": set()}
    for kind, field in (("Job", "spec"), ("ConfigMap", "data")):
        name, content = named({}, kind, field)
        assert re.fullmatch(r"order-service-(migrate|config)-[0-9a-f]{10}", name)
        for case_name, (values, _) in SERVICE_CASES.items():
            other, other_content = named(values, kind, field)
            assert (other != name) == (other_content != content), f"{case_name}: {kind}"
            if other != name:
                changed[kind].add(case_name)
    assert {"image", "digest", "pull", "secrets", "scheduling", "openshift"} <= changed["Job"]
    assert changed["ConfigMap"] == {"settings"}


def leaves(schema, prefix=""):
    for name, below in schema["properties"].items():
        path = f"{prefix}{name}"
        if "description" in below:
            yield path
        elif path != "global":
            yield from leaves(below, path + ".")


def mentioned(values, prefix=""):
    for name, value in values.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from mentioned(value, f"{prefix}{name}.")


@pytest.mark.parametrize("chart", [SERVICE, OPERATOR])
def test_every_value_has_a_case(chart):
    schema = json.loads((CHARTS / chart / "values.schema.json").read_text())
    cases = SERVICE_CASES if chart == SERVICE else OPERATOR_CASES
    tested = {name for values, _ in cases.values() for name in mentioned(values)}
    assert set(leaves(schema)) <= tested


@every_helm
def test_the_namespace_is_that_of_the_release(helm):
    for chart in (SERVICE, OPERATOR):
        done = template(helm, chart, {"monitoring": {"enabled": True}}, "elsewhere")
        assert done.returncode == 0, done.stderr
        for item in load(done.stdout):
            for subject in item.get("subjects", []):
                assert subject["namespace"] == "elsewhere"
        assert NAMESPACES[OPERATOR] not in done.stdout


@every_helm
@pytest.mark.parametrize("chart, values, named", [
    (SERVICE, {"replica": 3}, "replica"),
    (SERVICE, {"image": {"name": "x"}}, "name"),
    (SERVICE, {"replicas": "three"}, "replicas"),
    (SERVICE, {"replicas": -1}, "replicas"),
    (SERVICE, {"settings": {"POOL_MAX_SIZE": 6}}, "POOL_MAX_SIZE"),
    (SERVICE, {"settings": {"pool-max-size": "6"}}, "pool-max-size"),
    (SERVICE, {"drainDelay": "5"}, "drainDelay"),
    (SERVICE, {"database": {"secretName": ""}}, "secretName"),
    (SERVICE, {"auth": {"secretName": "", "anonymous": ""}}, "auth"),
    (SERVICE, {"podDisruptionBudget": {"maxUnavailable": 0}}, "maxUnavailable"),
    (SERVICE, {"resources": {"request": {}}}, "request"),
    (OPERATOR, {"watchNamespace": "a"}, "watchNamespace"),
    (OPERATOR, {"networkPolicy": {"cillium": True}}, "cillium"),
], ids=str)
def test_wrong_values_are_rejected(helm, chart, values, named):
    done = template(helm, chart, values, "shop")
    assert done.returncode != 0 and named in done.stderr, done.stderr


@every_helm
@pytest.mark.parametrize("chart", [SERVICE, OPERATOR])
def test_the_chart_is_clean_and_can_be_packaged(helm, chart):
    done = run(helm, "lint", "--strict", CHARTS / chart)
    assert done.returncode == 0 and "WARNING" not in done.stdout, done.stdout + done.stderr
    done = run(helm, "package", CHARTS / chart, "--destination", WORK)
    assert done.returncode == 0, done.stderr
    # A Secret of Kubernetes, in which Helm stores a release, holds 1 MiB.
    (archive,) = WORK.glob(f"{chart}-*.tgz")
    assert archive.stat().st_size < 200_000
    archive.unlink()


def test_the_committed_charts_are_current(tmp_path):
    build(KUSTOMIZE / "base")  # skips without kubectl
    subprocess.run([sys.executable, "-B", ROOT / "scripts/helm-chart.py", tmp_path], check=True)
    for chart in (SERVICE, OPERATOR):
        current = {path.relative_to(tmp_path): path.read_text() for path in (tmp_path / chart).rglob("*") if path.is_file()}
        committed = {path.relative_to(CHARTS): path.read_text() for path in (CHARTS / chart).rglob("*") if path.is_file()}
        assert committed.keys() == current.keys()
        for path, text in current.items():
            assert committed[path] == text, f"{path}: run `make charts`"


def test_components_are_offered_or_need_no_chart():
    """A new component of kustomize has to be considered for the charts."""
    text = "\n".join(str(changes) for _, changes in [*SERVICE_CASES.values(), *OPERATOR_CASES.values()])
    # Databases, secrets of other operators, a volume, and credentials of Kubernetes are installed beside the chart.
    beside = {"postgres", "cloudnative-pg", "external-secrets", "archive", "kubernetes-auth"}
    for directory, names in (("components", set(COMPONENTS) - beside), ("operator/components", set(OPERATOR_COMPONENTS))):
        assert names
        for name in names:
            assert inside(*directory.split("/"), name) in text, name


def test_both_versions_of_helm_are_tested():
    """Unless this machine has another architecture, for which scripts/helm.py prints a warning."""
    if not (TOOLS / "helm").exists():
        pytest.skip("helm is missing: charts NOT rendered")
    assert [helm.name for helm in HELMS] == ["helm3", "helm4"]
