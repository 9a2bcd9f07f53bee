"""Flux and Argo CD: what they must not prune, what must not look like a difference, and OrderServices in kustomize."""

import json
import os
import re
import subprocess

import jsonschema
import pytest
import yaml
from manifests import (
    KUSTOMIZE, NAMES, ROOT, WORK, build, deployment, inside, label, load, maintenance, objects_of, of_kind, only, write_overlay,
)
from test_operator import schema, strict

KEPT = {
    "argocd.argoproj.io/compare-options": "IgnoreExtraneous",
    "argocd.argoproj.io/sync-options": "Prune=false",
    "kustomize.toolkit.fluxcd.io/prune": "disabled",
}
FIELDS = yaml.safe_load((KUSTOMIZE / "orderservice/fields/fields.yaml").read_text())
EXAMPLE = KUSTOMIZE / "orderservice/example"


@pytest.mark.parametrize("name", NAMES)
def test_settings_of_the_previous_revision_are_not_pruned(name):
    """Its pods read them until they are replaced, and again after `kubectl rollout undo`."""
    objects = objects_of(name)
    for workload in (deployment(objects), maintenance(objects)):
        text = json.dumps(workload)
        settings = [c for c in of_kind(objects, "ConfigMap") if f'"{c["metadata"]["name"]}"' in text]
        assert len(settings) == 1, label(workload)
        assert settings[0]["metadata"]["annotations"].items() >= KEPT.items()
        # By which a person finds the old ones.
        assert settings[0]["metadata"]["labels"]["app.kubernetes.io/instance"] == "order-service"


def test_a_merged_setting_keeps_the_annotations():
    merge = {"name": "order-service-config", "behavior": "merge", "literals": ["QUEUE_CAPACITY=7"]}
    overlay = {"resources": [inside("overlays", "prod")], "namespace": "order-service-prod", "configMapGenerator": [merge]}
    [config] = [c for c in of_kind(load(build(write_overlay("merged-setting", overlay))), "ConfigMap") if "QUEUE_CAPACITY" in c["data"]]
    assert config["metadata"]["annotations"].items() >= KEPT.items()


@pytest.mark.parametrize("name", NAMES)
def test_flux_does_not_substitute_variables_in_the_dashboard(name):
    for item in objects_of(name):
        if "${" in json.dumps(item):
            assert item["metadata"]["annotations"]["kustomize.toolkit.fluxcd.io/substitute"] == "disabled", label(item)


@pytest.mark.parametrize("name", NAMES)
def test_other_generated_objects_have_fixed_names(name):
    """So that they are updated in place, and nothing old remains."""
    for item in of_kind(objects_of(name), "ConfigMap", "Secret"):
        if not item["metadata"]["name"].startswith("order-service-config-"):
            assert item["metadata"]["name"] in ("order-service-dashboard", "order-service-secrets", "order-service-postgres")


def test_the_documented_commands_list_unused_settings(tmp_path):
    """With a `kubectl` that prints objects of files: a Deployment's previous revision, and a third ConfigMap."""
    objects = objects_of("prod")
    [current] = [c["metadata"]["name"] for c in of_kind(objects, "ConfigMap") if "POOL_MAX_SIZE" in c["data"]]
    old = json.loads(json.dumps(deployment(objects)).replace(current, "order-service-config-aaaaaaaaaa"))
    (tmp_path / "used.yaml").write_text(yaml.safe_dump_all([old, deployment(objects), maintenance(objects)]))
    names_of_configs = [current, "order-service-config-aaaaaaaaaa", "order-service-config-bbbbbbbbbb"]
    (tmp_path / "configs.txt").write_text("".join(f"configmap/{name}\n" for name in names_of_configs))
    kubectl = tmp_path / "kubectl"
    kubectl.write_text('#!/bin/sh\ncase "$2" in configmaps) cat configs.txt ;; *) cat used.yaml ;; esac\n')
    kubectl.chmod(0o755)
    [script] = re.findall(r"```sh\n(kubectl get replicasets.*?)```", (ROOT / "docs/OPERATIONS.md").read_text(), re.DOTALL)
    done = subprocess.run(["bash", "-eu", "-c", script], cwd=tmp_path, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
                          capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["order-service-config-bbbbbbbbbb"]


def order_service(objects):
    return only(objects, "OrderService")


def names(objects):
    """base name → name with the hash, of all secrets."""
    return {secret["metadata"]["name"].rsplit("-", 1)[0]: secret["metadata"]["name"] for secret in of_kind(objects, "Secret")}


def test_the_example_sets_image_replicas_and_secrets():
    objects = load(build(EXAMPLE))
    spec, secrets = order_service(objects)["spec"], names(objects)
    assert set(secrets) == {"orders-database", "orders-database-owner", "orders-auth"}
    assert spec["image"] == "registry.my-company.com/order-service:1.2.3"
    assert spec["replicas"] == 3
    assert spec["database"]["secretRef"]["name"] == secrets["orders-database"]
    assert spec["migrations"]["secretRef"]["name"] == secrets["orders-database-owner"]
    assert spec["auth"]["secretRef"]["name"] == secrets["orders-auth"]
    for secret in of_kind(objects, "Secret"):
        assert secret["metadata"]["annotations"].items() >= KEPT.items()
    rules = strict(schema())
    rules["properties"] |= {"apiVersion": True, "kind": True, "metadata": True}
    jsonschema.validate(order_service(objects), rules)


def test_without_the_fields_kustomize_sets_nothing():
    """The example depends on the component."""
    directory = WORK / "without-fields"
    directory.mkdir(parents=True, exist_ok=True)
    for file in EXAMPLE.iterdir():
        (directory / file.name).write_text(file.read_text().replace("components:\n  - ../fields\n", ""))
    text = (directory / "kustomization.yaml").read_text()
    (directory / "kustomization.yaml").write_text(text.replace("replicas:\n  - name: orders\n    count: 3\n", ""))
    spec = order_service(load(build(directory)))["spec"]
    assert (spec["image"], spec["replicas"]) == ("registry.example.com/order-service", 2)
    assert spec["database"]["secretRef"]["name"] == "orders-database"


def test_an_overlay_of_the_example_sets_them_again():
    digest = "sha256:" + "0123456789abcdef" * 4
    overlay = {
        "resources": [inside("orderservice", "example")], "namespace": "orders-staging",
        "images": [{"name": "registry.my-company.com/order-service", "newTag": "2.0.0", "digest": digest}],
        "replicas": [{"name": "orders", "count": 1}],
        "secretGenerator": [{"name": "orders-database", "behavior": "merge", "literals": ["database-url=postgres://other"]}],
        "nameSuffix": "-staging",
    }
    objects, before = load(build(write_overlay("example-overlay", overlay))), load(build(EXAMPLE))
    spec = order_service(objects)["spec"]
    assert order_service(objects)["metadata"]["name"] == "orders-staging"
    assert spec["image"] == f"registry.my-company.com/order-service:2.0.0@{digest}"
    assert spec["replicas"] == 1
    [secret] = [s["metadata"]["name"] for s in of_kind(objects, "Secret") if s["data"].get("database-url") == "cG9zdGdyZXM6Ly9vdGhlcg=="]
    assert secret.startswith("orders-database-staging-")
    assert spec["database"]["secretRef"]["name"] == secret != order_service(before)["spec"]["database"]["secretRef"]["name"]


def references():
    """(kind, path) of every field in which kustomize replaces a name."""
    return [(entry["kind"], field["path"]) for entry in FIELDS["nameReference"] for field in entry["fieldSpecs"]]


LISTS = {"imagePullSecrets", "containers", "initContainers", "env", "envFrom", "volumes", "sources"}


def set_at(spec, path, value):
    *above, last = path.split("/")[1:]
    for key in above:
        below = spec.setdefault(key, [{}] if key in LISTS else {})
        spec = below[0] if key in LISTS else below
    spec[last] = value


@pytest.mark.parametrize(("kind", "path"), references())
def test_each_reference_gets_the_name_of_its_object(kind, path):
    directory = write_overlay("reference-" + path.replace("/", "-"), {
        "namePrefix": "eu-", "resources": ["objects.yaml"], "components": [inside("orderservice", "fields")]})
    spec = {"image": "example.com/order-service:1", "replicas": 1}
    set_at(spec, path, "referred")
    object_ = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "referred"}}
    service = {"apiVersion": "orders.example.com/v1alpha1", "kind": "OrderService", "metadata": {"name": "orders"}, "spec": spec}
    (directory / "objects.yaml").write_text(yaml.safe_dump_all([object_, service]))
    assert '"eu-referred"' in json.dumps(order_service(load(build(directory)))["spec"])


@pytest.mark.parametrize("path", [field["path"] for field in FIELDS["images"]])
def test_each_image_is_replaced(path):
    directory = write_overlay("image-" + path.replace("/", "-"), {
        "images": [{"name": "example.com/one", "newName": "example.com/other", "newTag": "2"}], "resources": ["objects.yaml"],
        "components": [inside("orderservice", "fields")]})
    spec = {"replicas": 1}
    set_at(spec, path, "example.com/one:1")
    service = {"apiVersion": "orders.example.com/v1alpha1", "kind": "OrderService", "metadata": {"name": "orders"}, "spec": spec}
    (directory / "objects.yaml").write_text(yaml.safe_dump(service))
    assert '"example.com/other:2"' in json.dumps(order_service(load(build(directory)))["spec"])


def test_an_autoscaled_service_gets_no_replicas():
    directory = write_overlay("autoscaled", {
        "replicas": [{"name": "orders", "count": 5}], "resources": ["objects.yaml"], "components": [inside("orderservice", "fields")]})
    (directory / "objects.yaml").write_text((KUSTOMIZE / "operator/samples/production.yaml").read_text())
    assert "replicas" not in order_service(load(build(directory)))["spec"]


def paths_of_names(node, path="spec"):
    """Fields of the CRD that name a Secret or a claim in the namespace of the OrderService."""
    for name, below in node.get("properties", {}).items():
        here = f"{path}/{name}"
        if name.endswith("SecretRef") or name == "secretRef":
            yield "Secret", f"{here}/name"
        elif name == "imagePullSecrets":
            yield "Secret", f"{here}/name"
        elif name == "claimName":
            yield "PersistentVolumeClaim", here
        # The parts of a pod template are those of Kubernetes.
        elif name != "podTemplate":
            yield from paths_of_names(below, here)


def test_every_reference_of_the_crd_is_known_to_kustomize():
    found = set(paths_of_names(schema()["properties"]["spec"]))
    assert ("Secret", "spec/database/secretRef/name") in found and len(found) >= 4
    assert found <= set(references()), f"add to orderservice/fields/fields.yaml: {found - set(references())}"
