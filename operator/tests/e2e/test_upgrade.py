"""Another version of the operator takes over the objects of the previous one."""

import pytest
from cluster import until


@pytest.fixture(scope="module")
def shop(sandbox):
    sandbox.start("old")
    return sandbox.running("shop")


def test_removed_fields_are_deleted_and_the_pods_stay(sandbox, shop):
    """The older version had a label and a policy rule that the newer one lacks."""
    sandbox.operators[-1].stop()
    before = sandbox.get("Deployment", shop)
    service = sandbox.get("Service", shop)
    applied = {"apiVersion": "v1", "kind": "Service",
               "metadata": {"name": shop, "namespace": sandbox.namespace,
                            "labels": service["metadata"]["labels"] | {"orders.example.com/old": "yes"},
                            "ownerReferences": service["metadata"]["ownerReferences"]},
               "spec": {"selector": service["spec"]["selector"] | {"orders.example.com/old": "yes"},
                        "ports": service["spec"]["ports"]}}
    sandbox.cluster.apply(applied, manager="order-operator")
    assert sandbox.get("Service", shop)["spec"]["selector"]["orders.example.com/old"] == "yes"
    sandbox.start("new")
    until("the old field is gone", lambda: "orders.example.com/old" not in sandbox.get("Service", shop)["spec"]["selector"], 30)
    sandbox.wait_for(shop, "Ready")
    after = sandbox.get("Deployment", shop)
    assert after["spec"] == before["spec"], "the pods were rolled"
    assert "orders.example.com/old" not in sandbox.get("Service", shop)["metadata"]["labels"]


def test_a_rolling_update_of_the_operator_never_has_two_leaders(sandbox, shop):
    """As the Deployment does: a new pod starts, then the old one terminates."""
    old = sandbox.operators[-1]
    new = sandbox.start("newer")
    assert sandbox.leader() is old
    assert old.stop(10) == 0
    until("the new one leads", lambda: sandbox.leader() is new, 10)
    sandbox.change(shop, replicas=3)
    until("it works", lambda: sandbox.get("Deployment", shop)["spec"]["replicas"] == 3)


def test_objects_stored_by_an_older_crd_are_served(sandbox, shop):
    """Applying the CRD of the manifests again changes and drops nothing."""
    import manifests

    before = sandbox.get("OrderService", shop)["spec"]
    sandbox.cluster.apply(manifests.only("CustomResourceDefinition", "orderservices.orders.example.com"))
    assert sandbox.get("OrderService", shop)["spec"] == before
    definition = sandbox.cluster.get("CustomResourceDefinition", "orderservices.orders.example.com")
    assert definition["status"]["storedVersions"] == ["v1alpha1"]
