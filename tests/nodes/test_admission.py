"""An admission policy that changes what the operator applies, as Kyverno, Gatekeeper and GKE Autopilot do."""

import contextlib
import time

import kube
import operator_install
import pytest
from operator_install import Service

CPU = "150m"


@pytest.fixture(scope="module")
def namespace():
    with operator_install.installed(), kube.namespace("e2e-admission", mutated="true") as name:
        operator_install.database(name)
        with _policy(name):
            yield name


def _api_version():
    """The newest version of the policies that the API server serves."""
    served = kube.kubectl("api-versions").split()
    for version in ("v1", "v1beta1"):
        group = f"admissionregistration.k8s.io/{version}"
        if group in served and '"mutatingadmissionpolicies"' in kube.kubectl("get", "--raw", f"/apis/{group}"):
            return group
    return pytest.skip("the API server does not serve MutatingAdmissionPolicies")


@contextlib.contextmanager
def _policy(namespace):
    """Raises the CPU request of Deployments and adds an annotation to their pods, in one namespace."""
    version, name = _api_version(), namespace
    patches = [
        '{op: "replace", path: "/spec/template/spec/containers/0/resources/requests/cpu", value: "%s"}' % CPU,
        '{op: "add", path: "/spec/template/metadata/annotations/" + jsonpatch.escapeKey("example.com/policy"),'
        ' value: "mutated"}',
    ]
    expression = "[" + ", ".join(f"JSONPatch{patch}" for patch in patches) + "]"
    policy = {
        "apiVersion": version, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "matchConstraints": {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "resourceRules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE", "UPDATE"],
                                   "resources": ["deployments"]}]},
            "failurePolicy": "Fail", "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}]},
    }
    binding = {"apiVersion": version, "kind": "MutatingAdmissionPolicyBinding", "metadata": {"name": name},
               "spec": {"policyName": name}}
    kube.apply(policy, binding)
    try:
        # Policies take effect a moment after they are created.
        probe = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "probe"}, "spec": {
            "replicas": 0, "selector": {"matchLabels": {"probe": "probe"}}, "template": {
                "metadata": {"labels": {"probe": "probe"}, "annotations": {"probe": "probe"}},
                "spec": {"containers": [{"name": "probe", "image": "none:none",
                                         "resources": {"requests": {"cpu": "1m"}}}]}}}}

        def mutated():
            kube.apply(probe, namespace=namespace)
            found = _cpu(kube.get("deployment", "probe", namespace))
            kube.kubectl("-n", namespace, "delete", "deployment", "probe")
            return found == CPU

        kube.until("the policy changes Deployments", mutated, 60, every=1)
        yield
    finally:
        kube.kubectl("delete", "mutatingadmissionpolicybinding,mutatingadmissionpolicy", name, "--ignore-not-found")


def _cpu(deployment):
    return deployment["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"]


def test_a_change_by_an_admission_policy_is_not_drift(namespace):
    service = Service("orders", namespace)
    service.create(replicas=1)
    service.wait_for("Ready")
    assert _cpu(service.deployment()) == CPU
    # The operator reverts drift at once, and after three reverts with growing pauses of 5 s and more.
    time.sleep(10)
    version = service.deployment()["metadata"]["resourceVersion"]
    time.sleep(60)
    assert not service.events("DriftCorrected")
    assert service.condition("Degraded")["status"] == "False", service.condition("Degraded")
    assert service.deployment()["metadata"]["resourceVersion"] == version, "the Deployment was written without a change"
    # Drift of another field is still corrected.
    service.kubectl("scale", "deployment/orders", "--replicas=2")
    kube.until("one replica is desired", lambda: service.deployment()["spec"]["replicas"] == 1, 30)
