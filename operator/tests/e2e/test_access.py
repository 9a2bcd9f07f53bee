"""The account: nothing more than what is shipped, and namespaces that are nobody's business."""

import pytest
from cluster import Cluster, Refused, never, until


def test_may_do_nothing_but_what_it_needs(place):
    operator = Cluster(str(place.kubeconfig))
    place.secret()
    for method, path in (
        ("GET", "/api/v1/nodes"),
        ("GET", "/api/v1/namespaces"),
        ("GET", "/api/v1/namespaces/default/secrets/any"),
        ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles"),
        ("DELETE", f"/api/v1/namespaces/{place.namespace}/secrets/orders-db"),
        ("DELETE", f"/apis/orders.example.com/v1alpha1/namespaces/{place.namespace}/orderservices/any"),
        ("POST", f"/api/v1/namespaces/{place.namespace}/pods"),
        ("GET", f"/api/v1/namespaces/{place.namespace}/pods/any/exec"),
        ("POST", f"/api/v1/namespaces/{place.namespace}/serviceaccounts/order-operator/token"),
    ):
        with pytest.raises(Refused) as refused:
            operator.request(method, path, {} if method == "POST" else None)
        assert refused.value.status == 403, f"{method} {path}: {refused.value}"


def test_looks_at_its_namespace_only(place, cluster):
    """Namespaced mode: with a Role it serves its namespace, asks for no other, and leaves others alone."""
    operator = place.start()
    elsewhere = f"{place.namespace}-other"
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": elsewhere}})
    try:
        stranger = place.order_service("stranger")
        stranger["metadata"]["namespace"] = elsewhere
        cluster.create(stranger)
        place.running("shop")
        never("it touched another namespace",
              lambda: cluster.get("OrderService", "stranger", elsewhere).get("status"), 3)
        assert operator.http("/healthz")[0] == 200
    finally:
        cluster.delete("OrderService", "stranger", elsewhere)
        cluster.delete("Namespace", elsewhere)
        if place.surrounding == "server":
            import play

            play.finish_namespace(cluster, elsewhere)
    assert not place.forbidden()


def test_the_whole_cluster_with_the_cluster_role(place, cluster):
    """As it is installed by default. Skipped where other OrderServices live: it would take them over."""
    ours = {place.namespace}
    others = [i for i in cluster.list("OrderService") if i["metadata"]["namespace"] not in ours]
    if others:
        pytest.skip("this cluster has OrderServices of others; the cluster-wide mode was NOT tested")
    for operator in place.operators:
        operator.stop()
    place.grant_everywhere()
    place.start("cluster-wide", arguments=())
    place.running("wide")
    place.change("wide", replicas=3)
    until("it works", lambda: place.get("Deployment", "wide")["spec"]["replicas"] == 3)
