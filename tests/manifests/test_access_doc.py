"""The commands for clusters in docs/ACCESS.md and in the README of kubernetes-auth, without a cluster.

`kubectl create secret` runs with --dry-run=client, and `kubectl apply -k` renders. Of the other commands only the name
and the flags are compared with the help of kubectl: they are NOT run. tests/process/access_doc.rs executes the rest of
the page."""

import json
import re
import shlex
import shutil
import subprocess

import pytest
import yaml
from manifests import CLIENT, KUSTOMIZE, NAMES, ROOT, deployment, load, objects_of, pod_labels, pod_spec
from test_schema import VERSIONS, problems
from test_security import policies_for

PAGE = ROOT / "docs/ACCESS.md"
README = KUSTOMIZE / "components/kubernetes-auth/README.md"
COMMANDS = [
    pytest.param(command.strip(), id=f"{page.parent.name}-{number}")
    for page in (PAGE, README)
    for number, line in enumerate(re.findall(r"(?:(?<=\n) {4,}|`)(kubectl [^`\n]*)", page.read_text()))
    # `kubectl … | kubectl apply -f -`
    for command in line.split(" | ")
]


def kubectl(*arguments, cwd=ROOT):
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is missing: the commands of docs/ACCESS.md are NOT checked")
    # No cluster, whatever the environment of the test says.
    done = subprocess.run(["kubectl", "--kubeconfig=/dev/null", *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{arguments}: {done.stderr}"
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_command(command, tmp_path):
    words = shlex.split(command.split(" > ")[0])[1:]
    if "secret" in words and "create" in words:
        for name in ("auth.toml", "jwks.json", "ca.crt"):
            (tmp_path / name).write_text("x")
        dry = [word for word in words if word not in ("--dry-run=client", "-o", "yaml")]
        secret = yaml.safe_load(kubectl(*dry, "--dry-run=client", "-o", "yaml", cwd=tmp_path))
        assert "auth.toml" in secret["data"]
        if secret["metadata"].get("namespace") == "order-service-prod":
            volumes = pod_spec(deployment(objects_of("prod")))["volumes"]
            assert secret["metadata"]["name"] in [v["secret"]["secretName"] for v in volumes if "secret" in v]
    elif "-k" in words:
        assert load(kubectl("kustomize", words[words.index("-k") + 1])) == objects_of(CLIENT)
    else:
        flags = [word.split("=")[0] for word in words if word.startswith("-")]
        verb = [word for word in words if not word.startswith("-")]
        if flags[:1] == ["-n"]:
            flags, verb = flags[1:], verb[1:]
        name = verb[:2] if verb[0] == "rollout" else verb[:1]
        text = kubectl(*name, "--help")
        for flag in flags:
            assert re.search(rf"(^|\s){flag}[=,\s]", text), f"kubectl {' '.join(name)} has no {flag}"
        for word in words:
            if word.startswith("{"):
                json.loads(word)


def test_the_commands_are_found():
    texts = [param.values[0] for param in COMMANDS]
    assert len(texts) >= 12
    for start in ("kubectl get --raw", "kubectl create secret", "kubectl -n order-service-prod create secret", "kubectl apply -f -",
                  "kubectl patch osvc", "kubectl -n order-service-prod rollout restart"):
        assert [text for text in texts if text.startswith(start)], start


@pytest.mark.parametrize("version", VERSIONS)
def test_the_network_policy_of_an_issuer(version):
    [text] = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    [policy] = load(text)
    assert problems(json.dumps(policy, sort_keys=True), version) is None
    assert policies_for([policy], pod_labels(deployment(objects_of("prod")))) == [policy]
    names = [name for name in NAMES if name.startswith("prod")]
    assert policy["metadata"]["namespace"] == deployment(objects_of(names[0]))["metadata"]["namespace"]
