"""Fixtures, the skip without a cluster, and the summary of the run."""

import os

import simulator
import pytest
import manifests
from cluster import Cluster, Rejected, until
from sandbox import BINARY, LABELS, Sandbox
from summary import print_counts, print_skipped, pytest_collectreport, pytest_runtest_logreport  # noqa: F401

KUBECONFIG = os.environ.get("KUBECONFIG", "")
WITHOUT = (
    "no cluster: KUBECONFIG names none. The operator was NOT run end to end; set KUBECONFIG to a cluster "
    "where you may install a CustomResourceDefinition (an API server alone is sufficient)"
)


def pytest_collection_modifyitems(config, items):
    if not KUBECONFIG:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=WITHOUT))


@pytest.fixture(scope="session")
def cluster():
    found = Cluster(KUBECONFIG)
    assert BINARY.exists(), f"{BINARY} does not exist: build the operator first, or use scripts/e2e.sh"
    before = found.get("CustomResourceDefinition", "orderservices.orders.example.com")
    definition = manifests.only("CustomResourceDefinition", "orderservices.orders.example.com")
    found.apply(definition)

    def served():
        item = found.get("CustomResourceDefinition", "orderservices.orders.example.com")
        return any(c["type"] == "Established" and c["status"] == "True" for c in item.get("status", {}).get("conditions") or [])

    until("the CRD is served", served)

    def listed():
        try:
            return found.list("OrderService") is not None
        except Rejected:
            return False

    until("OrderServices can be listed", listed)
    yield found
    if before is None:
        found.delete("CustomResourceDefinition", "orderservices.orders.example.com")


@pytest.fixture(scope="session")
def surrounding(cluster):
    namespace = f"osvc-e2e-probe-{os.getpid()}"
    cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": LABELS}})
    try:
        found = simulator.surroundings(cluster, namespace)
    finally:
        cluster.delete("Namespace", namespace)
        simulator.finish_namespace(cluster, namespace)
    if found == "nodes":
        assert "E2E_IMAGE" in os.environ, (
            "this cluster has nodes: E2E_IMAGE and E2E_NEXT_IMAGE must name images it can pull, and "
            "E2E_DATABASE_URL a PostgreSQL that its pods reach")
    print(f"\ne2e: the cluster has {found}; {simulator.MEANING[found]}")
    return found


@pytest.fixture(scope="module")
def sandbox(request, cluster, surrounding):
    """A namespace for the tests of one file."""
    label = request.module.__name__.removeprefix("test_").replace("_", "-")[:20]
    made = Sandbox(cluster, surrounding, label)
    yield made
    forbidden, errors = made.forbidden(), made.simulator.errors
    made.close()
    assert not forbidden, "the shipped rules lack a verb:\n" + "\n".join(forbidden[:10])
    assert not errors, f"the simulation failed: {errors[:3]}"


@pytest.fixture
def simulated(surrounding):
    """For tests in which the suite simulates the state of pods."""
    if surrounding == "nodes":
        pytest.skip("this cluster has nodes, and the suite cannot simulate the state of its pods")


def pytest_unconfigure(config):
    if config.option.collectonly:
        return
    print_skipped("*" * 80)
    print_counts("e2e")
