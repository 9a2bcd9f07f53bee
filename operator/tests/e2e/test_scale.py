"""Replicas by the spec and by the scale subresource, and the change to an autoscaler and back."""

import pytest
from cluster import Recorder, never, until


@pytest.fixture(scope="module")
def shop(sandbox):
    sandbox.start()
    return sandbox.running("shop", replicas=3)


def replicas(sandbox):
    return sandbox.get("Deployment", "shop")["spec"]["replicas"]


def owners_of_replicas(sandbox):
    fields = sandbox.get("Deployment", "shop")["metadata"]["managedFields"]
    return {f["manager"] for f in fields if "f:replicas" in f["fieldsV1"].get("f:spec", {})}


def test_replicas_follow_the_spec(sandbox, shop):
    sandbox.change(shop, replicas=4)
    until("four wanted", lambda: replicas(sandbox) == 4)
    sandbox.wait_for(shop, "Ready")
    until("four reported", lambda: sandbox.get("OrderService", shop)["status"]["readyReplicas"] == 4)
    sandbox.change(shop, replicas=3)
    until("three wanted", lambda: replicas(sandbox) == 3)


def test_replicas_follow_the_scale_subresource(sandbox, shop):
    """As `kubectl scale osvc/shop --replicas=5` does."""
    scale = sandbox.cluster.patch("OrderService", shop, sandbox.namespace, {"spec": {"replicas": 5}}, "scale")
    assert scale["kind"] == "Scale" and "app.kubernetes.io" in scale["status"]["selector"]
    until("five wanted", lambda: replicas(sandbox) == 5)
    sandbox.wait_for(shop, "Ready")


def test_to_an_autoscaler_without_a_dip(sandbox, shop):
    with Recorder(sandbox.cluster, "Deployment", sandbox.namespace) as record:
        sandbox.change(shop, replicas=None, autoscaling={"minReplicas": 2, "maxReplicas": 8})
        until("an autoscaler", lambda: sandbox.get("HorizontalPodAutoscaler", shop))
        until("replicas are not the operator's any more", lambda: "order-operator" not in owners_of_replicas(sandbox))
        sandbox.wait_for(shop, "Ready")
        # As an autoscaler does.
        sandbox.cluster.patch("Deployment", shop, sandbox.namespace, {"spec": {"replicas": 7}}, "scale", manager="autoscaler")
        # The operator reconciles and does not change it.
        sandbox.change(shop, settings={"rustLog": "debug"})
        never("the operator took the replicas back", lambda: replicas(sandbox) != 7, 5)
    numbers = [item["spec"]["replicas"] for _, item in record.seen if item["metadata"]["name"] == shop]
    assert min(numbers) >= 5, f"replicas dipped: {numbers}"


def test_back_from_the_autoscaler_without_a_dip(sandbox, shop):
    with Recorder(sandbox.cluster, "Deployment", sandbox.namespace) as record:
        sandbox.change(shop, autoscaling=None, replicas=6)
        until("no autoscaler", lambda: sandbox.get("HorizontalPodAutoscaler", shop) is None)
        until("six wanted", lambda: replicas(sandbox) == 6)
        sandbox.wait_for(shop, "Ready")
    numbers = [item["spec"]["replicas"] for _, item in record.seen if item["metadata"]["name"] == shop]
    assert min(numbers) >= 6, f"replicas dipped: {numbers}"


def test_to_zero(sandbox, shop):
    sandbox.change(shop, replicas=0)
    until("none wanted", lambda: replicas(sandbox) == 0)
    until("none reported", lambda: sandbox.get("OrderService", shop)["status"].get("replicas", 0) == 0)
