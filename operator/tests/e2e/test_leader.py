"""Two operators and one lease: who leads writes, and nobody else."""

import signal
import time

import pytest
from cluster import never, until

SHOPS = [f"shop-{n}" for n in range(8)]


@pytest.fixture(scope="module")
def pair(place):
    """(leader, other)"""
    first = place.start("first")
    until("the first leads", lambda: place.leader() is first)
    place.start("second")
    place.secret()
    for name in SHOPS:
        place.cluster.create(place.order_service(name))
    for name in SHOPS:
        place.wait_for(name, "Ready")
    return place.operators


def drift(place):
    """A change of every Service that an operator in charge would put right."""
    for name in SHOPS:
        place.cluster.patch("Service", name, place.namespace,
                            {"spec": {"selector": {"app.kubernetes.io/component": "stray"}}}, manager="stray")


def is_right(place, name):
    return place.get("Service", name)["spec"]["selector"]["app.kubernetes.io/component"] != "stray"


def wait_until_right(place, seconds=30):
    until("the drift is corrected", lambda: all(is_right(place, name) for name in SHOPS), seconds)


def says_it_leads(operator):
    return operator.sum("order_operator_leader") == 1


def test_one_leads_and_both_are_ready(place, pair):
    leader, other = pair
    assert leader.http("/readyz")[0] == 200 and other.http("/readyz")[0] == 200
    assert says_it_leads(leader) and not says_it_leads(other)


def test_a_leader_that_was_stopped_for_a_minute_writes_nothing(place, pair):
    """The other has the lease by then, but is stopped too while we look, so that whatever is written in
    that moment was written by the one whose lease is gone."""
    leader, other = pair
    # Work in its hands: it is stopped in the middle of it.
    drift(place)
    leader.signal(signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        until("the other leads", lambda: place.leader() is other, 40)
        wait_until_right(place)
        time.sleep(max(0, 60 - (time.monotonic() - stopped)))
        other.signal(signal.SIGSTOP)
        drift(place)
        before = place.versions(*SHOPS)
        renewed = place.lease()["spec"]["renewTime"]
        leader.signal(signal.SIGCONT)
        # Less than the lease lasts: it is still the other's.
        never("the old leader wrote", lambda: place.versions(*SHOPS) != before, 7)
        assert place.lease()["spec"]["renewTime"] == renewed, "the old leader renewed the other's lease"
    finally:
        leader.signal(signal.SIGCONT)
        other.signal(signal.SIGCONT)
    # One of them takes it up again.
    wait_until_right(place, 60)


def test_a_leader_that_ends_gives_the_lease_back(place, pair):
    leader = until("a leader", place.leader, 30)
    other = next(o for o in place.operators if o is not leader and o.process.poll() is None)
    assert leader.stop(10) == 0, "SIGTERM must end it with 0"
    began = time.monotonic()
    until("the other leads", lambda: place.leader() is other, 10)
    assert time.monotonic() - began < 5, "it waited for the lease to run out"
    drift(place)
    wait_until_right(place)


def test_a_leader_that_dies_is_followed(place, pair):
    fresh = place.start("third")
    leader = until("a leader", place.leader, 30)
    assert leader is not fresh
    leader.kill()
    until("the other leads", lambda: place.leader() is fresh, 40)
    drift(place)
    wait_until_right(place)


def test_the_lease_of_somebody_else_is_not_taken(place, pair):
    """Somebody takes the lease by hand: the operator stops writing."""
    leader = until("a leader", place.leader, 30)
    fresh = place.start("fourth")
    fresh.stop()
    moment = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
    lease = place.lease()
    place.cluster.patch("Lease", lease["metadata"]["name"], place.namespace, {"spec": {
        "holderIdentity": "somebody-else", "renewTime": moment, "acquireTime": moment, "leaseDurationSeconds": 15}})
    until("it noticed", lambda: leader.process.poll() is not None or not says_it_leads(leader), 15)
    drift(place)
    never("it wrote without the lease", lambda: any(is_right(place, name) for name in SHOPS), 3)
    if leader.process.poll() is not None:
        # Ending is an answer as good: in a pod it is started again.
        place.start("fifth")
    wait_until_right(place, 60)
