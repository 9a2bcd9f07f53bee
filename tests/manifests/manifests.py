"""Renders the manifests: every overlay with every valid combination of components."""

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
# Objects for which Kubernetes has no schema, collected by test_schema.py.
WITHOUT_SCHEMA = set()


class Strict(yaml.SafeLoader):
    """Rejects duplicate keys, which YAML forbids and PyYAML accepts."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=deep)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"duplicate key {key!r}", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load(text):
    return [document for document in yaml.load_all(text, Loader=Strict) if document is not None]


def build(directory):
    """The text of a rendered directory. Not cached: see test_render.py."""
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is missing: manifests NOT rendered")
    done = subprocess.run(["kubectl", "kustomize", str(directory)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{directory}: {done.stderr}"
    assert not done.stderr.strip(), f"{directory} renders with a warning: {done.stderr}"
    return done.stdout


def write_overlay(name, kustomization):
    """Writes a kustomization, as a user would, to its own directory below target/manifests."""
    directory = WORK / name
    directory.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(
        {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", **kustomization}
    )
    (directory / "kustomization.yaml").write_text(text)
    return directory


def inside(*parts):
    """A path below kustomize/, relative to target/manifests/NAME."""
    return "/".join(("../../../kustomize",) + parts)


# The example client of kubernetes-auth, which is installed by itself.
CLIENT = "kubernetes-auth-client"
COMPONENTS = sorted(path.name for path in (KUSTOMIZE / "components").iterdir())
# Adapt an installation to a platform. They are combined with few other components, because all combinations would
# be thousands; each is listed after the components whose objects it patches.
PLATFORM = ["in-cluster-database", "ip-targets", "openshift"]
# Variants of a component, which need it.
VARIANTS = ["kubernetes-auth/any-api-server", "kubernetes-auth/cilium"]
# Components that an overlay already has, and conflicting ones: several databases, two owners of one secret.
HAS = {"dev": {"postgres"}, "prod": {"monitoring"}, "base": set()}
CONTRADICT = [set(pair) for pair in itertools.combinations(("postgres", "cloudnative-pg", "in-cluster-database"), 2)]
CONTRADICT_IN = {"dev": {"external-secrets", "cloudnative-pg"}, "prod": set(), "base": set()}


def additions(on):
    """Every valid set of components for an overlay."""
    free = [c for c in COMPONENTS if c not in HAS[on] | CONTRADICT_IN[on] | set(PLATFORM)]
    features = [added for size in range(len(free) + 1) for added in itertools.combinations(free, size)]
    yield from features
    everything = tuple(c for c in free if c not in ("postgres", "cloudnative-pg"))
    for added in ((), everything, (*everything, "cloudnative-pg")):
        platform = [c for c in PLATFORM if not any({c, other} in CONTRADICT for other in HAS[on] | set(added))]
        yield (*added, *platform)
    for component in PLATFORM:
        yield (component,)
    for variant in VARIANTS:
        needed = variant.split("/")[0]
        yield (needed, variant)
        yield (*everything, variant, "openshift")


def combinations():
    """name → (overlay, added components)."""
    found = {}
    for on, has in HAS.items():
        for added in additions(on):
            if not any(pair <= has | set(added) for pair in CONTRADICT) and not set(added) & CONTRADICT_IN[on]:
                found["+".join((on, *added))] = (on, added)
    return found


OPERATOR_COMPONENTS = sorted(path.name for path in (KUSTOMIZE / "operator" / "components").iterdir())


def operator_combinations():
    """name → added components of the operator's installation."""
    sizes = range(len(OPERATOR_COMPONENTS) + 1)
    every = itertools.chain(*(itertools.combinations(OPERATOR_COMPONENTS, size) for size in sizes))
    return {"+".join(("operator", *added)): added for added in every if not {"cilium", "any-api-server"} <= set(added)}


COMBINATIONS = combinations()
OPERATOR_COMBINATIONS = operator_combinations()
# The names of the service's renderings, of the operator's, and of both.
NAMES = sorted(COMBINATIONS)
OPERATOR_NAMES = sorted(OPERATOR_COMBINATIONS)
ALL_NAMES = NAMES + OPERATOR_NAMES + [CLIENT]


def file_name(name):
    return name.replace("+", "_").replace("/", "-")


def directory_of(name):
    if name == CLIENT:
        return KUSTOMIZE / "components" / "kubernetes-auth" / "client"
    if name in OPERATOR_COMBINATIONS:
        added = OPERATOR_COMBINATIONS[name]
        components = [inside("operator", "components", c) for c in added]
        overlay = {"resources": [inside("operator")], "components": components}
        return write_overlay(file_name(name), overlay) if added else KUSTOMIZE / "operator"
    on, added = COMBINATIONS[name]
    path = ("base",) if on == "base" else ("overlays", on)
    if not added:
        return KUSTOMIZE.joinpath(*path)
    overlay = {"resources": [inside(*path)], "components": [inside("components", c) for c in added]}
    if on != "base":
        # Otherwise the objects of a component would go to the current namespace of kubectl.
        overlay["namespace"] = f"order-service-{on}"
    return write_overlay(file_name(name), overlay)


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


def maintenance(objects):
    return only(objects, "CronJob", "order-service-maintain")


def workloads(objects):
    return of_kind(objects, "Deployment", "StatefulSet", "Job", "CronJob")


def job_spec(workload):
    """The spec of a Job, or of the Jobs that a CronJob creates."""
    return workload["spec"]["jobTemplate"]["spec"] if workload["kind"] == "CronJob" else workload["spec"]


def pod_template(workload):
    return job_spec(workload)["template"]


def pod_spec(workload):
    return pod_template(workload)["spec"]


def pod_labels(workload):
    return pod_template(workload)["metadata"]["labels"]


def containers(workload):
    spec = pod_spec(workload)
    return spec["containers"] + spec.get("initContainers", [])


def environment(workload, objects):
    """The effective settings with plain values: `env` takes precedence over `envFrom`."""
    container = containers(workload)[0]
    values = {}
    for source in container.get("envFrom", []):
        values |= only(objects, "ConfigMap", source["configMapRef"]["name"])["data"]
    values |= {e["name"]: e["value"] for e in container.get("env", []) if "value" in e}
    return values


def rust_source(directory, name="*.rs"):
    """The text of all Rust files of that name below a directory, without unit tests at their ends."""
    files = sorted((ROOT / directory).rglob(name))
    assert files, f"no {name} below {directory}"
    return "\n".join(file.read_text().split("#[cfg(test)]\nmod tests {")[0] for file in files)


def settings():
    """Every setting of the service with its default, from the source code."""
    found = {}
    # A field may be called differently: `env = "EVENT_RETENTION"`.
    pattern = (r'#\[arg\(long(?: = "[a-z-]+")?, env\b(?: = "(?P<env>[A-Z_]+)")?(?P<options>[^\]]*)\)\]'
               r"\s*(?:pub(?:\([a-z]+\))? )?(?P<name>[a-z_]+):")
    for match in re.finditer(pattern, rust_source("src/config")):
        default = re.search(r'default_value = "([^"]*)"', match["options"])
        found[match["env"] or match["name"].upper()] = default[1] if default else None
    assert len(found) >= 19 and "EVENT_RETENTION" in found, f"the pattern does not find all settings: {sorted(found)}"
    return found


def seconds(duration):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", duration).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def label(item):
    return f"{item['kind']}/{item['metadata']['name']}"
