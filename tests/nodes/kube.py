"""kubectl, and what the tests read from the cluster with it."""

import contextlib
import json
import os
import secrets
import subprocess
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = os.environ.get("IMAGE_REGISTRY", "registry.example.com")
# scripts/e2e-nodes.sh builds the same images under these tags.
TAG, NEXT_TAG = "e2e", "e2e-next"
# Namespaces that an earlier run left behind have this label and are deleted; others are never touched.
OURS = "orders.example.com/e2e-nodes"
RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}


def image(tag, name="order-service"):
    return f"{REGISTRY}/{name}:{tag}"


class Failed(AssertionError):
    """kubectl ended with an error."""


def kubectl(*arguments, stdin=None, seconds=60):
    """The standard output."""
    done = subprocess.run(["kubectl", *arguments], input=stdin, capture_output=True, text=True, timeout=seconds)
    if done.returncode:
        raise Failed(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def get(kind, name, namespace=None):
    """The object, or None if there is none."""
    found = kubectl("get", kind, name, *_in(namespace), "--ignore-not-found", "-o", "json")
    return json.loads(found) if found else None


def listed(kind, namespace, selector=""):
    return json.loads(kubectl("get", kind, *_in(namespace), "-l", selector, "-o", "json"))["items"]


def apply(*items, namespace=None):
    kubectl("apply", "--server-side", *_in(namespace), "-f", "-", stdin=yaml.safe_dump_all(items))


def _in(namespace):
    return ("-n", namespace) if namespace else ()


def until(what, predicate, seconds, every=0.25):
    """The first truthy value of the predicate; fails with `what` and the last value at the deadline."""
    deadline = time.monotonic() + seconds
    while True:
        value = predicate()
        if value:
            return value
        assert time.monotonic() < deadline, f"not within {seconds} s: {what() if callable(what) else what}"
        time.sleep(every)


def delete_namespace(name, seconds=120):
    kubectl("delete", "namespace", name, "--ignore-not-found", f"--timeout={seconds}s", seconds=seconds + 30)


def claim(name):
    """Deletes the namespace of an earlier run; fails if it belongs to somebody else."""
    found = get("namespace", name)
    if found:
        assert OURS in found["metadata"].get("labels", {}), f"the namespace {name} exists and is not of this suite"
        delete_namespace(name)


@contextlib.contextmanager
def namespace(prefix, **labels):
    """A namespace that enforces the restricted Pod Security Standard."""
    name = f"{prefix}-{secrets.token_hex(3)}"
    apply({"apiVersion": "v1", "kind": "Namespace",
           "metadata": {"name": name, "labels": {OURS: "true", **RESTRICTED, **labels}}})
    try:
        yield name
    finally:
        delete_namespace(name)


@contextlib.contextmanager
def overlay(base, **fields):
    """The directory of a kustomization on top of a directory of this repository."""
    with tempfile.TemporaryDirectory(prefix="e2e-nodes-") as directory:
        resources = [os.path.relpath(ROOT / base, os.path.realpath(directory))]
        text = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": resources}
        Path(directory, "kustomization.yaml").write_text(yaml.safe_dump(text | fields))
        yield directory


def rendered(directory):
    return [item for item in yaml.safe_load_all(kubectl("kustomize", str(directory))) if item]


def pods(namespace, selector, ready=None):
    """Pods that are not being deleted; with `ready`, only those that are (not) ready."""
    found = [p for p in listed("pods", namespace, selector) if "deletionTimestamp" not in p["metadata"]]
    return [p for p in found if ready is None or is_true(p, "Ready") == ready]


def is_true(item, condition):
    return any(c["type"] == condition and c["status"] == "True" for c in item.get("status", {}).get("conditions", []))


def rolled_out(name, namespace, seconds=180):
    kubectl("-n", namespace, "rollout", "status", f"deployment/{name}", f"--timeout={seconds}s", seconds=seconds + 30)


def created(item):
    return item["metadata"]["creationTimestamp"]
