"""Replicas by the spec and by the scale subresource, and the hand-over to an autoscaler and back."""

import pytest
from cluster import Recorder, never, until


@pytest.fixture(scope="module")
def shop(place):
    place.start()
    return place.running("shop", replicas=3)


def replicas(place):
    return place.get("Deployment", "shop")["spec"]["replicas"]


def owners_of_replicas(place):
    fields = place.get("Deployment", "shop")["metadata"]["managedFields"]
    return {f["manager"] for f in fields if "f:replicas" in f["fieldsV1"].get("f:spec", {})}


def test_by_the_spec(place, shop):
    place.change(shop, replicas=4)
    until("four wanted", lambda: replicas(place) == 4)
    place.wait_for(shop, "Ready")
    until("four told", lambda: place.get("OrderService", shop)["status"]["readyReplicas"] == 4)
    place.change(shop, replicas=3)
    until("three wanted", lambda: replicas(place) == 3)


def test_by_the_scale_subresource(place, shop):
    """As `kubectl scale osvc/shop --replicas=5` does."""
    scale = place.cluster.patch("OrderService", shop, place.namespace, {"spec": {"replicas": 5}}, "scale")
    assert scale["kind"] == "Scale" and "app.kubernetes.io" in scale["status"]["selector"]
    until("five wanted", lambda: replicas(place) == 5)
    place.wait_for(shop, "Ready")


def test_to_an_autoscaler_without_a_dip(place, shop):
    with Recorder(place.cluster, "Deployment", place.namespace) as record:
        place.change(shop, replicas=None, autoscaling={"minReplicas": 2, "maxReplicas": 8})
        until("an autoscaler", lambda: place.get("HorizontalPodAutoscaler", shop))
        until("replicas are not the operator's any more", lambda: "order-operator" not in owners_of_replicas(place))
        place.wait_for(shop, "Ready")
        # What an autoscaler does.
        place.cluster.patch("Deployment", shop, place.namespace, {"spec": {"replicas": 7}}, "scale", manager="autoscaler")
        # And what the operator does not do, although it looks again.
        place.change(shop, settings={"rustLog": "debug"})
        never("the operator took the replicas back", lambda: replicas(place) != 7, 5)
    numbers = [item["spec"]["replicas"] for _, item in record.seen if item["metadata"]["name"] == shop]
    assert min(numbers) >= 5, f"replicas dipped: {numbers}"


def test_back_from_the_autoscaler_without_a_dip(place, shop):
    with Recorder(place.cluster, "Deployment", place.namespace) as record:
        place.change(shop, autoscaling=None, replicas=6)
        until("no autoscaler", lambda: place.get("HorizontalPodAutoscaler", shop) is None)
        until("six wanted", lambda: replicas(place) == 6)
        place.wait_for(shop, "Ready")
    numbers = [item["spec"]["replicas"] for _, item in record.seen if item["metadata"]["name"] == shop]
    assert min(numbers) >= 6, f"replicas dipped: {numbers}"


def test_to_none(place, shop):
    place.change(shop, replicas=0)
    until("none wanted", lambda: replicas(place) == 0)
    until("none told", lambda: place.get("OrderService", shop)["status"].get("replicas", 0) == 0)
