"""Manual changes are reverted, unless the operator does not own the field or the object is paused."""

import threading
import time

import pytest
from cluster import never, until


@pytest.fixture(scope="module")
def shop(sandbox):
    sandbox.start()
    return sandbox.running("shop")


def test_a_change_is_reverted_and_reported(sandbox, shop):
    before = sandbox.get("Service", shop)["spec"]["selector"]
    patch = {"spec": {"selector": {"app.kubernetes.io/component": "mine"}}}
    sandbox.cluster.patch("Service", shop, sandbox.namespace, patch, manager="careless-person")
    until("corrected", lambda: sandbox.get("Service", shop)["spec"]["selector"] == before)

    def drift_events():
        return [e for e in sandbox.events(shop, "DriftCorrected") if "careless-person" in e["note"]]

    [event] = until("an event", drift_events)
    assert "spec.selector" in event["note"], event["note"]


def test_an_addition_to_an_atomic_field_is_removed(sandbox, shop):
    """A selector is one value: an additional label selects other pods."""
    patch = {"spec": {"selector": {"stray": "yes"}}}
    sandbox.cluster.patch("Service", shop, sandbox.namespace, patch, manager="careless-person")
    until("taken out", lambda: "stray" not in sandbox.get("Service", shop)["spec"]["selector"])


def test_a_change_of_the_pod_template_is_reverted(sandbox, shop):
    before = sandbox.get("Deployment", shop)["spec"]["template"]
    patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "example.com/other:1"}]
    sandbox.cluster.patch("Deployment", shop, sandbox.namespace, patch, manager="kubectl-set",
                        content_type="application/json-patch+json")
    until("corrected", lambda: sandbox.get("Deployment", shop)["spec"]["template"] == before)
    sandbox.wait_for(shop, "Ready")


def test_a_rollout_undo_is_reverted_and_reported(sandbox, shop):
    """As kubectl does it: the template of the old revision, and all annotations that the Deployment had with it."""
    old = sandbox.get("Deployment", shop)
    sandbox.change(shop, settings={"poolMinIdle": 3})
    until("another template", lambda: sandbox.get("Deployment", shop)["spec"]["template"] != old["spec"]["template"])
    sandbox.wait_for(shop, "Ready")
    wanted = sandbox.get("Deployment", shop)["spec"]["template"]
    patch = [{"op": "replace", "path": "/spec/template", "value": old["spec"]["template"]},
             {"op": "replace", "path": "/metadata/annotations", "value": old["metadata"]["annotations"]}]
    sandbox.cluster.patch("Deployment", shop, sandbox.namespace, patch, manager="kubectl-rollout",
                          content_type="application/json-patch+json")

    def undone():
        return [e for e in sandbox.events(shop, "DriftCorrected") if "kubectl-rollout" in e["note"]]

    [event] = until("an event", undone)
    assert "spec.template" in event["note"] and "metadata.annotations" not in event["note"], event
    until("corrected", lambda: sandbox.get("Deployment", shop)["spec"]["template"] == wanted)
    sandbox.wait_for(shop, "Ready")


def test_a_deleted_object_is_created_again(sandbox, shop):
    for kind in ("Service", "PodDisruptionBudget", "ServiceAccount"):
        [item] = [i for i in sandbox.owned(shop) if i["kind"] == kind]
        sandbox.cluster.delete(kind, item["metadata"]["name"], sandbox.namespace)
        until(f"the {kind} is back", lambda kind=kind, item=item: (
            (found := sandbox.get(kind, item["metadata"]["name"]))
            and found["metadata"]["uid"] != item["metadata"]["uid"]))


def test_fields_of_other_managers_stay(sandbox, shop):
    """An annotation of another manager is no drift."""
    sandbox.cluster.patch("Deployment", shop, sandbox.namespace,
                        {"metadata": {"annotations": {"example.com/note": "mine"}}}, manager="person")
    sandbox.change(shop, settings={"poolMinIdle": 4})
    until("the change is there", lambda: sandbox.get("OrderService", shop)["status"]["observedGeneration"]
          == sandbox.get("OrderService", shop)["metadata"]["generation"])
    sandbox.wait_for(shop, "Ready")
    assert sandbox.get("Deployment", shop)["metadata"]["annotations"]["example.com/note"] == "mine"


def test_a_paused_object_is_not_changed(sandbox, shop):
    sandbox.change(shop, paused=True)
    sandbox.wait_for(shop, "Paused")
    versions = {k: v for k, v in sandbox.versions(shop).items() if k[0] in ("ConfigMap", "Service", "PodDisruptionBudget")}
    sandbox.change(shop, replicas=4)
    sandbox.cluster.delete("PodDisruptionBudget", shop, sandbox.namespace)
    never("something was written", lambda: (
        sandbox.get("Deployment", shop)["spec"]["replicas"] != 2 or sandbox.get("PodDisruptionBudget", shop)), 5)
    after = sandbox.versions(shop)
    assert all(after[k] == v for k, v in versions.items() if k[0] != "PodDisruptionBudget")
    sandbox.change(shop, paused=False)
    until("four wanted", lambda: sandbox.get("Deployment", shop)["spec"]["replicas"] == 4)
    until("the budget is back", lambda: sandbox.get("PodDisruptionBudget", shop))
    sandbox.wait_for(shop, "Paused", "False")
    sandbox.wait_for(shop, "Ready")


def test_contention_is_slowed_and_reported(sandbox, shop):
    """Another controller repeats its change of a field."""
    contested = sandbox.running("contested")
    [operator] = sandbox.operators
    wanted = sandbox.get("Service", contested)["spec"]["selector"]
    over = threading.Event()

    def repeat_change():
        while not over.wait(0.05):
            if sandbox.get("Service", contested)["spec"]["selector"] == wanted:
                sandbox.cluster.patch("Service", contested, sandbox.namespace,
                                    {"spec": {"selector": {"stray": "yes"}}}, manager="other-controller")

    def written():
        return operator.metrics().get('order_operator_writes_total{resource="services"}', 0)

    other = threading.Thread(target=repeat_change, daemon=True)
    before = written()
    other.start()
    try:
        degraded = sandbox.wait_for(contested, "Degraded", reason="Contested")
        assert "spec.selector (changed by other-controller)" in degraded["message"], degraded
        # After three immediate reverts there are pauses of at least 2.5, 5 and 10 s.
        time.sleep(15)
        assert 3 <= written() - before <= 6
        assert sandbox.condition(contested, "Ready")["status"] == "True", "its pods serve"
        assert len(sandbox.events(contested, "Contested")) == 1
    finally:
        over.set()
        other.join(10)
    until("it is reverted in the end", lambda: sandbox.get("Service", contested)["spec"]["selector"] == wanted, 60)
