"""When nothing changes, nothing is written; and looking again, however often, changes that in nothing."""

import pytest
from cluster import Recorder, until

NAMES = ["quiet", "calm", "still"]


@pytest.fixture(scope="module")
def settled(place):
    operator = place.start()
    for name in NAMES:
        place.running(name, **({"replicas": 2} if name != "calm" else {"autoscaling": {"maxReplicas": 4}}))
    return operator


def reconciles(operator):
    return sum(v for k, v in operator.metrics().items() if k.startswith("reconciles_total") or "reconciles_total{" in k
               or "reconcile_total" in k)


def events(place):
    return {e["metadata"]["name"]: e["metadata"]["resourceVersion"] for e in place.cluster.list("Event", place.namespace)}


def test_a_hundred_idle_reconciles_write_nothing(place, settled):
    """An annotation of somebody else on an object that it owns makes it look."""
    before, told = place.versions(*NAMES), events(place)
    began = reconciles(settled)
    with Recorder(place.cluster, "OrderService", place.namespace) as record:
        poked = 0
        while reconciles(settled) - began < 100:
            poked += 1
            assert poked < 2000, "it does not look"
            place.cluster.patch("Deployment", "quiet", place.namespace,
                                {"metadata": {"annotations": {"example.com/poke": str(poked)}}}, manager="poker")
            if poked % 10 == 0:
                until("it looked", lambda n=poked: reconciles(settled) - began >= min(n / 10, 100), 20)
    after = place.versions(*NAMES)
    own = ("Deployment", "quiet")
    assert int(after.pop(own)) > int(before.pop(own)), "our own pokes were not written"
    assert after == before
    assert [change for change, _ in record.seen if change != "ADDED"] == []
    assert events(place) == told
    fields = place.get("Deployment", "quiet")["metadata"]["managedFields"]
    applied = max(f["time"] for f in fields if f["manager"] == "order-operator")
    poked = max(f["time"] for f in fields if f["manager"] == "poker")
    assert applied < poked


def test_a_new_operator_writes_nothing_either(place, settled):
    before, told = place.versions(*NAMES), events(place)
    settled.stop()
    fresh = place.start("fresh")
    until("it leads", lambda: place.leader() is fresh, 30)
    until("it looked at all", lambda: reconciles(fresh) >= len(NAMES), 30)
    assert place.versions(*NAMES) == before
    assert events(place) == told
