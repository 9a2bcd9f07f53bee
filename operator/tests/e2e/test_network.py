"""Watches that drop, and a network that goes silent."""

import time

import pytest
from cluster import until


@pytest.fixture(scope="module")
def line(place):
    proxy = place.proxy()
    place.start("behind-proxy", proxy=proxy)
    place.running("shop")
    return proxy


def change(place, replicas):
    place.change("shop", replicas=replicas)
    return lambda: place.get("Deployment", "shop")["spec"]["replicas"] == replicas


def test_watches_that_drop_are_opened_again(place, line):
    [operator] = place.operators
    for replicas in (3, 4, 5):
        line.cut()
        line.mend()
        until("the change is seen", change(place, replicas), 30)
    assert operator.process.poll() is None


def test_an_api_server_that_is_away_for_a_while(place, line):
    """Longer than the lease, so leadership is lost and taken again."""
    [operator] = place.operators
    line.cut()
    time.sleep(25)
    seen = change(place, 2)
    line.mend()
    if operator.process.poll() is not None:
        # Without its lease it may end; in a pod it is started again.
        assert operator.process.returncode != 0, "losing the lease is no success"
        place.start("again", proxy=line)
    until("the change is seen", seen, 60)


def test_a_network_that_goes_silent(place, line):
    """The lease cannot be renewed, so it stops leading, and takes it up again when the network is back."""
    operator = place.operators[-1]
    until("it leads", lambda: operator.sum("order_operator_leader") == 1)
    line.silence()
    until("it does not lead any more", lambda: operator.sum("order_operator_leader") == 0, 20)
    time.sleep(20)
    line.mend()
    until("the change is seen", change(place, 3), 60)
    assert operator.http("/readyz")[0] == 200


def test_an_operator_that_reaches_nobody_is_not_ready(place):
    """And it is alive: to start it anew would not help."""
    line = place.proxy()
    line.cut()
    lost = place.start("lost", proxy=line, environment={"LEASE_DURATION": "3s"}, wait=False)
    until("it says so", lambda: lost.http("/readyz")[0] == 503, 40)
    assert lost.http("/healthz")[0] == 200
    line.mend()
    until("it is ready", lambda: lost.http("/readyz")[0] == 200, 20)
    assert lost.stop() == 0


def test_connections_that_go_silent_are_given_up(place, line):
    """They do not end and nothing arrives on them; new ones work. A firewall that forgot them is like that.
    The lease goes on over new ones; a watch that is dead is noticed when it should have been renewed."""
    line.silence()
    line.mend()
    until("the change is seen", change(place, 6), 320, every=1)
