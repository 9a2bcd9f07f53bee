"""The rendered manifests, so that the tests use what `kubectl apply -k` installs."""

import functools
import shutil
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[3]
TOOLS = ROOT / "target" / "tools"


@functools.cache
def _text(directory):
    kustomize = ["kubectl", "kustomize"] if shutil.which("kubectl") else [str(TOOLS / "bin/kustomize"), "build"]
    done = subprocess.run([*kustomize, str(directory)], capture_output=True, text=True, check=True)
    return done.stdout


def operator():
    """All objects of kustomize/operator."""
    return [item for item in yaml.safe_load_all(_text(ROOT / "kustomize/operator")) if item]


def only(kind, name):
    [found] = [i for i in operator() if i["kind"] == kind and i["metadata"]["name"] == name]
    return found
