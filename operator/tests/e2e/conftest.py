"""Fixtures, the skip without a cluster, and the summary of the run."""

import os
from collections import Counter

import simulator
import pytest
import manifests
from cluster import Cluster, Rejected, until
from sandbox import BINARY, LABELS, Sandbox

KUBECONFIG = os.environ.get("KUBECONFIG", "")
WITHOUT = (
    "no cluster: KUBECONFIG names none. The operator was NOT run end to end; set KUBECONFIG to a cluster "
    "where you may install a CustomResourceDefinition (an API server alone is sufficient)"
)
_counts = Counter()
_reasons = Counter()


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


def pytest_runtest_logreport(report):
    if report.failed:
        _counts["failed"] += 1
    elif report.skipped:
        _counts["skipped"] += 1
        _reasons[report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)] += 1
    elif report.when == "call":
        _counts["passed"] += 1


def pytest_collectreport(report):
    if report.failed:
        _counts["failed"] += 1


def pytest_unconfigure(config):
    if config.option.collectonly:
        return
    for reason, count in _reasons.items():
        print("*" * 80 + f"\nSKIPPED ({count}): {reason}\n" + "*" * 80)
    print(f"e2e: {_counts['passed']} passed, {_counts['failed']} failed, {_counts['skipped']} skipped")
