"""Two operators and one Lease: only the leader writes."""

import signal
import time

import pytest
from cluster import never, until

SHOPS = [f"shop-{n}" for n in range(8)]


@pytest.fixture(scope="module")
def pair(sandbox):
    """(leader, other)"""
    first = sandbox.start("first")
    until("the first leads", lambda: sandbox.leader() is first)
    sandbox.start("second")
    sandbox.secret()
    for name in SHOPS:
        sandbox.cluster.create(sandbox.order_service(name))
    for name in SHOPS:
        sandbox.wait_for(name, "Ready")
    return sandbox.operators


def drift(sandbox):
    """Changes every Service, which a leader would revert."""
    for name in SHOPS:
        sandbox.cluster.patch("Service", name, sandbox.namespace,
                            {"spec": {"selector": {"app.kubernetes.io/component": "stray"}}}, manager="stray")


def is_right(sandbox, name):
    return sandbox.get("Service", name)["spec"]["selector"]["app.kubernetes.io/component"] != "stray"


def wait_until_right(sandbox, seconds=30):
    until("the drift is corrected", lambda: all(is_right(sandbox, name) for name in SHOPS), seconds)


def reports_leadership(operator):
    return operator.sum("order_operator_leader") == 1


def test_one_leads_and_both_are_ready(sandbox, pair):
    leader, other = pair
    assert leader.http("/readyz")[0] == 200 and other.http("/readyz")[0] == 200
    assert reports_leadership(leader) and not reports_leadership(other)


def test_a_leader_that_was_stopped_for_a_minute_writes_nothing(sandbox, pair):
    """The other operator has the Lease by then, but is stopped as well during the check, so that any write comes
    from the old leader."""
    leader, other = pair
    # It is stopped in the middle of a reconcile.
    drift(sandbox)
    leader.signal(signal.SIGSTOP)
    stopped = time.monotonic()
    try:
        until("the other leads", lambda: sandbox.leader() is other, 40)
        wait_until_right(sandbox)
        time.sleep(max(0, 60 - (time.monotonic() - stopped)))
        other.signal(signal.SIGSTOP)
        drift(sandbox)
        before = sandbox.versions(*SHOPS)
        renewed = sandbox.lease()["spec"]["renewTime"]
        leader.signal(signal.SIGCONT)
        # Less than the lease duration: the other operator still holds the Lease.
        never("the old leader wrote", lambda: sandbox.versions(*SHOPS) != before, 7)
        assert sandbox.lease()["spec"]["renewTime"] == renewed, "the old leader renewed the other's lease"
    finally:
        leader.signal(signal.SIGCONT)
        other.signal(signal.SIGCONT)
    # One of them becomes the leader again.
    wait_until_right(sandbox, 60)


def test_a_terminated_leader_releases_the_lease(sandbox, pair):
    leader = until("a leader", sandbox.leader, 30)
    other = next(o for o in sandbox.operators if o is not leader and o.process.poll() is None)
    assert leader.stop(10) == 0, "SIGTERM must end it with 0"
    began = time.monotonic()
    until("the other leads", lambda: sandbox.leader() is other, 10)
    assert time.monotonic() - began < 5, "it waited for the lease to run out"
    drift(sandbox)
    wait_until_right(sandbox)


def test_a_killed_leader_is_replaced(sandbox, pair):
    fresh = sandbox.start("third")
    leader = until("a leader", sandbox.leader, 30)
    assert leader is not fresh
    leader.kill()
    until("the other leads", lambda: sandbox.leader() is fresh, 40)
    drift(sandbox)
    wait_until_right(sandbox)


def test_a_lease_of_another_holder_is_not_taken(sandbox, pair):
    """Another client takes the Lease: the operator stops writing."""
    leader = until("a leader", sandbox.leader, 30)
    fresh = sandbox.start("fourth")
    fresh.stop()
    moment = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
    lease = sandbox.lease()
    sandbox.cluster.patch("Lease", lease["metadata"]["name"], sandbox.namespace, {"spec": {
        "holderIdentity": "somebody-else", "renewTime": moment, "acquireTime": moment, "leaseDurationSeconds": 15}})
    until("it noticed", lambda: leader.process.poll() is not None or not reports_leadership(leader), 15)
    drift(sandbox)
    never("it wrote without the lease", lambda: any(is_right(sandbox, name) for name in SHOPS), 3)
    if leader.process.poll() is not None:
        # Exiting is valid too: the kubelet restarts it.
        sandbox.start("fifth")
    wait_until_right(sandbox, 60)
