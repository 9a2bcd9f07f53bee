"""Creation and deletion of an OrderService with all of its objects."""

import json
import re
import subprocess

import pytest
import yaml
from cluster import OWNED, until
from sandbox import BINARY, IMAGE, KUBECONFIG


@pytest.fixture(scope="module")
def shop(sandbox):
    sandbox.start()
    return sandbox.running("shop")


def test_becomes_ready_for_kubectl(sandbox, shop):
    done = subprocess.run(
        ["kubectl", "--kubeconfig", KUBECONFIG, "-n", sandbox.namespace, "wait", "--for=condition=Ready",
         "osvc/shop", "--timeout=30s"],
        capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_has_all_objects_and_owns_them(sandbox, shop):
    uid = sandbox.get("OrderService", shop)["metadata"]["uid"]
    found = sandbox.owned(shop)
    # No autoscaler, because the spec has replicas.
    assert {item["kind"] for item in found} == set(OWNED) - {"HorizontalPodAutoscaler"}
    for item in found:
        [owner] = item["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("OrderService", uid, True), item["metadata"]["name"]
        managers = {m["manager"] for m in item["metadata"]["managedFields"] if m["operation"] == "Apply"}
        assert managers == {"order-operator"}, item["metadata"]["name"]


def test_has_no_finalizer(sandbox, shop):
    assert not sandbox.get("OrderService", shop)["metadata"].get("finalizers")


def test_status_has_the_running_image(sandbox, shop):
    item = sandbox.get("OrderService", shop)
    status = item["status"]
    assert status["observedGeneration"] == item["metadata"]["generation"]
    assert status["image"] == IMAGE
    assert status["replicas"] == status["readyReplicas"] == 2
    assert status["schema"]
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    # Reconciling and Stalled are absent when they are not True.
    expected = {"Ready": "True", "Available": "True", "Progressing": "False", "Degraded": "False", "Migrated": "True", "Paused": "False",
                "Conflict": "False", "Secured": "False"}
    assert set(expected) == set(conditions)
    assert {k: conditions[k] for k in expected} == expected
    for condition in status["conditions"]:
        assert condition["reason"] and condition["lastTransitionTime"] and condition["observedGeneration"]


def test_columns_of_kubectl(sandbox, shop):
    done = subprocess.run(
        ["kubectl", "--kubeconfig", KUBECONFIG, "-n", sandbox.namespace, "get", "osvc"],
        capture_output=True, text=True, check=True)
    header, row = done.stdout.splitlines()
    assert header.split() == ["NAME", "READY", "AVAILABLE", "IMAGE", "SCHEMA", "REPLICAS", "AGE"]
    assert row.split()[:4] == [shop, "True", "True", IMAGE] and row.split()[5] == "2"


def test_the_migration_ran_before_the_deployment_was_created(sandbox, shop):
    [job] = [i for i in sandbox.owned(shop) if i["kind"] == "Job"]
    [deployment] = [i for i in sandbox.owned(shop) if i["kind"] == "Deployment"]
    assert job["status"]["completionTime"] <= deployment["metadata"]["creationTimestamp"]


def contains(live, desired):
    """The API server adds defaults, so the stored object contains the applied one."""
    if isinstance(desired, dict):
        return isinstance(live, dict) and all(name in live and contains(live[name], value) for name, value in desired.items())
    if isinstance(desired, list):
        return len(live) == len(desired) and all(map(contains, live, desired))
    return live == desired


def without_copy(item):
    """The name of the copy of the URL contains a hash of it."""
    return json.loads(re.sub(r"-url-[0-9a-f]{10}", "-url-HASH", json.dumps(item)))


def test_render_prints_what_was_applied(sandbox, shop):
    """Except the values that depend on the secret and on the UID of the object."""
    text = json.dumps(sandbox.order_service(shop))
    done = subprocess.run([str(BINARY), "render", "-f", "-"], input=text, capture_output=True, text=True, check=True)
    rendered = list(yaml.safe_load_all(done.stdout))
    assert {item["kind"] for item in rendered} == {item["kind"] for item in sandbox.owned(shop)}
    for item in rendered:
        # The budget of the migration exists only while it runs.
        if item["kind"] == "PodDisruptionBudget" and item["metadata"]["name"] != shop:
            continue
        [live] = [i for i in sandbox.owned(shop) if i["kind"] == item["kind"] and i["metadata"]["name"] != f"{shop}-migrate"]
        if item["kind"] in ("Job", "Deployment"):
            item, live = (i["spec"]["template"]["spec"] for i in (item, live))
        else:
            item, live = ({k: i[k] for k in ("spec", "data") if k in i} for i in (item, live))
        assert contains(without_copy(live), without_copy(item)), live


def test_publishes_events(sandbox, shop):
    assert sandbox.events(shop), "no event"


def test_a_foreign_object_is_not_changed(sandbox, shop):
    """The other objects of that OrderService are applied."""
    foreign = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "taken", "namespace": sandbox.namespace},
               "spec": {"selector": {"app": "somebody-elses"}, "ports": [{"port": 1234}]}}
    made = sandbox.cluster.create(foreign)
    sandbox.cluster.create(sandbox.order_service("taken"))
    conflict = sandbox.wait_for("taken", "Conflict")
    assert "taken" in conflict["message"] and "Service" in conflict["message"]
    after = sandbox.get("Service", "taken")
    assert after["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    # Once it is deleted, the operator creates its own.
    sandbox.cluster.delete("Service", "taken", sandbox.namespace)
    sandbox.wait_for("taken", "Ready", seconds=90)
    assert sandbox.get("Service", "taken")["metadata"]["ownerReferences"][0]["kind"] == "OrderService"


def test_a_foreign_object_survives_the_deletion(sandbox, shop):
    foreign = {"apiVersion": "v1", "kind": "ConfigMap",
               "metadata": {"name": "bystander", "namespace": sandbox.namespace}, "data": {"a": "b"}}
    sandbox.cluster.apply(foreign)
    sandbox.cluster.create(sandbox.order_service("passing"))
    sandbox.wait_for("passing", "Ready")
    sandbox.cluster.delete("OrderService", "passing", sandbox.namespace)
    until("it is gone", lambda: sandbox.get("OrderService", "passing") is None)
    sandbox.simulator.collect_garbage(sandbox.namespace)
    until("what it owned is gone", lambda: sandbox.get("Deployment", "passing") is None)
    assert sandbox.get("ConfigMap", "bystander")


def test_a_sub_feature_that_is_switched_off_removes_its_object(sandbox, shop):
    off = {"enabled": False}
    sandbox.change(shop, disruption=off, networkPolicy=off, maintenance=off)
    until("no budget", lambda: sandbox.get("PodDisruptionBudget", shop) is None)
    until("no policy", lambda: not [i for i in sandbox.owned(shop) if i["kind"] == "NetworkPolicy"])
    until("no CronJob", lambda: sandbox.get("CronJob", f"{shop}-maintain") is None)
    sandbox.change(shop, disruption=None, networkPolicy=None, maintenance=None)
    until("a budget again", lambda: sandbox.get("PodDisruptionBudget", shop))
    until("a CronJob again", lambda: sandbox.get("CronJob", f"{shop}-maintain"))
    sandbox.wait_for(shop, "Ready")
