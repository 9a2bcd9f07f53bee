"""The operator in the cluster: the life of one OrderService, under load where pods change."""

import time

import figures
import kube
import load
import operator_install
import pytest
from operator_install import OPERATOR, SYSTEM, Service


@pytest.fixture(scope="module")
def operator():
    with operator_install.installed():
        yield


@pytest.fixture(scope="module")
def namespace(operator):
    with kube.namespace("e2e-operator") as name:
        operator_install.database(name)
        yield name


@pytest.fixture(scope="module")
def orders(namespace):
    """Three pods of the first version."""
    service = Service("orders", namespace)
    began = time.monotonic()
    # Three pods, one more of a rollout and two that drain need less than the 100 connections of the database.
    service.create(replicas=3, settings={"poolMaxSize": 12})
    service.wait_for("Ready")
    figures.record("OrderService with three pods from nothing to Ready", seconds=round(time.monotonic() - began, 1))
    return service


@pytest.fixture
def settled(orders):
    """Three pods of the first version, whatever the previous test did."""
    orders.change(image=kube.image(kube.TAG), replicas=3)
    orders.wait_for("Ready")
    kube.until("the old pods end", lambda: len(kube.listed("pods", orders.namespace, orders.selector)) == 3, 90)
    return orders


def test_an_object_becomes_ready_in_a_restricted_namespace(orders):
    assert orders.images() == {kube.image(kube.TAG)}
    assert len(orders.pods(ready=True)) == 3
    [job] = kube.listed("jobs", orders.namespace, "app.kubernetes.io/component=migrate")
    assert kube.is_true(job, "Complete"), job["status"]


def test_an_update_migrates_first_while_the_leader_dies_and_a_person_scales_down(settled):
    """The operator updates three pods under load. Its leader is killed, and the Deployment is scaled by hand."""
    began = time.monotonic()
    with load.load(settled.name, settled.namespace) as running:
        settled.change(image=kube.image(kube.NEXT_TAG))
        kube.until("the first pod of the new version", lambda: kube.image(kube.NEXT_TAG) in settled.images(), 90)
        killed = operator_install.leader()
        kube.kubectl("-n", SYSTEM, "delete", "pod", killed, "--grace-period=0", "--force")
        settled.kubectl("scale", f"deployment/{settled.name}", "--replicas=2")
        settled.wait_for("Ready")
        kube.until("three pods of the new version", lambda: len(settled.pods(ready=True)) == 3, 120)
        assert settled.images() == {kube.image(kube.NEXT_TAG)}
        kube.until("the old pods end",
                   lambda: len(kube.listed("pods", settled.namespace, settled.selector)) == 3, 90)
        load.assert_nothing_failed(running)
    assert operator_install.leader() not in (None, killed)
    figures.record("update by the operator, leader killed, Deployment scaled by hand", clients=load.CLIENTS,
                   **running.summary(), seconds=round(time.monotonic() - began))
    _assert_migrated_before_pods(settled, kube.NEXT_TAG)


def _assert_migrated_before_pods(service, tag):
    jobs = kube.listed("jobs", service.namespace, "app.kubernetes.io/component=migrate")
    [job] = [j for j in jobs if j["spec"]["template"]["spec"]["containers"][0]["image"] == kube.image(tag)]
    sets = kube.listed("replicasets", service.namespace, service.selector)
    [replica_set] = [r for r in sets if r["spec"]["template"]["spec"]["containers"][0]["image"] == kube.image(tag)]
    # Both have a resolution of one second.
    assert job["status"]["completionTime"] <= kube.created(replica_set)


def test_a_missing_image_leaves_the_pods_and_its_correction_needs_no_other_step(settled):
    before = {p["metadata"]["uid"] for p in settled.pods()}
    settled.change(image=kube.image("no-such-tag"))
    settled.wait_for("Migrated", "False", seconds=120)
    kube.until("the condition has the reason", lambda: settled.condition("Migrated")["reason"] == "MigrationRetrying", 120)
    assert {p["metadata"]["uid"] for p in settled.pods(ready=True)} == before
    settled.change(image=kube.image(kube.TAG))
    settled.wait_for("Ready")
    assert {p["metadata"]["uid"] for p in settled.pods(ready=True)} == before


def test_pods_that_crash_are_rolled_back_under_load(settled):
    """The pods reject the file of `auth`; requests without credentials succeed before, during and after."""
    kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bad-auth"},
                "stringData": {"auth.toml": "[[api_key]]\n"}}, namespace=settled.namespace)
    before = {p["metadata"]["uid"] for p in settled.pods()}
    began = time.monotonic()
    with load.load(settled.name, settled.namespace) as running:
        settled.change(auth={"secretRef": {"name": "bad-auth"}, "anonymous": ["all"]})
        settled.wait_for("Degraded", reason="CrashLoopBackOff", seconds=240)
        settled.wait_for("Ready", "False", reason="RolledBack", seconds=60)
        took = time.monotonic() - began
        kube.until("only the old pods", lambda: {p["metadata"]["uid"] for p in settled.pods()} == before, 90)
        load.assert_nothing_failed(running)
    figures.record("rollback of a version whose pods crash", clients=load.CLIENTS, **running.summary(),
                   seconds=round(took))
    settled.change(auth=None)
    settled.wait_for("Ready")
    assert {p["metadata"]["uid"] for p in settled.pods()} == before


def test_a_deployment_scaled_by_hand_is_restored(settled):
    settled.kubectl("scale", f"deployment/{settled.name}", "--replicas=1")
    began = time.monotonic()
    kube.until("three replicas are desired", lambda: settled.deployment()["spec"]["replicas"] == 3, 30)
    figures.record("a Deployment scaled by hand is restored", seconds=round(time.monotonic() - began, 1))
    kube.until("an event names the correction", lambda: settled.events("DriftCorrected"), 30)
    kube.until("three pods", lambda: len(settled.pods(ready=True)) == 3, 90)


def test_a_rollout_undone_by_hand_is_restored(settled):
    settled.change(image=kube.image(kube.NEXT_TAG))
    settled.wait_for("Ready")
    settled.kubectl("rollout", "undo", f"deployment/{settled.name}")
    kube.until("the template has the wanted image", lambda: _template_image(settled) == kube.image(kube.NEXT_TAG), 30)
    settled.wait_for("Ready")
    kube.until("only pods of the wanted image", lambda: settled.images() == {kube.image(kube.NEXT_TAG)}, 90)


def _template_image(service):
    return service.deployment()["spec"]["template"]["spec"]["containers"][0]["image"]


def test_the_scale_subresource_changes_the_pods(settled):
    settled.kubectl("scale", operator_install.RESOURCE, settled.name, "--replicas=4")
    kube.until("four pods", lambda: len(settled.pods(ready=True)) == 4, 90)
    settled.wait_for("Ready")
    settled.kubectl("scale", operator_install.RESOURCE, settled.name, "--replicas=3")
    kube.until("three pods", lambda: len(settled.pods()) == 3, 90)


def test_the_upgrade_of_the_operator_replaces_no_pod_of_a_service(settled):
    """The new tag has the same binary, so this tests the replacement of the pods and of the leader."""
    before = settled.deployment()["metadata"]["resourceVersion"], {p["metadata"]["uid"] for p in settled.pods()}
    leader = operator_install.leader()
    began = time.monotonic()
    with load.load(settled.name, settled.namespace) as running:
        operator_install.apply_operator(kube.NEXT_TAG)
        kube.until("a pod of the new version leads", lambda: operator_install.leader() not in (None, leader), 60)
        images = {p["spec"]["containers"][0]["image"] for p in kube.pods(SYSTEM, OPERATOR)}
        assert images == {kube.image(kube.NEXT_TAG, "order-operator")}
        load.assert_nothing_failed(running)
    figures.record("upgrade of the operator", clients=load.CLIENTS, **running.summary(),
                   seconds=round(time.monotonic() - began))
    after = settled.deployment()["metadata"]["resourceVersion"], {p["metadata"]["uid"] for p in settled.pods()}
    assert before == after
    # The new leader works.
    settled.change(replicas=2)
    kube.until("two replicas are desired", lambda: settled.deployment()["spec"]["replicas"] == 2, 30)


def test_a_deleted_object_takes_its_objects_with_it(namespace):
    service = Service("leaves", namespace)
    service.create(replicas=1)
    service.wait_for("Ready")
    kinds = "deployments,services,serviceaccounts,configmaps,jobs,cronjobs,poddisruptionbudgets,networkpolicies,pods"
    selector = "app.kubernetes.io/instance=leaves"
    assert len(kube.listed(kinds, namespace, selector)) > 8
    service.kubectl("delete", operator_install.RESOURCE, "leaves")
    kube.until("its objects are deleted", lambda: not kube.listed(kinds, namespace, selector), 120)
