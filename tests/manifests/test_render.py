"""Every combination renders, reproducibly, to objects that server-side apply accepts."""

import re

import pytest
from manifests import ALL_NAMES, COMPONENTS, KUSTOMIZE, NAMES, build, directory_of, label, load, objects_of, text_of, write_overlay, inside

# Empty values with a meaning: a NetworkPolicy's `podSelector: {}` selects all pods; a CustomResourceDefinition
# has defaults that nested defaults complete, and a status subresource without options.
MEANT_EMPTY = re.compile(
    r"^NetworkPolicy/[^ ]+ spec(\.(ingress|egress)\[\d+\]\.(from|to)\[\d+\])?\.podSelector$"
    r"|^CustomResourceDefinition/[^ ]+ spec\.versions\[\d+\]\.(schema\..*\.default|subresources\.status)$")


@pytest.mark.parametrize("name", ALL_NAMES)
def test_rendering_is_reproducible(name):
    assert text_of(name) == build(directory_of(name))


def test_all_components_are_combined():
    others = {"archive", "monitoring", "gateway", "external-secrets", "kubernetes-auth"}
    assert {"postgres", "cloudnative-pg"} | others == set(COMPONENTS)
    # Base: 2⁵ subsets of the others, without a database or with one of two. Dev: four can be added.
    # Prod: 2⁴, without a database or with one of two.
    assert len(NAMES) == 3 * 32 + 16 + 3 * 16


@pytest.mark.parametrize("on", ["overlays/dev", "overlays/prod"])
def test_an_overlay_can_be_the_base_of_another(on):
    wrapped = write_overlay(
        "wrapped-" + on.replace("/", "-"), {"resources": [inside(*on.split("/"))], "namespace": "elsewhere"}
    )
    for item in load(build(wrapped)):
        if item["kind"] != "Namespace":
            assert item["metadata"]["namespace"] == "elsewhere", label(item)


def walk(value, path):
    yield path, value
    if isinstance(value, dict):
        for key, below in value.items():
            yield from walk(below, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, below in enumerate(value):
            yield from walk(below, f"{path}[{index}]")


@pytest.mark.parametrize("name", ALL_NAMES)
def test_server_side_apply_is_clean(name):
    objects = objects_of(name)  # loading rejects duplicate keys
    seen = set()
    for item in objects:
        key = (item["apiVersion"], item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"])
        assert key not in seen, f"{key} exists twice"
        seen.add(key)
        assert "status" not in item, label(item)
        for forbidden in ("creationTimestamp", "managedFields", "resourceVersion", "uid", "generation"):
            assert forbidden not in item["metadata"], label(item)
        for path, value in walk(item, ""):
            where = f"{label(item)} {path}"
            if value in ({}, []) or value is None:
                assert MEANT_EMPTY.match(where), f"{where} is empty"


# List → the merge keys of its items, for lists that server-side apply merges.
MERGED = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "ports": ("containerPort", "port", "protocol"),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}


@pytest.mark.parametrize("name", ALL_NAMES)
def test_merged_lists_have_unique_keys(name):
    for item in objects_of(name):
        for path, value in walk(item, ""):
            fields = MERGED.get(path.rsplit(".", 1)[-1])
            if not fields or not isinstance(value, list):
                continue
            keys = [tuple(entry.get(field) for field in fields) for entry in value]
            assert len(keys) == len(set(keys)), f"{label(item)} {path}: {keys}"
            if path.endswith("ports"):
                assert all(entry.get("protocol") for entry in value), f"{label(item)} {path}: protocol is a merge key"


def test_sources_have_no_duplicate_keys():
    files = [*KUSTOMIZE.rglob("*.yaml")]
    assert len(files) > 20
    for file in files:
        load(file.read_text())


def test_every_file_is_used():
    """Every file below kustomize/ is in its directory's kustomization, or is a README or a source."""
    for file in KUSTOMIZE.rglob("*"):
        if file.is_dir() or file.name in ("kustomization.yaml", "README.md", "rules.yaml"):
            continue
        # For users to copy into a secret; test_kubernetes_auth.py compares it with the objects.
        if file == KUSTOMIZE / "components" / "kubernetes-auth" / "auth.toml":
            continue
        # Samples are for users to copy; test_operator.py validates them against the CRD.
        if file.parent == KUSTOMIZE / "operator" / "samples":
            continue
        # For the namespace of Argo CD; test_argocd.py executes it.
        if file == KUSTOMIZE / "operator" / "argocd" / "argocd-cm.yaml":
            continue
        assert file.name in (file.parent / "kustomization.yaml").read_text(), file
