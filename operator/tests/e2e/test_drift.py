"""What somebody changes by hand is put right, unless it is nobody's business or the object is paused."""

import threading
import time

import pytest
from cluster import never, until


@pytest.fixture(scope="module")
def shop(place):
    place.start()
    return place.running("shop")


def test_is_corrected_and_told(place, shop):
    before = place.get("Service", shop)["spec"]["selector"]
    patch = {"spec": {"selector": {"app.kubernetes.io/component": "mine"}}}
    place.cluster.patch("Service", shop, place.namespace, patch, manager="careless-person")
    until("corrected", lambda: place.get("Service", shop)["spec"]["selector"] == before)

    def told():
        return [e for e in place.events(shop, "DriftCorrected") if "careless-person" in e["note"]]

    [event] = until("an event", told)
    assert "spec.selector" in event["note"], event["note"]


def test_what_was_added_to_a_whole_is_taken_out(place, shop):
    """A selector is one value: a label more selects other pods."""
    patch = {"spec": {"selector": {"stray": "yes"}}}
    place.cluster.patch("Service", shop, place.namespace, patch, manager="careless-person")
    until("taken out", lambda: "stray" not in place.get("Service", shop)["spec"]["selector"])


def test_of_the_pod_template_is_corrected(place, shop):
    before = place.get("Deployment", shop)["spec"]["template"]
    patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "example.com/other:1"}]
    place.cluster.patch("Deployment", shop, place.namespace, patch, manager="kubectl-set",
                        content_type="application/json-patch+json")
    until("corrected", lambda: place.get("Deployment", shop)["spec"]["template"] == before)
    place.wait_for(shop, "Ready")


def test_an_object_that_was_deleted_comes_back(place, shop):
    for kind in ("Service", "PodDisruptionBudget", "ServiceAccount"):
        [item] = [i for i in place.owned(shop) if i["kind"] == kind]
        place.cluster.delete(kind, item["metadata"]["name"], place.namespace)
        until(f"the {kind} is back", lambda kind=kind, item=item: (
            (found := place.get(kind, item["metadata"]["name"]))
            and found["metadata"]["uid"] != item["metadata"]["uid"]))


def test_fields_of_others_are_left_alone(place, shop):
    """An annotation of somebody else is no drift."""
    place.cluster.patch("Deployment", shop, place.namespace,
                        {"metadata": {"annotations": {"example.com/note": "mine"}}}, manager="person")
    place.change(shop, settings={"poolMinIdle": 4})
    until("the change is there", lambda: place.get("OrderService", shop)["status"]["observedGeneration"]
          == place.get("OrderService", shop)["metadata"]["generation"])
    place.wait_for(shop, "Ready")
    assert place.get("Deployment", shop)["metadata"]["annotations"]["example.com/note"] == "mine"


def test_paused_changes_nothing(place, shop):
    place.change(shop, paused=True)
    place.wait_for(shop, "Paused")
    versions = {k: v for k, v in place.versions(shop).items() if k[0] in ("ConfigMap", "Service", "PodDisruptionBudget")}
    place.change(shop, replicas=4)
    place.cluster.delete("PodDisruptionBudget", shop, place.namespace)
    never("something was written", lambda: (
        place.get("Deployment", shop)["spec"]["replicas"] != 2 or place.get("PodDisruptionBudget", shop)), 5)
    after = place.versions(shop)
    assert all(after[k] == v for k, v in versions.items() if k[0] != "PodDisruptionBudget")
    place.change(shop, paused=False)
    until("four wanted", lambda: place.get("Deployment", shop)["spec"]["replicas"] == 4)
    until("the budget is back", lambda: place.get("PodDisruptionBudget", shop))
    place.wait_for(shop, "Paused", "False")
    place.wait_for(shop, "Ready")


def test_a_fight_over_a_field_is_slowed_and_told(place, shop):
    """Another controller wants the same field, and does not give in."""
    fought = place.running("fought-over")
    [operator] = place.operators
    wanted = place.get("Service", fought)["spec"]["selector"]
    over = threading.Event()

    def fight():
        while not over.wait(0.05):
            if place.get("Service", fought)["spec"]["selector"] == wanted:
                place.cluster.patch("Service", fought, place.namespace,
                                    {"spec": {"selector": {"stray": "yes"}}}, manager="other-controller")

    def written():
        return operator.metrics().get('order_operator_writes_total{resource="services"}', 0)

    other = threading.Thread(target=fight, daemon=True)
    before = written()
    other.start()
    try:
        told = place.wait_for(fought, "Degraded", reason="Contested")
        assert "spec.selector (changed by other-controller)" in told["message"], told
        # Pauses of at least 2.5, 5 and 10 s follow three rounds at once.
        time.sleep(15)
        assert 3 <= written() - before <= 6
        assert place.condition(fought, "Ready")["status"] == "True", "its pods serve"
        assert len(place.events(fought, "Contested")) == 1
    finally:
        over.set()
        other.join(10)
    until("it is set back in the end", lambda: place.get("Service", fought)["spec"]["selector"] == wanted, 60)
