"""Without changes nothing is written, however often the operator reconciles."""

import time

import pytest
from cluster import Recorder, until

NAMES = ["quiet", "calm", "still"]


@pytest.fixture(scope="module")
def settled(sandbox):
    # Reconciles each second instead of every five minutes.
    operator = sandbox.start(environment={"RESYNC_PERIOD": "1s"})
    for name in NAMES:
        sandbox.running(name, **({"replicas": 2} if name != "calm" else {"autoscaling": {"maxReplicas": 4}}))
    if sandbox.surrounding != "server":
        # The controller of the autoscaler reports once that it has no metrics.
        until("the autoscaler was looked at", lambda: sandbox.get("HorizontalPodAutoscaler", "calm")["status"].get("conditions"))
    until("nothing changes any more", lambda: is_still(sandbox))
    return operator


def is_still(sandbox):
    before = sandbox.versions(*NAMES)
    time.sleep(3)
    return sandbox.versions(*NAMES) == before


def reconciles(operator):
    return operator.sum("order_operator_reconciles_total")


def events(sandbox):
    """Events of the operator, without those of the controllers of Kubernetes."""
    return {e["metadata"]["name"]: e["metadata"]["resourceVersion"]
            for e in sandbox.cluster.list("Event", sandbox.namespace) if e["reportingController"] == "order-operator"}


def test_a_hundred_idle_reconciles_write_nothing(sandbox, settled):
    before, published, began = sandbox.versions(*NAMES), events(sandbox), reconciles(settled)
    wrote = settled.sum("order_operator_writes_total")
    with Recorder(sandbox.cluster, "OrderService", sandbox.namespace) as record:
        until("it has looked a hundred times", lambda: reconciles(settled) - began >= 100, 120)
    assert sandbox.versions(*NAMES) == before
    assert events(sandbox) == published
    assert [change for change, _ in record.seen[len(NAMES):]] == []
    assert settled.sum("order_operator_writes_total") == wrote


def test_a_new_operator_writes_nothing(sandbox, settled):
    before, published = sandbox.versions(*NAMES), events(sandbox)
    settled.stop()
    fresh = sandbox.start("fresh")
    until("it leads", lambda: sandbox.leader() is fresh, 30)
    until("it looked at all", lambda: reconciles(fresh) >= len(NAMES), 30)
    assert sandbox.versions(*NAMES) == before
    assert events(sandbox) == published
    assert fresh.sum("order_operator_writes_total") == 0
