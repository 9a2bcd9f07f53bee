"""The maintenance CronJob: its runs never overlap and always end, and it reads the settings of the service."""

import re

import pytest
import yaml
from manifests import (
    COMPONENTS, KUSTOMIZE, NAMES, build, containers, environment, inside, job_spec, load, maintenance, migrate_job, objects_of, of_kind, only,
    pod_labels, pod_spec, write_overlay,
)

DAY = 24 * 60 * 60
ARCHIVE = "/var/lib/order-service/archive"
README = KUSTOMIZE / "components/archive/README.md"


@pytest.fixture(params=NAMES)
def objects(request):
    return objects_of(request.param)


def test_it_runs_once_a_day_and_never_twice_at_the_same_time(objects):
    spec = maintenance(objects)["spec"]
    assert re.fullmatch(r"[0-5]?\d ([01]?\d|2[0-3]) \* \* \*", spec["schedule"]), spec["schedule"]
    # Otherwise the time zone is that of the control plane.
    assert spec["timeZone"] == "Etc/UTC"
    assert spec["concurrencyPolicy"] == "Forbid"
    # Without this deadline, a CronJob that has missed a hundred runs never starts again.
    assert 0 < spec["startingDeadlineSeconds"] < DAY
    # A run has ended before the next one is due, also one that started late.
    assert spec["startingDeadlineSeconds"] + job_spec(maintenance(objects))["activeDeadlineSeconds"] < DAY
    assert not spec.get("suspend")


def test_failed_runs_are_retried_and_kept(objects):
    spec, job = maintenance(objects)["spec"], job_spec(maintenance(objects))
    assert spec["failedJobsHistoryLimit"] >= 1 and spec["successfulJobsHistoryLimit"] >= 1
    assert job["backoffLimit"] >= 3
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    ignored, failed = job["podFailurePolicy"]["rules"]
    assert ignored["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    # An unreachable database is exit code 3, which is retried.
    name = containers(maintenance(objects))[0]["name"]
    assert failed["onExitCodes"] == {"containerName": name, "operator": "In", "values": [2]}
    # Otherwise a failed run is deleted before the history limit applies.
    assert "ttlSecondsAfterFinished" not in job


def test_it_is_hardened_like_the_migration(objects):
    ours, theirs = maintenance(objects), migrate_job(objects)
    differ = {"containers", "volumes"}
    assert {k: v for k, v in pod_spec(ours).items() if k not in differ} == {
        k: v for k, v in pod_spec(theirs).items() if k not in differ}
    container, other = containers(ours)[0], containers(theirs)[0]
    for key in ("image", "imagePullPolicy", "resources", "securityContext", "env"):
        assert container[key] == other[key], key
    labels = {"app.kubernetes.io/component": "maintain"}
    assert pod_labels(ours) == pod_labels(theirs) | labels


def test_it_reads_the_settings_of_the_service(objects):
    values = environment(maintenance(objects), objects)
    assert values["POOL_MAX_SIZE"]
    # Everything is kept until a user decides otherwise.
    assert not [key for key in values if key.endswith("_RETENTION")]


def test_the_documented_overlay_archives():
    """`maintain` takes a directory and a retention of orders only together."""
    [text] = re.findall(r"```yaml\n(.*?)```", README.read_text(), re.DOTALL)
    example = yaml.safe_load(text)
    assert example.pop("components") == ["../../components/archive"]
    overlay = write_overlay("archive-readme", {
        "resources": [inside("overlays", "prod")], "components": [inside("components", "archive")],
        "namespace": "order-service-prod", **example})
    objects = load(build(overlay))
    assert environment(maintenance(objects), objects)["ORDER_RETENTION"] in README.read_text()
    assert containers(maintenance(objects))[0]["args"] == ["maintain", "--archive-to", ARCHIVE]


@pytest.mark.parametrize("on", ["dev", "prod"])
def test_a_retention_reaches_it(on):
    merge = {"name": "order-service-config", "behavior": "merge", "literals": ["EVENT_RETENTION=90d"]}
    overlay = write_overlay(f"retention-{on}", {
        "resources": [inside("overlays", on)], "namespace": f"order-service-{on}", "configMapGenerator": [merge]})
    objects = load(build(overlay))
    assert environment(maintenance(objects), objects)["EVENT_RETENTION"] == "90d"
    # A user's overlay without the transformer keeps the name of the Job.
    assert migrate_job(objects) == migrate_job(objects_of(on))


def test_only_the_component_archives():
    assert "archive" in COMPONENTS
    for name in NAMES:
        objects = objects_of(name)
        args, claims = containers(maintenance(objects))[0]["args"], of_kind(objects, "PersistentVolumeClaim")
        if "archive" in name.split("+"):
            assert args == ["maintain", "--archive-to", ARCHIVE], name
            [mount] = [m for m in containers(maintenance(objects))[0]["volumeMounts"] if m["mountPath"] == ARCHIVE]
            assert not mount.get("readOnly"), name
            [volume] = [v for v in pod_spec(maintenance(objects))["volumes"] if v["name"] == mount["name"]]
            assert volume["persistentVolumeClaim"] == {"claimName": only(objects, "PersistentVolumeClaim")["metadata"]["name"]}
        else:
            assert args == ["maintain"] and not claims, name
