"""The workflows run targets of the Makefile, with pinned actions and minimal rights."""

import re

import pytest
import yaml
from manifests import ROOT, load

FILES = sorted((ROOT / ".github/workflows").glob("*.yaml"))
TARGETS = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.M))


def steps(file):
    workflow, = load(file.read_text())
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_workflows_and_targets_are_found():
    assert FILES and {"lint", "test", "image"} <= TARGETS


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_command_is_a_make_target(file):
    runs = [step["run"] for step in steps(file) if "run" in step]
    assert runs
    for run in runs:
        match = re.fullmatch(r"make ([a-z0-9-]+)", run)
        assert match and match[1] in TARGETS, run


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_actions_are_pinned_by_commit(file):
    for line in file.read_text().splitlines():
        if "uses:" in line:
            # The version in the comment is for people and for tools that update it.
            assert re.search(r"uses: [\w-]+/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), line


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_rights_and_duration_are_limited(file):
    workflow, = load(file.read_text())
    # YAML 1.1 reads the key `on` as true.
    assert workflow["permissions"] == {"contents": "read"} and "pull_request_target" not in workflow[True]
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 60, name
        # Only the job that signs has the right to an identity, and it starts only with a tag and after the tests.
        if "permissions" in job:
            assert job["permissions"] == {"contents": "read", "id-token": "write"} and job["environment"] == "release"
            assert workflow[True] == {"push": {"tags": ["v*"]}} and job["needs"] == "verify"
            assert {"make release-check", "make lint", "make test"} <= {
                step.get("run") for step in workflow["jobs"]["verify"]["steps"]}
        assert re.fullmatch(r"ubuntu-\d\d\.04", job["runs-on"]), "not `latest`, which changes over time"
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False, name


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_commands_contain_no_data_of_events(file):
    """With `${{ … }}` in `run:` or `env:`, the title of a pull request could become a command."""
    workflow, = load(file.read_text())
    for job in workflow["jobs"].values():
        for step in job["steps"]:
            assert "${{" not in step.get("run", "")
        for variables in [job.get("env", {}), *(step.get("env", {}) for step in job["steps"])]:
            for name, value in variables.items():
                # Variables and secrets are set by administrators of the repository.
                assert "${{" not in re.sub(r"\$\{\{ (vars|secrets)\.[A-Z_]+ \}\}", "", str(value)), name


def test_only_the_step_that_logs_in_has_secrets():
    for file in FILES:
        for step in steps(file):
            assert "secrets." not in yaml.safe_dump(step) or step["run"] == "make registry-login"
        assert file.read_text().count("secrets.") in (0, 2)


def test_an_image_is_scanned_before_it_is_pushed_and_signed_after():
    workflow, = load((ROOT / ".github/workflows/release.yaml").read_text())
    runs = [step["run"] for step in workflow["jobs"]["publish"]["steps"] if "run" in step]
    order = ["image", "image-scan", "sbom", "registry-login", "release-push", "release-sign"]
    assert runs == [f"make {target}" for target in order]
