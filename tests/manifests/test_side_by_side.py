"""The objects of kustomize/base and those of an OrderService in the same namespace, as during a move from one to the
other: no selector of one matches pods of the other, and no two objects have the same name."""

import re

import pytest
import yaml
from manifests import (
    NAMES, ROOT, build, inside, label, load, objects_of, of_kind, pod_labels, pod_spec, workloads, write_overlay,
)

GOLDEN = sorted((ROOT / "operator/tests/golden").glob("*.built.yaml"))
INSTANCE = "app.kubernetes.io/instance"


# For all installations that a Prometheus and a Grafana observe.
SHARED = {"PrometheusRule", "ConfigMap"}


@pytest.fixture(params=NAMES)
def objects(request):
    return objects_of(request.param)


@pytest.fixture(params=GOLDEN, ids=lambda file: file.name)
def built(request):
    return load(request.param.read_text())


def selectors(item):
    """path → labels, for every selector that decides which pods an object controls, counts, scrapes or isolates.

    Peers of a NetworkPolicy are not among them: they describe who is allowed, not who is affected."""
    spec = item["spec"]
    match item["kind"]:
        case "Service":
            yield "selector", spec["selector"]
        case "PodDisruptionBudget" | "PodMonitor" | "ServiceMonitor":
            yield "selector", spec["selector"]["matchLabels"]
        case "NetworkPolicy" if spec["podSelector"]:
            yield "podSelector", spec["podSelector"]["matchLabels"]
        case "CiliumNetworkPolicy":
            yield "endpointSelector", spec["endpointSelector"]["matchLabels"]
    if item["kind"] in ("Deployment", "StatefulSet"):
        yield "selector", spec["selector"]["matchLabels"]
    if item in workloads([item]):
        pod = pod_spec(item)
        for constraint in pod.get("topologySpreadConstraints", []):
            yield "topologySpreadConstraints", constraint["labelSelector"]["matchLabels"]
        affinity = pod.get("affinity", {})
        for kind in ("podAffinity", "podAntiAffinity"):
            rules = affinity.get(kind, {})
            terms = rules.get("requiredDuringSchedulingIgnoredDuringExecution", [])
            preferred = rules.get("preferredDuringSchedulingIgnoredDuringExecution", [])
            for term in terms + [weighted["podAffinityTerm"] for weighted in preferred]:
                yield kind, term["labelSelector"]["matchLabels"]


def foreign_matches(selecting, selected):
    return [
        f"{label(item)} {path} matches {label(workload)}"
        for item in selecting if "spec" in item
        for path, labels in selectors(item)
        for workload in workloads(selected)
        if labels.items() <= pod_labels(workload).items()
    ]


def test_no_selector_matches_pods_of_the_other(objects, built):
    assert not foreign_matches(objects, built)
    assert not foreign_matches(built, objects)


def test_no_object_has_the_name_of_another(objects, built):
    def names(items):
        return {(item["kind"], item["metadata"]["name"]) for item in items}

    assert not names(objects) & names(built)


def test_every_selector_of_the_service_names_the_instance(objects):
    """Also those that no object of an OrderService could match today."""
    for item in objects:
        if item["metadata"].get("labels", {}).get("app.kubernetes.io/name") != "order-service":
            continue
        if item["kind"] not in SHARED:
            assert item["metadata"]["labels"][INSTANCE] == "order-service", label(item)
        if "spec" in item:
            for path, labels in selectors(item):
                assert labels.get(INSTANCE) == "order-service", f"{label(item)} {path}"


def test_selectors_without_the_instance_are_found():
    """The checks above detect the selectors of a version before the label."""
    objects = load("\n---\n".join(
        (ROOT / "kustomize/base" / name).read_text()
        for name in ("deployment.yaml", "service.yaml", "poddisruptionbudget.yaml", "networkpolicies.yaml")))

    def without(value):
        if isinstance(value, dict):
            return {key: without(below) for key, below in value.items() if key != INSTANCE}
        return [without(below) for below in value] if isinstance(value, list) else value

    built = load((ROOT / "operator/tests/golden/fixed.built.yaml").read_text())
    assert not foreign_matches(objects, built)
    found = "\n".join(foreign_matches(without(objects), built))
    for wrong in ("Service/order-service selector", "PodDisruptionBudget/order-service selector",
                  "Deployment/order-service selector", "Deployment/order-service topologySpreadConstraints",
                  "NetworkPolicy/order-service-allow-clients podSelector"):
        assert f"{wrong} matches Deployment/" in found, wrong


def test_the_documented_second_installation_has_its_own_selectors():
    text = (ROOT / "docs/OPERATIONS.md").read_text()
    [fields] = [b for b in map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)) if "namePrefix" in b]
    overlay = {
        "resources": [inside("base")], "namespace": "order-service-prod", "transformers": [inside("transformers", "image-tag")],
        "components": [inside("components", name) for name in ("postgres", "monitoring", "kubernetes-auth", "gateway")], **fields}
    second, first = load(build(write_overlay("second", overlay))), objects_of("base+gateway+kubernetes-auth+monitoring+postgres")
    assert not foreign_matches(first, second) and not foreign_matches(second, first)
    for item in second:
        if item["kind"] in ("Deployment", "Service", "PodMonitor"):
            [(path, labels)] = list(selectors(item))[:1]
            assert [w for w in workloads(second) if labels.items() <= pod_labels(w).items()], f"{label(item)} {path}"
    names = {(item["kind"], item["metadata"]["name"]) for item in first}
    assert not names & {(item["kind"], item["metadata"]["name"]) for item in second}


def test_the_operator_does_not_select_the_service(built):
    installed = objects_of("operator+monitoring")
    assert not foreign_matches(installed, built) and not foreign_matches(built, installed)
    assert of_kind(built, "Deployment")
