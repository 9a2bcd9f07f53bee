"""The rights of the service account, and the namespaces that the operator uses."""

import pytest
from cluster import Cluster, Rejected, never, until


def test_has_only_the_rights_that_it_needs(sandbox):
    operator = Cluster(str(sandbox.kubeconfig))
    sandbox.secret()
    for method, path in (
        ("GET", "/api/v1/nodes"),
        ("GET", "/api/v1/namespaces"),
        ("GET", "/api/v1/namespaces/default/secrets/any"),
        ("GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles"),
        ("GET", f"/api/v1/namespaces/{sandbox.namespace}/secrets"),
        ("PUT", f"/api/v1/namespaces/{sandbox.namespace}/secrets/orders-db"),
        ("DELETE", f"/api/v1/namespaces/{sandbox.namespace}/secrets"),
        ("DELETE", f"/apis/orders.example.com/v1alpha1/namespaces/{sandbox.namespace}/orderservices/any"),
        ("POST", f"/api/v1/namespaces/{sandbox.namespace}/pods"),
        ("GET", f"/api/v1/namespaces/{sandbox.namespace}/pods/any/exec"),
        ("POST", f"/api/v1/namespaces/{sandbox.namespace}/serviceaccounts/order-operator/token"),
    ):
        with pytest.raises(Rejected) as rejected:
            operator.request(method, path, {} if method == "POST" else None)
        assert rejected.value.status == 403, f"{method} {path}: {rejected.value}"


def test_uses_only_its_namespace(sandbox, cluster):
    """Namespaced mode: with a Role it reconciles its namespace and sends no request for another one."""
    operator = sandbox.start()
    elsewhere = f"{sandbox.namespace}-other"
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": elsewhere}})
    try:
        stranger = sandbox.order_service("stranger")
        stranger["metadata"]["namespace"] = elsewhere
        cluster.create(stranger)
        sandbox.running("shop")
        never("it touched another namespace",
              lambda: cluster.get("OrderService", "stranger", elsewhere)["status"]["conditions"], 3)
        assert operator.http("/healthz")[0] == 200
    finally:
        cluster.delete("OrderService", "stranger", elsewhere)
        cluster.delete("Namespace", elsewhere)
        if sandbox.surrounding == "server":
            import simulator

            simulator.finish_namespace(cluster, elsewhere)
    assert not sandbox.forbidden()


def test_reconciles_the_whole_cluster_with_the_cluster_role(sandbox, cluster):
    """As installed by default. Skipped when other OrderServices exist, which it would reconcile."""
    ours = {sandbox.namespace}
    others = [i for i in cluster.list("OrderService") if i["metadata"]["namespace"] not in ours]
    if others:
        pytest.skip("this cluster has OrderServices of others; the cluster-wide mode was NOT tested")
    for operator in sandbox.operators:
        operator.stop()
    sandbox.grant_everywhere()
    sandbox.start("cluster-wide", arguments=())
    sandbox.running("wide")
    sandbox.change("wide", replicas=3)
    until("the Deployment is applied", lambda: sandbox.get("Deployment", "wide")["spec"]["replicas"] == 3)
