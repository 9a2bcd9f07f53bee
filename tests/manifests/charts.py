"""Renders the Helm charts, with every major version of Helm, and compares them with kustomize."""

import functools
import shutil
import subprocess

import pytest
import yaml
from manifests import ROOT, TOOLS, WORK, load, write_overlay

CHARTS = ROOT / "charts"
# scripts/helm.py unpacks these two. Without them, the `helm` in PATH is used.
HELMS = sorted((TOOLS / "helm").glob("helm[0-9]")) or [path for path in [shutil.which("helm")] if path]
NAMES = [str(helm).rsplit("/", 1)[-1] for helm in HELMS] or ["no helm"]
# Without a program, one test that is skipped, so that the summary counts and names it.
every_helm = pytest.mark.parametrize("helm", HELMS or [None], ids=NAMES)


def run(helm, *args):
    if helm is None:
        pytest.skip("helm is missing: charts NOT rendered")
    return subprocess.run([helm, *map(str, args)], capture_output=True, text=True, check=False)


@functools.cache
def values_file(text):
    """A file with values, as a user writes it."""
    directory = WORK / "values"
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{abs(hash(text))}.yaml"
    file.write_text(text)
    return file


def template(helm, chart, values, namespace, *options):
    file = values_file(yaml.safe_dump(values))
    return run(helm, "template", "release", CHARTS / chart, "--namespace", namespace, "--values", file, *options)


def rendered(helm, chart, values, namespace):
    return load(_rendered(helm, chart, yaml.safe_dump(values), namespace))


@functools.cache
def _rendered(helm, chart, values, namespace):
    done = template(helm, chart, yaml.safe_load(values), namespace)
    assert done.returncode == 0, done.stderr
    return done.stdout


def keyed(objects):
    found = {}
    for item in objects:
        key = (item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"])
        assert key not in found, key
        found[key] = item
    return found


def without_hash(value, names, key=""):
    """The value with these names instead of those with a hash: kustomize and the chart hash differently. The order of
    variables has no meaning here, because none refers to another one."""
    if isinstance(value, dict):
        return {key: without_hash(below, names, key) for key, below in value.items()}
    if isinstance(value, list):
        items = [without_hash(below, names) for below in value]
        return sorted(items, key=lambda item: item["name"]) if key == "env" else items
    return names.get(value, value) if isinstance(value, str) else value


def comparable(objects):
    """Objects without the differences that are intended."""
    config = [item["metadata"]["name"] for item in objects
              if item["kind"] == "ConfigMap" and item["metadata"]["name"].startswith("order-service-config-")]
    objects = [without_hash(item, {name: "order-service-config" for name in config}) for item in objects]
    for item in objects:
        if item["kind"] == "Job":
            # kustomize names it after the tag, and the chart after the content.
            item["metadata"]["name"] = "order-service-migrate"
        labels = item["metadata"].get("labels", {})
        assert labels.pop("app.kubernetes.io/managed-by", None) in ("Helm", "kustomize", None)
        annotations = item["metadata"].get("annotations", {})
        assert annotations.pop("helm.sh/resource-policy", "keep") == "keep"
        # Only the input of a transformer of kustomize.
        annotations.pop("orders.example.com/runbooks", None)
        if not annotations:
            item["metadata"].pop("annotations", None)
    return keyed([item for item in objects if item["kind"] != "Namespace"])


def overlay(name, kustomization):
    return write_overlay(f"chart-{name}", kustomization)
