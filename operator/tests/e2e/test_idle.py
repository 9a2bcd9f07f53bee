"""When nothing changes, nothing is written; and looking again, however often, changes that in nothing."""

import time

import pytest
from cluster import Recorder, until

NAMES = ["quiet", "calm", "still"]


@pytest.fixture(scope="module")
def settled(place):
    # Looking again each second, where it would be each five minutes.
    operator = place.start(environment={"RESYNC_PERIOD": "1s"})
    for name in NAMES:
        place.running(name, **({"replicas": 2} if name != "calm" else {"autoscaling": {"maxReplicas": 4}}))
    if place.surrounding != "server":
        # The autoscaler's controller says once that it has no metrics.
        until("the autoscaler was looked at", lambda: place.get("HorizontalPodAutoscaler", "calm")["status"].get("conditions"))
    until("everybody is done", lambda: is_still(place))
    return operator


def is_still(place):
    before = place.versions(*NAMES)
    time.sleep(3)
    return place.versions(*NAMES) == before


def reconciles(operator):
    return operator.sum("order_operator_reconciles_total")


def events(place):
    """What the operator told; controllers of Kubernetes tell things as well."""
    return {e["metadata"]["name"]: e["metadata"]["resourceVersion"]
            for e in place.cluster.list("Event", place.namespace) if e["reportingController"] == "order-operator"}


def test_a_hundred_idle_reconciles_write_nothing(place, settled):
    before, told, began = place.versions(*NAMES), events(place), reconciles(settled)
    wrote = settled.sum("order_operator_writes_total")
    with Recorder(place.cluster, "OrderService", place.namespace) as record:
        until("it has looked a hundred times", lambda: reconciles(settled) - began >= 100, 120)
    assert place.versions(*NAMES) == before
    assert events(place) == told
    assert [change for change, _ in record.seen[len(NAMES):]] == []
    assert settled.sum("order_operator_writes_total") == wrote


def test_a_new_operator_writes_nothing_either(place, settled):
    before, told = place.versions(*NAMES), events(place)
    settled.stop()
    fresh = place.start("fresh")
    until("it leads", lambda: place.leader() is fresh, 30)
    until("it looked at all", lambda: reconciles(fresh) >= len(NAMES), 30)
    assert place.versions(*NAMES) == before
    assert events(place) == told
    assert fresh.sum("order_operator_writes_total") == 0
