"""Deleting never hangs, and everything goes."""

from cluster import until


def test_deletes_what_it_owns(place):
    place.start("working")
    place.running("gone")
    owned = place.owned("gone")
    place.cluster.delete("OrderService", "gone", place.namespace)
    until("the object is gone", lambda: place.get("OrderService", "gone") is None, 5)
    place.stage.collect_garbage(place.namespace)

    def left():
        return [i["kind"] for i in owned if place.get(i["kind"], i["metadata"]["name"])]

    until("all that it owned is gone", lambda: not left(), 60)


def test_comes_back_under_the_same_name(place):
    """Nothing of the one before is kept, not even in the operator's memory."""
    place.running("gone")


def test_does_not_hang_while_the_operator_is_down(place):
    place.running("orphan")
    for operator in place.operators:
        operator.kill()
    place.cluster.delete("OrderService", "orphan", place.namespace)
    until("the object is gone", lambda: place.get("OrderService", "orphan") is None, 5)
    place.stage.collect_garbage(place.namespace)
    until("all that it owned is gone", lambda: place.get("Deployment", "orphan") is None, 60)
