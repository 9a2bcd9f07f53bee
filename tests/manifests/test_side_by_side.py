"""The objects of kustomize/base and those of an OrderService in the same namespace, as during a move from one to the
other: no selector of one matches pods of the other, and no two objects have the same name."""

import re

import pytest
import yaml
from manifests import (
    NAMES, ROOT, build, inside, label, load, objects_of, of_kind, only, pod_labels, pod_spec, workloads, write_overlay,
)

# What the operator builds for several OrderServices.
BUILT = [load(file.read_text()) for file in sorted((ROOT / "operator/tests/golden").glob("*.built.yaml"))]
INSTANCE = "app.kubernetes.io/instance"


# For all installations that a Prometheus and a Grafana observe.
SHARED = {"PrometheusRule", "ConfigMap"}


@pytest.fixture(params=NAMES)
def objects(request):
    return objects_of(request.param)


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


def names(items):
    return {(item["kind"], item["metadata"]["name"]) for item in items}


def test_no_selector_matches_pods_of_the_other(objects):
    for built in BUILT:
        assert not foreign_matches(objects, built)
        assert not foreign_matches(built, objects)
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

    built = BUILT[0]
    assert not foreign_matches(objects, built)
    found = "\n".join(foreign_matches(without(objects), built))
    for wrong in ("Service/order-service selector", "PodDisruptionBudget/order-service selector",
                  "Deployment/order-service selector", "Deployment/order-service topologySpreadConstraints",
                  "NetworkPolicy/order-service-allow-clients podSelector"):
        assert f"{wrong} matches Deployment/" in found, wrong


@pytest.mark.parametrize(("component", "name"), [("postgres", "order-service-postgres"), ("cloudnative-pg", "order-service-db")])
def test_an_order_service_may_use_the_database_of_a_component(component, name):
    """During the move both use it."""
    rule = only(objects_of(f"base+{component}"), "NetworkPolicy", name)["spec"]["ingress"][0]
    [peer] = [p["podSelector"]["matchLabels"] for p in rule["from"]]
    for built in BUILT:
        for workload in workloads(built):
            assert peer.items() <= pod_labels(workload).items(), label(workload)


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
    assert not names(first) & names(second)


def test_the_operator_does_not_select_the_service():
    installed = objects_of("operator+monitoring")
    for built in BUILT:
        assert not foreign_matches(installed, built) and not foreign_matches(built, installed)
        assert of_kind(built, "Deployment")


def moved():
    """The section about the move in docs/OPERATOR.md, and its kustomization."""
    section = (ROOT / "docs/OPERATOR.md").read_text().split("## Move from kustomize/base\n")[1].split("\n## ")[0]
    [text] = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    kustomization = yaml.safe_load(re.sub(r"(?m)^ {3}", "", text))
    assert kustomization.pop("resources") == ["../prod"]
    return section, kustomization


@pytest.mark.parametrize("on", ["prod", "prod+gateway+kubernetes-auth+external-secrets"])
def test_the_documented_move_leaves_no_pods_of_base(on):
    components = [inside("components", name) for name in on.split("+")[1:]]
    overlay = {"resources": [inside("overlays", "prod")], "components": components, **moved()[1]}
    objects = load(build(write_overlay("moved-" + on.replace("+", "-"), overlay)))
    assert not workloads(objects) and not of_kind(objects, "NetworkPolicy", "ServiceAccount", "HorizontalPodAutoscaler")
    assert only(objects, "Namespace")
    built, *_ = [built for built in BUILT if only(built, "Deployment")["metadata"]["name"] == "orders"]
    for kind in ("Service", "PodMonitor"):
        [(_, labels)] = selectors(only(objects, kind, "order-service"))
        assert labels.items() <= pod_labels(only(built, "Deployment")).items(), kind


def test_the_documented_command_deletes_what_the_move_leaves():
    section, kustomization = moved()
    kinds = set(re.search(r"kubectl delete ([a-z,]+) ", section)[1].split(","))
    selector = dict(pair.split("=") for pair in re.search(r"-l (\S+)", section)[1].split(","))
    overlay = {"resources": [inside("overlays", "prod")], **kustomization}
    kept, before = load(build(write_overlay("moved-kept", overlay))), objects_of("prod")
    removed = [item for item in before if (item["kind"], item["metadata"]["name"]) not in names(kept)]

    def deleted(item):
        return f"{item['kind'].lower()}s".replace("policys", "policies") in kinds and selector.items() <= item["metadata"]["labels"].items()

    assert len(removed) > 8
    for item in removed:
        assert deleted(item), label(item)
    for item in kept:
        assert not deleted(item), label(item)
