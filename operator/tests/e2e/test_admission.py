"""What a mutating admission policy changes is accepted once, and is not drift."""

import json

import pytest
from cluster import until

LIMIT = ("spec", "template", "spec", "containers", 0, "resources", "limits", "memory")
POLICY = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies"
BINDING = "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicybindings"
# The policy raises the memory limit, adds a label, and changes one of the operator.
EXPRESSION = """[
    JSONPatch{op: "replace", path: "/spec/template/spec/containers/0/resources/limits/memory", value: "512Mi"},
    JSONPatch{op: "add", path: "/metadata/labels/policy", value: "checked"},
    JSONPatch{op: "replace", path: "/metadata/labels/app.kubernetes.io~1part-of", value: "platform"}
]"""


@pytest.fixture(scope="module")
def policy(sandbox):
    """A policy for the Deployments of the namespace. It needs no webhook."""
    cluster, name = sandbox.cluster, sandbox.namespace
    version = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    served = cluster.request("GET", "/apis/admissionregistration.k8s.io/v1")["resources"]
    if not any(resource["name"] == "mutatingadmissionpolicies" for resource in served):
        pytest.skip("this API server has no MutatingAdmissionPolicy v1 (Kubernetes 1.36)")
    cluster.request("POST", POLICY, version | {"kind": "MutatingAdmissionPolicy", "spec": {
        "matchConstraints": {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}},
            "resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                               "resources": ["deployments"]}],
        },
        "failurePolicy": "Fail", "reinvocationPolicy": "IfNeeded",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": EXPRESSION}}],
    }})
    cluster.request("POST", BINDING, version | {"kind": "MutatingAdmissionPolicyBinding", "spec": {"policyName": name}})
    probe = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "probe", "namespace": name, "labels": {
        "app.kubernetes.io/part-of": "probe"}}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [
                {"name": "a", "image": "a:1", "resources": {"limits": {"memory": "1Mi"}}}]}}}}

    def is_active():
        path = f"/apis/apps/v1/namespaces/{name}/deployments"
        return limit(cluster.request("POST", path, probe, query={"dryRun": "All"})) == "512Mi"

    until("the policy is active", is_active, 60)
    yield
    cluster.request("DELETE", f"{BINDING}/{name}")
    cluster.request("DELETE", f"{POLICY}/{name}")


@pytest.fixture(scope="module")
def shop(sandbox, policy):
    sandbox.start(environment={"RESYNC_PERIOD": "1s"})
    return sandbox.running("shop")


def limit(deployment):
    value = deployment
    for key in LIMIT:
        value = value[key]
    return value


def events(sandbox, shop, reason):
    """The number of events, with repetitions."""
    return sum((e.get("series") or {}).get("count", 1) for e in sandbox.events(shop, reason))


def reconciles(operator):
    return operator.sum("order_operator_reconciles_total")


def stays(sandbox, shop, operator):
    """The operator reconciles ten times and writes nothing."""
    before, wrote, began = sandbox.versions(shop), operator.sum("order_operator_writes_total"), reconciles(operator)
    until("it reconciled ten times", lambda: reconciles(operator) - began >= 10, 60)
    assert operator.sum("order_operator_writes_total") == wrote
    assert sandbox.versions(shop) == before


def test_it_is_accepted_and_shown(sandbox, shop):
    deployment = sandbox.get("Deployment", shop)
    assert limit(deployment) == "512Mi"
    admitted = json.loads(deployment["metadata"]["annotations"]["orders.example.com/admitted"])
    assert set(admitted) == {
        "spec.template.spec.containers[name=order-service].resources.limits.memory",
        "metadata.labels.app.kubernetes.io/part-of",
    }
    [event] = sandbox.events(shop, "Admitted")
    assert "Deployment shop" in event["note"] and event["type"] == "Normal"
    assert sandbox.events(shop, "DriftCorrected") == []
    [operator] = sandbox.operators
    stays(sandbox, shop, operator)
    assert sandbox.condition(shop, "Degraded")["status"] == "False"


def test_a_later_change_of_the_field_is_drift(sandbox, shop):
    """The owner of a field is determined before admission, so the policy does not hide who changed it."""
    patch = {"metadata": {"labels": {"app.kubernetes.io/instance": "other"}}, "spec": {"replicas": 3}}
    sandbox.cluster.patch("Deployment", shop, sandbox.namespace, patch, manager="careless-person")
    until("reverted", lambda: sandbox.get("Deployment", shop)["spec"]["replicas"] == 2)
    [event] = until("reported", lambda: sandbox.events(shop, "DriftCorrected"))
    assert "spec.replicas (changed by careless-person)" in event["note"], event
    assert "; changed at 20" in event["note"], event
    assert "limits" not in event["note"], "what admission changes is no drift"
    assert events(sandbox, shop, "Admitted") == 1
    sandbox.wait_for(shop, "Ready")


def test_a_new_operator_writes_nothing(sandbox, shop):
    [operator] = sandbox.operators
    operator.stop()
    sandbox.operators.clear()
    before = sandbox.versions(shop)
    fresh = sandbox.start("fresh", environment={"RESYNC_PERIOD": "1s"})
    until("it leads", lambda: sandbox.leader() is fresh, 30)
    until("it reconciled", lambda: reconciles(fresh) >= 3, 30)
    assert fresh.sum("order_operator_writes_total") == 0
    assert sandbox.versions(shop) == before
    stays(sandbox, shop, fresh)
