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
        assert "permissions" not in job and job["timeout-minutes"] <= 60, name
        assert re.fullmatch(r"ubuntu-\d\d\.04", job["runs-on"]), "not `latest`, which changes over time"
        for step in job["steps"]:
            if step.get("uses", "").startswith("actions/checkout"):
                assert step["with"]["persist-credentials"] is False, name


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_commands_contain_no_data_of_events(file):
    """With `${{ … }}` in `run:` or `env:`, the title of a pull request could become a command."""
    for step in steps(file):
        assert "${{" not in yaml.safe_dump({key: step.get(key) for key in ("run", "env")})
