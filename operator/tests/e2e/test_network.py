"""Interrupted watches and a silent network."""

import time

import pytest
from cluster import until


@pytest.fixture(scope="module")
def line(sandbox):
    proxy = sandbox.proxy()
    sandbox.start("behind-proxy", proxy=proxy)
    sandbox.running("shop")
    return proxy


def change(sandbox, replicas):
    sandbox.change("shop", replicas=replicas)
    return lambda: sandbox.get("Deployment", "shop")["spec"]["replicas"] == replicas


def test_interrupted_watches_are_restarted(sandbox, line):
    [operator] = sandbox.operators
    for replicas in (3, 4, 5):
        line.cut()
        line.mend()
        until("the change is seen", change(sandbox, replicas), 30)
    assert operator.process.poll() is None


def test_an_unreachable_api_server(sandbox, line):
    """For longer than the lease duration, so leadership is lost and acquired again."""
    [operator] = sandbox.operators
    line.cut()
    time.sleep(25)
    seen = change(sandbox, 2)
    line.mend()
    if operator.process.poll() is not None:
        # Without its Lease it may exit; the kubelet restarts it.
        assert operator.process.returncode != 0, "losing the lease is no success"
        sandbox.start("again", proxy=line)
    until("the change is seen", seen, 60)


def test_a_silent_network(sandbox, line):
    """The Lease cannot be renewed, so leadership ends, and is acquired again when the network works."""
    operator = sandbox.operators[-1]
    until("it leads", lambda: operator.sum("order_operator_leader") == 1)
    line.silence()
    until("it does not lead any more", lambda: operator.sum("order_operator_leader") == 0, 20)
    time.sleep(20)
    line.mend()
    until("the change is seen", change(sandbox, 3), 60)
    assert operator.http("/readyz")[0] == 200


def test_an_operator_without_an_api_server_is_not_ready(sandbox):
    """It is alive, because a restart would not help."""
    line = sandbox.proxy()
    line.cut()
    lost = sandbox.start("lost", proxy=line, environment={"LEASE_DURATION": "3s"}, wait=False)
    until("it is not ready", lambda: lost.http("/readyz")[0] == 503, 40)
    assert lost.http("/healthz")[0] == 200
    line.mend()
    until("it is ready", lambda: lost.http("/readyz")[0] == 200, 20)
    assert lost.stop() == 0


def test_silent_connections_are_closed(sandbox, line):
    """They stay open and deliver nothing, and new ones work, as with a firewall that lost its state. The Lease is
    renewed over new ones; a dead watch is detected when the API server should have ended it."""
    line.silence()
    line.mend()
    until("the change is seen", change(sandbox, 6), 320, every=1)
