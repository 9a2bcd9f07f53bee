"""Migration before rollout, its failure, and the way back from a bad image."""

import time

import pytest
from cluster import Recorder, never, until
from place import IMAGE, NEXT_IMAGE

BAD = IMAGE.rsplit(":", 1)[0] + ":9.9.9-crashes"
MISSING = IMAGE.rsplit(":", 1)[0] + ":9.9.9-missing"
UNMIGRATABLE = IMAGE.rsplit(":", 1)[0] + ":9.9.9-cannot-migrate"
LAST_LINES = "applying 0007_split_orders\nERROR: lock timeout on table orders"


# Secrets are looked at each time, and not watched.
OFTEN = {"RESYNC_PERIOD": "5s"}


@pytest.fixture(scope="module", autouse=True)
def operator(place):
    return place.start(environment=OFTEN)


def image(place, name):
    return place.get("Deployment", name)["spec"]["template"]["spec"]["containers"][0]["image"]


def template(place, name):
    return place.get("Deployment", name)["spec"]["template"]


def test_a_new_image_migrates_first(place, played):
    place.running("orderly")
    place.stage.fates[NEXT_IMAGE, "migrate"] = "hang"
    place.change("orderly", image=NEXT_IMAGE)
    until("a Job with the new image", lambda: any(
        i["kind"] == "Job" and i["spec"]["template"]["spec"]["containers"][0]["image"] == NEXT_IMAGE
        for i in place.owned("orderly")))
    never("the Deployment changed before the migration was done", lambda: image(place, "orderly") != IMAGE, 3)
    assert place.wait_for("orderly", "Progressing")
    del place.stage.fates[NEXT_IMAGE, "migrate"]
    until("the new image", lambda: image(place, "orderly") == NEXT_IMAGE, 60)
    place.wait_for("orderly", "Ready")


def test_a_migration_that_fails_leaves_the_pods_alone(place, played):
    place.running("careful")
    before = template(place, "careful")
    place.stage.fates[UNMIGRATABLE, "migrate"] = (2, LAST_LINES)
    place.change("careful", image=UNMIGRATABLE)
    failed = place.wait_for("careful", "Migrated", "False", "MigrationFailed", seconds=90)
    assert LAST_LINES.splitlines()[-1] in failed["message"]
    place.wait_for("careful", "Degraded", "True", "MigrationFailed")
    assert template(place, "careful") == before
    assert place.get("Deployment", "careful")["status"]["availableReplicas"] == 2
    [event] = until("somebody was told", lambda: place.events("careful", "MigrationFailed"))
    assert event["type"] == "Warning"
    # Fixing the spec is all it takes.
    place.change("careful", image=NEXT_IMAGE)
    place.wait_for("careful", "Ready", seconds=90)
    assert image(place, "careful") == NEXT_IMAGE
    assert place.condition("careful", "Migrated")["status"] == "True"
    assert place.condition("careful", "Degraded")["status"] == "False"


@pytest.mark.parametrize(("bad", "fate"), [(BAD, "crash"), (MISSING, "missing")])
def test_a_bad_image_is_rolled_back_and_not_tried_again(place, played, bad, fate):
    name = f"bold-{fate}"
    # 30 s is the shortest deadline there is.
    place.running(name, progressDeadlineSeconds=30)
    before = template(place, name)
    place.stage.fates[bad, "server"] = fate
    place.change(name, image=bad)
    until("it was tried", lambda: image(place, name) == bad, 60)
    until("the last good template is back", lambda: image(place, name) == IMAGE, 120)
    reason = {"crash": "CrashLoopBackOff", "missing": "ProgressDeadlineExceeded"}[fate]
    degraded = place.wait_for(name, "Degraded", "True", reason)
    assert f"rolled back to {IMAGE}" in degraded["message"], degraded
    place.wait_for(name, "Ready", "False", "RolledBack")
    until("somebody was told", lambda: place.events(name, reason))
    never("it was tried again", lambda: template(place, name) != before, 10)
    # Still, pods serve.
    assert place.get("Deployment", name)["status"]["availableReplicas"] == 2
    place.change(name, image=NEXT_IMAGE)
    place.wait_for(name, "Ready", seconds=90)
    assert image(place, name) == NEXT_IMAGE
    assert place.condition(name, "Degraded")["status"] == "False"


def test_it_is_not_tried_again_by_another_operator_either(place, played):
    """What failed is in the status and not in a process's memory."""
    place.running("lasting", progressDeadlineSeconds=30)
    place.stage.fates[BAD, "server"] = "crash"
    place.change("lasting", image=BAD)
    until("it was tried", lambda: image(place, "lasting") == BAD, 60)
    until("the last good template is back", lambda: image(place, "lasting") == IMAGE, 120)
    place.wait_for("lasting", "Degraded")
    place.operators[-1].stop()
    place.start(environment=OFTEN)
    until("a leader", place.leader)
    never("it was tried again", lambda: image(place, "lasting") != IMAGE, 10)


def test_a_changed_secret_rolls_the_pods_once(place, played):
    place.running("rotated")
    before = template(place, "rotated")
    with Recorder(place.cluster, "Deployment", place.namespace) as record:
        place.secret(url="postgres://orders:rotated@db.example.com/orders")
        until("another template", lambda: template(place, "rotated") != before)
        place.wait_for("rotated", "Ready")
        # Long enough for several looks at the secret.
        time.sleep(12)
    seen = [item["spec"]["template"] for _, item in record.seen if item["metadata"]["name"] == "rotated"]
    changes = [new for old, new in zip(seen, seen[1:]) if new != old]
    assert len(changes) == 1, "rolled more than once"
    place.secret()
    until("the same secret makes the same pods", lambda: template(place, "rotated") == before)


def test_a_secret_that_is_missing_is_waited_for(place, played):
    place.cluster.create(place.order_service("early", database={"secretRef": {"name": "not-yet"}}))
    waiting = place.wait_for("early", "Ready", "False", "SecretNotFound")
    assert "not-yet" in waiting["message"], waiting
    assert place.get("Deployment", "early") is None
    place.secret("not-yet")
    place.wait_for("early", "Ready", seconds=90)
