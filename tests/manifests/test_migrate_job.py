"""The migration Job stays applicable: repeated `kubectl apply -k` does not change its template."""

import json
import re

import pytest
import yaml
from manifests import (
    IMAGE, NAMES, ROOT, build, containers, deployment, inside, load, maintenance, migrate_job, objects_of, only, write_overlay,
)

DIGEST = "sha256:" + "0123456789abcdef" * 4


def overlay(name, on, **fields):
    """The objects of a user's overlay on dev or prod."""
    directory = write_overlay(
        "job-" + name, {"resources": [inside("overlays", on)], "transformers": [inside("transformers", "image-tag")], **fields}
    )
    return load(build(directory))


@pytest.mark.parametrize("on", ["dev", "prod"])
def test_a_setting_does_not_change_the_job(on):
    before = objects_of(on)
    merge = {"name": "order-service-config", "behavior": "merge", "literals": ["RUST_LOG=trace", "POOL_MAX_SIZE=9", "QUEUE_CAPACITY=7"]}
    after = overlay(f"setting-{on}", on, configMapGenerator=[merge])
    assert migrate_job(after) == migrate_job(before)
    # The pods are replaced.
    assert deployment(after)["spec"]["template"] != deployment(before)["spec"]["template"]
    assert deployment(after)["spec"]["template"]["spec"]["containers"][0]["envFrom"] != (
        deployment(before)["spec"]["template"]["spec"]["containers"][0]["envFrom"])


def test_a_secret_does_not_change_the_job():
    merge = {"name": "order-service-secrets", "behavior": "merge", "literals": ["database-url=postgres://other"],
             "options": {"disableNameSuffixHash": True}}
    after = overlay("secret", "dev", secretGenerator=[merge])
    assert migrate_job(after) == migrate_job(objects_of("dev"))
    assert only(after, "Secret", "order-service-secrets") != only(objects_of("dev"), "Secret", "order-service-secrets")
    assert deployment(after)["spec"]["template"] == deployment(objects_of("dev"))["spec"]["template"]


def test_resources_of_the_deployment_do_not_change_the_job():
    patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/resources/requests/cpu", "value": "2"}]
    after = overlay("resources", "prod", patches=[{"target": {"kind": "Deployment"}, "patch": json.dumps(patch)}])
    assert migrate_job(after) == migrate_job(objects_of("prod"))


@pytest.mark.parametrize("on", ["dev", "prod"])
@pytest.mark.parametrize("tag", ["1.2.3", "2.0.0-rc.1", "7f3c9aa", "main-20261122"])
@pytest.mark.parametrize("digest", [None, DIGEST])
@pytest.mark.parametrize("new_name", [None, "ghcr.io/team/order-service"])
def test_the_name_contains_the_tag(on, tag, digest, new_name):
    image = {"name": IMAGE, "newTag": tag}
    if digest:
        image["digest"] = digest
    if new_name:
        image["newName"] = new_name
    after = overlay(f"tag-{on}-{tag}-{bool(digest)}-{bool(new_name)}", on, images=[image])
    job = migrate_job(after)
    assert job["metadata"]["name"] == f"order-service-migrate-{tag}"
    # The name becomes a label of the pods, which limits its length.
    assert re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", job["metadata"]["name"])
    expected = f"{new_name or IMAGE}:{tag}" + (f"@{digest}" if digest else "")
    for workload in (job, deployment(after), maintenance(after)):
        assert containers(workload)[0]["image"] == expected
        assert workload["metadata"]["labels"]["app.kubernetes.io/version"] == tag


@pytest.mark.parametrize("image", [
    {"name": IMAGE, "digest": DIGEST},
    {"name": IMAGE, "newName": "localhost:5000/order-service", "newTag": "1"},
    {"name": IMAGE, "newTag": "Release_1"},
])
def test_a_tag_that_is_no_valid_name_is_rejected(image):
    """The API server rejects the name, so no Job is created under a wrong name."""
    # `digest` alone keeps the tag of the overlay, so one release would have two images.
    if "digest" in image and "newTag" not in image:
        directory = write_overlay("digest-only", {
            "resources": [inside("base")], "images": [image], "transformers": [inside("transformers", "image-tag")]})
        name = migrate_job(load(build(directory)))["metadata"]["name"]
        assert len(name) > 63
        return
    name = migrate_job(overlay("bad-" + re.sub(r"\W", "", str(image))[:40], "prod", images=[image]))["metadata"]["name"]
    assert not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", name), name


@pytest.mark.parametrize("on", ["base", "dev", "prod"])
def test_it_retries(on):
    job = migrate_job(objects_of(on))
    spec = job["spec"]
    assert spec["backoffLimit"] >= 3
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    # The name of the ConfigMap contains a hash of the settings, which would change the template.
    assert "envFrom" not in containers(job)[0]
    rules = spec["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in rules] == ["Ignore", "Ignore", "FailJob"]
    assert rules[0]["onPodConditions"] == [{"type": "DisruptionTarget", "status": "True"}]
    # An outage of the database uses up no attempt, and an invalid setting ends the Job.
    name = containers(job)[0]["name"]
    assert [rule["onExitCodes"] for rule in rules[1:]] == [
        {"containerName": name, "operator": "In", "values": [code]} for code in (3, 2)]


@pytest.mark.parametrize("on", ["base", "dev", "prod"])
def test_autoscalers_do_not_interrupt_it(on):
    annotations = migrate_job(objects_of(on))["spec"]["template"]["metadata"]["annotations"]
    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    assert annotations["karpenter.sh/do-not-disrupt"] == "true"


def test_it_stays_after_its_end():
    """A Job that deletes itself is missing for a GitOps controller, which creates it again: each day, for ever."""
    for name in NAMES:
        # The tag `dev` is moved, so its Job has to run again.
        if name.split("+")[0] == "dev":
            assert migrate_job(objects_of(name))["spec"]["ttlSecondsAfterFinished"] == 60
        else:
            assert "ttlSecondsAfterFinished" not in migrate_job(objects_of(name))["spec"], name


def blocks_of_operations():
    """The YAML examples of docs/OPERATIONS.md."""
    text = (ROOT / "docs/OPERATIONS.md").read_text()
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]


def test_the_documented_overlay_works():
    [example] = [b for b in blocks_of_operations() if "images" in b]
    assert example.pop("resources") == ["../prod"]
    assert example.pop("transformers") == ["../../transformers/image-tag"]
    example["components"] = [inside(*c.split("/")[2:]) for c in example["components"]]
    example["images"][0]["digest"] = DIGEST
    after = overlay("documented", "prod", **{k: v for k, v in example.items() if k not in ("apiVersion", "kind")})
    assert migrate_job(after)["metadata"]["name"] == "order-service-migrate-1.2.3"
    assert containers(deployment(after))[0]["image"] == f"registry.my-company.com/order-service:1.2.3@{DIGEST}"
    assert only(after, "HTTPRoute")["metadata"]["namespace"] == "order-service-prod"


def test_the_documented_patch_removes_the_job():
    [example] = [b for b in blocks_of_operations() if set(b) == {"patches"}]
    after = overlay("no-job", "prod", **example)
    assert not [item for item in after if item["kind"] == "Job"]
    assert deployment(after) == deployment(objects_of("prod"))
