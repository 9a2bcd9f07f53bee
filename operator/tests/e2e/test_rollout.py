"""The migration before a rollout, its failure, and the rollback of a bad image."""

import time

import pytest
from cluster import Recorder, never, until
from sandbox import IMAGE, NEXT_IMAGE

BAD = IMAGE.rsplit(":", 1)[0] + ":9.9.9-crashes"
MISSING = IMAGE.rsplit(":", 1)[0] + ":9.9.9-missing"
UNMIGRATABLE = IMAGE.rsplit(":", 1)[0] + ":9.9.9-cannot-migrate"
LAST_LINES = "applying 0007_split_orders\nERROR: lock timeout on table orders"


# Secrets are read at each reconcile and not watched.
OFTEN = {"RESYNC_PERIOD": "5s"}


@pytest.fixture(scope="module", autouse=True)
def operator(sandbox):
    return sandbox.start(environment=OFTEN)


def image(sandbox, name):
    return sandbox.get("Deployment", name)["spec"]["template"]["spec"]["containers"][0]["image"]


def template(sandbox, name):
    return sandbox.get("Deployment", name)["spec"]["template"]


def test_a_new_image_migrates_first(sandbox, simulated):
    sandbox.running("orderly")
    sandbox.simulator.outcomes[NEXT_IMAGE, "migrate"] = "hang"
    sandbox.change("orderly", image=NEXT_IMAGE)
    until("a Job with the new image", lambda: any(
        i["kind"] == "Job" and i["spec"]["template"]["spec"]["containers"][0]["image"] == NEXT_IMAGE
        for i in sandbox.owned("orderly")))
    never("the Deployment changed before the migration was done", lambda: image(sandbox, "orderly") != IMAGE, 3)
    assert sandbox.wait_for("orderly", "Progressing")
    del sandbox.simulator.outcomes[NEXT_IMAGE, "migrate"]
    until("the new image", lambda: image(sandbox, "orderly") == NEXT_IMAGE, 60)
    sandbox.wait_for("orderly", "Ready")


def test_a_failed_migration_leaves_the_pods_unchanged(sandbox, simulated):
    sandbox.running("careful")
    before = template(sandbox, "careful")
    sandbox.simulator.outcomes[UNMIGRATABLE, "migrate"] = (2, LAST_LINES)
    sandbox.change("careful", image=UNMIGRATABLE)
    failed = sandbox.wait_for("careful", "Migrated", "False", "MigrationFailed", seconds=90)
    assert LAST_LINES.splitlines()[-1] in failed["message"]
    sandbox.wait_for("careful", "Degraded", "True", "MigrationFailed")
    assert template(sandbox, "careful") == before
    assert sandbox.get("Deployment", "careful")["status"]["availableReplicas"] == 2
    [event] = until("an event was published", lambda: sandbox.events("careful", "MigrationFailed"))
    assert event["type"] == "Warning"
    # A changed spec starts a new migration.
    sandbox.change("careful", image=NEXT_IMAGE)
    sandbox.wait_for("careful", "Ready", seconds=90)
    assert image(sandbox, "careful") == NEXT_IMAGE
    assert sandbox.condition("careful", "Migrated")["status"] == "True"
    assert sandbox.condition("careful", "Degraded")["status"] == "False"


def roll_back(sandbox, name, bad, outcome):
    """Rolls out an image whose pods do not run, until it is rolled back."""
    # 30 s is the shortest deadline that the CRD accepts.
    sandbox.running(name, progressDeadlineSeconds=30)
    sandbox.simulator.outcomes[bad, "server"] = outcome
    sandbox.change(name, image=bad)
    until("it was tried", lambda: image(sandbox, name) == bad, 60)
    until("the last good template is back", lambda: image(sandbox, name) == IMAGE, 120)
    reason = {"crash": "CrashLoopBackOff", "missing": "ProgressDeadlineExceeded"}[outcome]
    degraded = sandbox.wait_for(name, "Degraded", "True", reason)
    assert f"rolled back to {IMAGE}" in degraded["message"], degraded
    sandbox.wait_for(name, "Ready", "False", "RolledBack")
    assert sandbox.wait_for(name, "Available")
    until("an event was published", lambda: sandbox.events(name, reason))
    # The pods serve.
    assert sandbox.get("Deployment", name)["status"]["availableReplicas"] == 2


def test_an_image_that_crashes_is_rolled_back_and_retried_at_a_request(sandbox, simulated):
    roll_back(sandbox, "bold", BAD, "crash")
    before = template(sandbox, "bold")
    never("it was retried", lambda: template(sandbox, "bold") != before, 10)
    sandbox.simulator.outcomes[BAD, "server"] = "ready"
    sandbox.cluster.patch("OrderService", "bold", sandbox.namespace,
                          {"metadata": {"annotations": {"orders.example.com/retry": "once"}}})
    until("it was retried", lambda: image(sandbox, "bold") == BAD, 60)
    sandbox.wait_for("bold", "Ready", seconds=90)
    assert sandbox.condition("bold", "Degraded")["status"] == "False"


def test_an_image_that_cannot_be_pulled_is_rolled_back_and_retried_by_itself(sandbox, simulated):
    roll_back(sandbox, "patient", MISSING, "missing")
    failed = sandbox.get("OrderService", "patient")["status"]["failedRevision"]
    assert failed["cause"] == "ImagePullBackOff" and failed["retryAt"], failed
    sandbox.simulator.outcomes[MISSING, "server"] = "ready"
    until("it was retried", lambda: image(sandbox, "patient") == MISSING, 60)
    sandbox.wait_for("patient", "Ready", seconds=90)
    assert sandbox.condition("patient", "Degraded")["status"] == "False"


def test_another_operator_does_not_retry_it(sandbox, simulated):
    """The failed revision is in the status, not in the memory of a process."""
    sandbox.running("lasting", progressDeadlineSeconds=30)
    sandbox.simulator.outcomes[BAD, "server"] = "crash"
    sandbox.change("lasting", image=BAD)
    until("it was tried", lambda: image(sandbox, "lasting") == BAD, 60)
    until("the last good template is back", lambda: image(sandbox, "lasting") == IMAGE, 120)
    sandbox.wait_for("lasting", "Degraded")
    sandbox.operators[-1].stop()
    sandbox.start(environment=OFTEN)
    until("a leader", sandbox.leader)
    never("it was retried", lambda: image(sandbox, "lasting") != IMAGE, 10)


def test_a_changed_secret_rolls_the_pods_once(sandbox, simulated):
    sandbox.running("rotated")
    before = template(sandbox, "rotated")
    with Recorder(sandbox.cluster, "Deployment", sandbox.namespace) as record:
        sandbox.secret(url="postgres://orders:rotated@db.example.com/orders")
        until("another template", lambda: template(sandbox, "rotated") != before)
        sandbox.wait_for("rotated", "Ready")
        # Long enough for several reconciles.
        time.sleep(12)
    seen = [item["spec"]["template"] for _, item in record.seen if item["metadata"]["name"] == "rotated"]
    changes = [new for old, new in zip(seen, seen[1:]) if new != old]
    assert len(changes) == 1, "rolled more than once"
    sandbox.secret()
    until("the same secret makes the same pods", lambda: template(sandbox, "rotated") == before)


def test_a_missing_secret_is_waited_for(sandbox, simulated):
    sandbox.cluster.create(sandbox.order_service("early", database={"secretRef": {"name": "not-yet"}}))
    waiting = sandbox.wait_for("early", "Ready", "False", "SecretNotFound")
    assert "not-yet" in waiting["message"], waiting
    assert sandbox.get("Deployment", "early") is None
    sandbox.secret("not-yet")
    sandbox.wait_for("early", "Ready", seconds=90)
