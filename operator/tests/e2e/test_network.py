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


@pytest.mark.slow
def test_a_network_that_goes_silent_is_noticed(place, line):
    """No connection ends and nothing arrives: either it heals by itself, or liveness says so and the
    process is started again."""
    operator = place.operators[-1]
    line.silence()
    began = time.monotonic()
    until("it ends or is not alive", lambda: operator.process.poll() is not None or operator.http("/healthz")[0] != 200,
          400, every=1)
    print(f"noticed after {time.monotonic() - began:.0f} s")
    seen = change(place, 6)
    line.mend()
    if operator.process.poll() is not None:
        place.start("revived", proxy=line)
    until("the change is seen", seen, 120)
