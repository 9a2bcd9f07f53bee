"""Renders the manifests: every overlay and every combination of components that makes sense."""

import functools
import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
KUSTOMIZE = ROOT / "kustomize"
WORK = ROOT / "target" / "manifests"
TOOLS = Path(os.environ.get("TOOLS", ROOT / "target" / "tools"))
PROMTOOL = TOOLS / "prometheus" / "usr" / "bin" / "promtool"
IMAGE = "registry.example.com/order-service"
# Objects that were seen and for which Kubernetes has no schema; filled by test_schema.py.
WITHOUT_SCHEMA = set()


class Strict(yaml.SafeLoader):
    """Refuses a key that is given twice, which YAML forbids and PyYAML accepts."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load(text):
    return [document for document in yaml.load_all(text, Loader=Strict) if document is not None]


def build(directory):
    """The text of a rendered directory. Not cached: see test_render.py."""
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl: manifests NOT rendered")
    done = subprocess.run(["kubectl", "kustomize", str(directory)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{directory}: {done.stderr}"
    assert not done.stderr.strip(), f"{directory} renders with a warning: {done.stderr}"
    return done.stdout


def write_overlay(name, kustomization):
    """A kustomization of its own below target/manifests, for what a user would write."""
    directory = WORK / name
    directory.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(
        {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", **kustomization}
    )
    (directory / "kustomization.yaml").write_text(text)
    return directory


def inside(*parts):
    """A path below kustomize/ as a kustomization below target/manifests/NAME names it."""
    return "/".join(("../../../kustomize",) + parts)


COMPONENTS = sorted(path.name for path in (KUSTOMIZE / "components").iterdir())
# What an overlay has already, and what contradicts: two databases, two owners of one secret.
HAS = {"dev": {"postgres"}, "prod": {"monitoring"}, "base": set()}
CONTRADICT = [{"postgres", "cloudnative-pg"}]
CONTRADICT_IN = {"dev": {"external-secrets", "cloudnative-pg"}, "prod": set(), "base": set()}


def combinations():
    """name → (what it is built on, added components)."""
    found = {}
    for on, has in HAS.items():
        free = [c for c in COMPONENTS if c not in has | CONTRADICT_IN[on]]
        for size in range(len(free) + 1):
            for added in itertools.combinations(free, size):
                if any(pair <= has | set(added) for pair in CONTRADICT):
                    continue
                found["+".join((on, *added))] = (on, added)
    return found


OPERATOR_COMPONENTS = sorted(path.name for path in (KUSTOMIZE / "operator" / "components").iterdir())


def operator_combinations():
    """name → added components, of the operator's installation."""
    sizes = range(len(OPERATOR_COMPONENTS) + 1)
    every = itertools.chain(*(itertools.combinations(OPERATOR_COMPONENTS, size) for size in sizes))
    return {"+".join(("operator", *added)): added for added in every}


COMBINATIONS = combinations()
OPERATOR_COMBINATIONS = operator_combinations()
# The service's renderings, the operator's, and both, for what holds of any object.
NAMES = sorted(COMBINATIONS)
OPERATOR_NAMES = sorted(OPERATOR_COMBINATIONS)
ALL_NAMES = NAMES + OPERATOR_NAMES


def directory_of(name):
    if name in OPERATOR_COMBINATIONS:
        added = OPERATOR_COMBINATIONS[name]
        components = [inside("operator", "components", c) for c in added]
        overlay = {"resources": [inside("operator")], "components": components}
        return write_overlay(name.replace("+", "_"), overlay) if added else KUSTOMIZE / "operator"
    on, added = COMBINATIONS[name]
    path = ("base",) if on == "base" else ("overlays", on)
    if not added:
        return KUSTOMIZE.joinpath(*path)
    overlay = {"resources": [inside(*path)], "components": [inside("components", c) for c in added]}
    if on != "base":
        # Without it what a component adds would go to the namespace of whoever applies it.
        overlay["namespace"] = f"order-service-{on}"
    return write_overlay(name.replace("+", "_"), overlay)


@functools.cache
def text_of(name):
    return build(directory_of(name))


@functools.cache
def _objects_of(name):
    return load(text_of(name))


def objects_of(name):
    return _objects_of(name)


def of_kind(objects, *kinds):
    return [item for item in objects if item["kind"] in kinds]


def only(objects, kind, name=None):
    found = [o for o in of_kind(objects, kind) if name is None or o["metadata"]["name"] == name]
    assert len(found) == 1, f"{kind} {name or ''}: found {len(found)}"
    return found[0]


def deployment(objects):
    return only(objects, "Deployment", "order-service")


def migrate_job(objects):
    return only(objects, "Job")


def workloads(objects):
    return of_kind(objects, "Deployment", "StatefulSet", "Job")


def pod_spec(workload):
    return workload["spec"]["template"]["spec"]


def pod_labels(workload):
    return workload["spec"]["template"]["metadata"]["labels"]


def containers(workload):
    spec = pod_spec(workload)
    return spec["containers"] + spec.get("initContainers", [])


def environment(workload, objects):
    """Plain settings in force: `env` goes before `envFrom`."""
    container = containers(workload)[0]
    values = {}
    for source in container.get("envFrom", []):
        values |= only(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    values |= {e["name"]: e["value"] for e in container.get("env", []) if "value" in e}
    return values


def settings():
    """Every setting of the service with its default, out of the source: the one place that has them."""
    found = {}
    for file in ("mod.rs", "database.rs"):
        source = (ROOT / "src" / "config" / file).read_text()
        pattern = r"#\[arg\(long, env\b(?P<options>[^\]]*)\)\]\s*(?:pub(?:\([a-z]+\))? )?(?P<name>[a-z_]+):"
        for match in re.finditer(pattern, source):
            default = re.search(r'default_value = "([^"]*)"', match["options"])
            found[match["name"].upper()] = default[1] if default else None
    assert len(found) >= 19, f"settings are written in another way than this reads them: {sorted(found)}"
    return found


def seconds(duration):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", duration).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def label(item):
    return f"{item['kind']}/{item['metadata']['name']}"
