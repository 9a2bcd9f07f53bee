"""scripts/release.sh with programs that record their arguments instead of podman, Trivy, Helm and cosign."""

import os
import re
import shutil
import subprocess

import pytest
from manifests import ROOT

NAMES = ["order-service", "order-operator"]
DIGEST = {name: f"sha256:{index:064x}" for index, name in enumerate([*NAMES, *(f"charts/{n}" for n in NAMES)], 1)}
RECORD = '#!/bin/sh\necho "$(basename "$0") $*" >> "$RECORDS"\n'
PROGRAMS = {
    "podman": 'case "$1" in push) case "$4" in *order-service:*) d=1;; *) d=2;; esac; printf "sha256:%064x" $d > "$3";; esac\n',
    "helm": 'case "$1" in push) case "$2" in *order-service-*) d=3;; *) d=4;; esac; echo "Pushed: x"; printf "Digest: sha256:%064x\\n" $d >&2;; esac\n',
    "trivy": 'exit "${TRIVY:-0}"\n',
    "cosign": "",
}


@pytest.fixture
def release(tmp_path):
    """Runs steps in a copy of what the script needs. Returns the code, the output and the recorded commands."""
    for name in ("scripts", "charts", "Cargo.toml", "CHANGELOG.md"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    programs, records = tmp_path / "bin", tmp_path / "records"
    programs.mkdir()
    for name, text in PROGRAMS.items():
        (programs / name).write_text(RECORD + text)
        (programs / name).chmod(0o755)

    def run(step, **variables):
        records.write_text("")
        environment = {"PATH": f"{programs}:{os.environ['PATH']}", "RECORDS": str(records), "HOME": str(tmp_path),
                       "IMAGE_REGISTRY": "registry.my-company.com/shop", **variables}
        done = subprocess.run([tmp_path / "scripts/release.sh", step, *NAMES], cwd=tmp_path, env=environment,
                              capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr, records.read_text().splitlines()

    run.directory = tmp_path
    return run


def test_digests_are_signed_and_never_tags(release):
    code, output, commands = release("push")
    assert code == 0, output
    assert [c.split()[:2] for c in commands] == [["podman", "push"], ["helm", "package"], ["helm", "push"]] * 2
    assert all(c.endswith("oci://registry.my-company.com/shop/charts") for c in commands if c.startswith("helm push"))
    code, output, commands = release("sign")
    assert code == 0, output
    expected = []
    for name in NAMES:
        image = f"registry.my-company.com/shop/{name}@{DIGEST[name]}"
        chart = f"registry.my-company.com/shop/charts/{name}@{DIGEST[f'charts/{name}']}"
        expected += [f"cosign sign --yes {image}",
                     f"cosign attest --yes --type cyclonedx --predicate target/sbom/{name}.cdx.json {image}",
                     f"cosign sign --yes {chart}"]
    assert commands == expected
    _, _, commands = release("sign", COSIGN_KEY="awskms:///alias/release")
    assert len(commands) == 6 and all("--key awskms:///alias/release" in c for c in commands)


def test_what_was_not_pushed_is_not_signed(release):
    code, output, commands = release("sign")
    assert code == 1 and "push first" in output and commands == []
    assert release("push")[0] == 0
    (release.directory / "target/release/charts-order-service.digest").write_text("latest")
    code, output, commands = release("sign")
    assert code == 1 and "charts-order-service has no digest" in output and commands == []


def test_a_vulnerable_image_fails_the_scan(release):
    code, output, commands = release("scan")
    assert code == 0, output
    scans = [c for c in commands if c.startswith("trivy")]
    assert len(scans) == 2 and all("--exit-code 1" in c and "HIGH,CRITICAL" in c for c in scans)
    code, _, commands = release("scan", TRIVY="1")
    assert code == 1 and len([c for c in commands if c.startswith("trivy")]) == 1


def test_a_release_has_one_version(release):
    def git(*args):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *args], cwd=release.directory, check=True, capture_output=True)

    version = re.search(r'^version = "(.*)"', (release.directory / "Cargo.toml").read_text(), re.M)[1]
    (release.directory / ".gitignore").write_text("target\nrecords\nbin\n")
    changelog = release.directory / "CHANGELOG.md"
    git("init")
    git("add", ".")
    git("commit", "-m", "a")
    assert f"no tag v{version}" in release("check")[1]
    git("tag", f"v{version}")
    assert f"CHANGELOG.md has no section {version}" in release("check")[1]
    changelog.write_text(changelog.read_text().replace("## Unreleased", f"## {version} - 2026-01-01"))
    assert "not clean" in release("check")[1]
    git("commit", "-am", "b")
    git("tag", "-f", f"v{version}")
    code, output, _ = release("check")
    assert code == 0, output
    chart = release.directory / "charts/order-operator/Chart.yaml"
    chart.write_text(chart.read_text().replace(f"version: {version}", "version: 9.9.9"))
    code, output, _ = release("check")
    assert code == 1 and "chart order-operator" in output
