"""checkov, with the exceptions below and their reasons. An exception that no longer applies is a failure."""

import json
import re
import subprocess

from manifests import ROOT, TOOLS, WORK, file_name, text_of

# (check, object) → reason.
SKIPS = {
    ("CKV_K8S_11", r"(CronJob|Deployment|Job|StatefulSet)\..*"):
        "No CPU limit: throttling shows up as latency. The request guarantees a share, and WORKERS bounds the use.",
    ("CKV_K8S_15", r"(CronJob|Deployment|Job|StatefulSet)\..*"):
        "IfNotPresent: tags are never moved, an unavailable registry must not prevent a restart, and an image "
        "loaded into a local cluster is in no registry.",
    ("CKV_K8S_43", r"(CronJob|Deployment|Job)\..*order-(service|operator).*"):
        "The digest exists only after the image is built from this repository; a release sets it (docs/OPERATIONS.md).",
    ("CKV_K8S_43", r"StatefulSet\..*order-service-postgres"):
        "A database for development; the tag of the major release receives its fixes.",
    ("CKV_K8S_43", r"Deployment\.shop\.checkout"):
        "An example to copy; the digest of the image of curl is not known here.",
    ("CKV_K8S_8", r"Deployment\.shop\.checkout"):
        "It serves nothing. Its log shows whether its requests succeed.",
    ("CKV_K8S_9", r"Deployment\.shop\.checkout"):
        "No Service selects it.",
    ("CKV_K8S_40", r"StatefulSet\..*order-service-postgres"):
        "The image's files belong to its user 999.",
    ("CKV_K8S_38", r"Deployment\..*order-operator"):
        "The operator is the only workload that uses the API server.",
}
SKIPS_IMAGE = {
    ("CKV_DOCKER_7", r".*FROM"):
        "The builder is an argument; its default has a version (test_image.py).",
    ("CKV_DOCKER_2", r".*"):
        "OCI images have no HEALTHCHECK, and Kubernetes ignores it; probes and `order-service healthcheck` replace it.",
}
RENDERED = ["dev", "dev+gateway+monitoring", "prod", "prod+external-secrets+gateway", "prod+cloudnative-pg+gateway", "prod+postgres",
            "prod+archive", "prod+kubernetes-auth", "prod+kubernetes-auth+kubernetes-auth/cilium", "prod+ip-targets",
            "prod+in-cluster-database", "kubernetes-auth-client",
            "operator", "operator+cilium+monitoring+namespaced", "operator+any-api-server"]


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
        (directory / f"{file_name(name)}.yaml").write_text(text_of(name))
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
    assert used == set(skips), f"these exceptions no longer apply: {set(skips) - used}"


def test_checkov_on_the_containerfile():
    directory = WORK / "checkov-image"
    directory.mkdir(parents=True, exist_ok=True)
    # checkov selects Dockerfiles by name.
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
