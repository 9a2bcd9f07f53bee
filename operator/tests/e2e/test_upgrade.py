"""Another version of the operator takes over what the one before has made."""

import pytest
from cluster import until


@pytest.fixture(scope="module")
def shop(place):
    place.start("old")
    return place.running("shop")


def test_what_an_older_version_applied_goes_and_the_pods_stay(place, shop):
    """The older version had a label and a policy rule that the newer one has no more."""
    place.operators[-1].stop()
    before = place.get("Deployment", shop)
    service = place.get("Service", shop)
    applied = {"apiVersion": "v1", "kind": "Service",
               "metadata": {"name": shop, "namespace": place.namespace,
                            "labels": service["metadata"]["labels"] | {"orders.example.com/old": "yes"},
                            "ownerReferences": service["metadata"]["ownerReferences"]},
               "spec": {"selector": service["spec"]["selector"] | {"orders.example.com/old": "yes"},
                        "ports": service["spec"]["ports"]}}
    place.cluster.apply(applied, manager="order-operator")
    assert place.get("Service", shop)["spec"]["selector"]["orders.example.com/old"] == "yes"
    place.start("new")
    until("the old field is gone", lambda: "orders.example.com/old" not in place.get("Service", shop)["spec"]["selector"], 30)
    place.wait_for(shop, "Ready")
    after = place.get("Deployment", shop)
    assert after["spec"] == before["spec"], "the pods were rolled"
    assert "orders.example.com/old" not in place.get("Service", shop)["metadata"]["labels"]


def test_a_rolling_update_of_the_operator_never_has_two_leaders(place, shop):
    """As the Deployment does it: a new one starts, then the old one ends."""
    old = place.operators[-1]
    new = place.start("newer")
    assert place.leader() is old
    assert old.stop(10) == 0
    until("the new one leads", lambda: place.leader() is new, 10)
    place.change(shop, replicas=3)
    until("it works", lambda: place.get("Deployment", shop)["spec"]["replicas"] == 3)


def test_objects_stored_by_an_older_crd_are_served(place, shop):
    """The shipped CRD, applied again, changes nothing and drops nothing."""
    import render

    before = place.get("OrderService", shop)["spec"]
    place.cluster.apply(render.only("CustomResourceDefinition", "orderservices.orders.example.com"))
    assert place.get("OrderService", shop)["spec"] == before
    definition = place.cluster.get("CustomResourceDefinition", "orderservices.orders.example.com")
    assert definition["status"]["storedVersions"] == ["v1alpha1"]
