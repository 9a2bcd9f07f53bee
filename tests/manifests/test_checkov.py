"""checkov, without exceptions but those below, each with its reason. One that no longer applies fails."""

import json
import re
import subprocess

from manifests import ROOT, TOOLS, WORK, text_of

# (check, object) → why not.
SKIPS = {
    ("CKV_K8S_11", r"(Deployment|Job|StatefulSet)\..*"):
        "No CPU limit on purpose: throttling is latency. The request guarantees a share, WORKERS bounds the use.",
    ("CKV_K8S_15", r"(Deployment|Job|StatefulSet)\..*"):
        "IfNotPresent: tags are never moved, a registry that is down must not stop a restart, and an image "
        "loaded into a laptop's cluster is in no registry.",
    ("CKV_K8S_43", r"(Deployment|Job)\..*order-(service|operator).*"):
        "The repository cannot know the digest of an image that is built from it; a release sets it (docs/OPERATIONS.md).",
    ("CKV_K8S_43", r"StatefulSet\..*order-service-postgres"):
        "A database for development; a tag of the minor release gets its fixes.",
    ("CKV_K8S_40", r"StatefulSet\..*order-service-postgres"):
        "The image's files belong to its own user 999.",
    ("CKV_K8S_38", r"Deployment\..*order-operator"):
        "The operator is the one workload that talks to the API server.",
}
SKIPS_IMAGE = {
    ("CKV_DOCKER_7", r".*FROM"):
        "The builder is an argument; its default has a version (test_image.py).",
    ("CKV_DOCKER_2", r".*"):
        "OCI images have no HEALTHCHECK and Kubernetes ignores it; its probes and `order-service healthcheck` do that.",
}
RENDERED = ["dev", "dev+gateway+monitoring", "prod", "prod+external-secrets+gateway", "prod+cloudnative-pg+gateway", "prod+postgres",
            "operator", "operator+monitoring+namespaced"]


def run(directory, framework="kubernetes"):
    done = subprocess.run(
        [str(TOOLS / "checkov/bin/checkov"), "--directory", str(directory), "--framework", framework,
         "--output", "json", "--skip-download", "--quiet"],
        capture_output=True, text=True, check=False, timeout=600)
    report = json.loads(done.stdout)
    assert not report["results"].get("parsing_errors"), report["results"]["parsing_errors"]
    return report


def test_checkov():
    directory = WORK / "checkov"
    directory.mkdir(parents=True, exist_ok=True)
    for name in RENDERED:
        (directory / f"{name.replace('+', '_')}.yaml").write_text(text_of(name))
    report = run(directory)
    assert report["summary"]["passed"] > 400, report["summary"]
    assert_only(SKIPS, report)


def assert_only(skips, report):
    used, unexpected = set(), []
    for failed in report["results"]["failed_checks"]:
        why = [key for key in skips if key[0] == failed["check_id"] and re.fullmatch(key[1], failed["resource"])]
        used.update(why)
        if not why:
            unexpected.append(f"{failed['check_id']} {failed['resource']} ({failed['file_path']}): {failed['check_name']}")
    assert not unexpected, "\n".join(unexpected)
    assert used == set(skips), f"nothing needs these any more: {set(skips) - used}"


def test_checkov_on_the_containerfile():
    directory = WORK / "checkov-image"
    directory.mkdir(parents=True, exist_ok=True)
    # It goes by the name.
    (directory / "Dockerfile").write_text((ROOT / "Containerfile").read_text())
    report = run(directory, "dockerfile")
    assert report["summary"]["passed"] > 50, report["summary"]
    assert_only(SKIPS_IMAGE, report)


def test_checkov_finds_mistakes():
    directory = WORK / "checkov-bad"
    directory.mkdir(parents=True, exist_ok=True)
    bad = text_of("prod").replace("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false")
    (directory / "bad.yaml").write_text(bad)
    assert "CKV_K8S_22" in {failed["check_id"] for failed in run(directory)["results"]["failed_checks"]}
