"""An OrderService comes up, with all its objects, and goes again."""

import json
import subprocess

import pytest
import yaml
from cluster import OWNED, until
from place import BINARY, IMAGE, KUBECONFIG


@pytest.fixture(scope="module")
def shop(place):
    place.start()
    return place.running("shop")


def test_becomes_ready_for_kubectl(place, shop):
    done = subprocess.run(
        ["kubectl", "--kubeconfig", KUBECONFIG, "-n", place.namespace, "wait", "--for=condition=Ready",
         "osvc/shop", "--timeout=30s"],
        capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_has_all_objects_and_owns_them(place, shop):
    uid = place.get("OrderService", shop)["metadata"]["uid"]
    found = place.owned(shop)
    # No autoscaler: the spec asks for replicas.
    assert {item["kind"] for item in found} == set(OWNED) - {"HorizontalPodAutoscaler"}
    for item in found:
        [owner] = item["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("OrderService", uid, True), item["metadata"]["name"]
        managers = {m["manager"] for m in item["metadata"]["managedFields"] if m["operation"] == "Apply"}
        assert managers == {"order-operator"}, item["metadata"]["name"]


def test_has_no_finalizer(place, shop):
    assert not place.get("OrderService", shop)["metadata"].get("finalizers")


def test_status_says_what_runs(place, shop):
    item = place.get("OrderService", shop)
    status = item["status"]
    assert status["observedGeneration"] == item["metadata"]["generation"]
    assert status["image"] == IMAGE
    assert status["replicas"] == status["readyReplicas"] == 2
    assert status["schema"]
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    assert {"Ready", "Progressing", "Degraded", "Migrated", "Paused"} <= set(conditions)
    expected = {"Ready": "True", "Progressing": "False", "Degraded": "False", "Migrated": "True", "Paused": "False"}
    assert {k: conditions[k] for k in expected} == expected
    for condition in status["conditions"]:
        assert condition["reason"] and condition["lastTransitionTime"] and condition["observedGeneration"]


def test_columns_of_kubectl(place, shop):
    done = subprocess.run(
        ["kubectl", "--kubeconfig", KUBECONFIG, "-n", place.namespace, "get", "osvc"],
        capture_output=True, text=True, check=True)
    header, row = done.stdout.splitlines()
    assert header.split() == ["NAME", "READY", "IMAGE", "SCHEMA", "REPLICAS", "AGE"]
    assert row.split()[:3] == [shop, "True", IMAGE] and row.split()[4] == "2"


def test_the_migration_ran_before_the_deployment_was_made(place, shop):
    [job] = [i for i in place.owned(shop) if i["kind"] == "Job"]
    [deployment] = [i for i in place.owned(shop) if i["kind"] == "Deployment"]
    assert job["status"]["completionTime"] <= deployment["metadata"]["creationTimestamp"]


def contains(live, desired):
    """The API server fills in defaults, so what is there contains what was applied."""
    if isinstance(desired, dict):
        return isinstance(live, dict) and all(name in live and contains(live[name], value) for name, value in desired.items())
    if isinstance(desired, list):
        return len(live) == len(desired) and all(map(contains, live, desired))
    return live == desired


def test_render_prints_what_was_applied(place, shop):
    """Without a cluster: all but what the secret and the identity of the object decide."""
    text = json.dumps(place.order_service(shop))
    done = subprocess.run([str(BINARY), "render", "-f", "-"], input=text, capture_output=True, text=True, check=True)
    rendered = list(yaml.safe_load_all(done.stdout))
    assert {item["kind"] for item in rendered} == {item["kind"] for item in place.owned(shop)}
    for item in rendered:
        [live] = [i for i in place.owned(shop) if i["kind"] == item["kind"]]
        if item["kind"] in ("Job", "Deployment"):
            item, live = (i["spec"]["template"]["spec"] for i in (item, live))
        else:
            item, live = ({k: i[k] for k in ("spec", "data") if k in i} for i in (item, live))
        assert contains(live, item), live


def test_tells_what_it_did(place, shop):
    assert place.events(shop), "no event"


def test_a_foreign_object_is_left_alone(place, shop):
    """And everything else of that OrderService goes on."""
    foreign = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "taken", "namespace": place.namespace},
               "spec": {"selector": {"app": "somebody-elses"}, "ports": [{"port": 1234}]}}
    made = place.cluster.create(foreign)
    place.cluster.create(place.order_service("taken"))
    conflict = place.wait_for("taken", "Conflict")
    assert "taken" in conflict["message"] and "Service" in conflict["message"]
    after = place.get("Service", "taken")
    assert after["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    # Out of the way, it is made.
    place.cluster.delete("Service", "taken", place.namespace)
    place.wait_for("taken", "Ready", seconds=90)
    assert place.get("Service", "taken")["metadata"]["ownerReferences"][0]["kind"] == "OrderService"


def test_a_foreign_object_survives_the_deletion(place, shop):
    foreign = {"apiVersion": "v1", "kind": "ConfigMap",
               "metadata": {"name": "bystander", "namespace": place.namespace}, "data": {"a": "b"}}
    place.cluster.apply(foreign)
    place.cluster.create(place.order_service("passing"))
    place.wait_for("passing", "Ready")
    place.cluster.delete("OrderService", "passing", place.namespace)
    until("it is gone", lambda: place.get("OrderService", "passing") is None)
    place.stage.collect_garbage(place.namespace)
    until("what it owned is gone", lambda: place.get("Deployment", "passing") is None)
    assert place.get("ConfigMap", "bystander")


def test_a_sub_feature_that_is_switched_off_removes_its_object(place, shop):
    place.change(shop, disruption={"enabled": False}, networkPolicy={"enabled": False})
    until("no budget", lambda: place.get("PodDisruptionBudget", shop) is None)
    until("no policy", lambda: not [i for i in place.owned(shop) if i["kind"] == "NetworkPolicy"])
    place.change(shop, disruption=None, networkPolicy=None)
    until("a budget again", lambda: place.get("PodDisruptionBudget", shop))
    place.wait_for(shop, "Ready")
