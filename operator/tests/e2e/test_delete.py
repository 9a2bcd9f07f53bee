"""Deletion completes and removes all objects."""

from cluster import until


def test_deletes_what_it_owns(sandbox):
    sandbox.start("working")
    sandbox.running("gone")
    owned = sandbox.owned("gone")
    sandbox.cluster.delete("OrderService", "gone", sandbox.namespace)
    until("the object is gone", lambda: sandbox.get("OrderService", "gone") is None, 5)
    sandbox.simulator.collect_garbage(sandbox.namespace)

    def left():
        return [i["kind"] for i in owned if sandbox.get(i["kind"], i["metadata"]["name"])]

    until("all that it owned is gone", lambda: not left(), 60)


def test_can_be_created_again_with_the_same_name(sandbox):
    """No state of the previous object remains, not even in the memory of the operator."""
    sandbox.running("gone")


def test_does_not_hang_while_the_operator_is_down(sandbox):
    sandbox.running("orphan")
    for operator in sandbox.operators:
        operator.kill()
    sandbox.cluster.delete("OrderService", "orphan", sandbox.namespace)
    until("the object is gone", lambda: sandbox.get("OrderService", "orphan") is None, 5)
    sandbox.simulator.collect_garbage(sandbox.namespace)
    until("all that it owned is gone", lambda: sandbox.get("Deployment", "orphan") is None, 60)
