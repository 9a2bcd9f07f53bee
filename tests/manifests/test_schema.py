"""Every object is valid for several minor versions of Kubernetes."""

import functools
import json

import kubernetes_validate
import pytest
from kubernetes_validate import utils
from manifests import ALL_NAMES, WITHOUT_SCHEMA, label, objects_of

# From the oldest version that has all used fields to the newest with a schema.
VERSIONS = ["1.29", "1.31", "1.33", "1.35", "1.37"]
# Custom resources. Any other object without a schema has a wrong apiVersion or kind.
CUSTOM = {
    ("monitoring.coreos.com/v1", "PodMonitor"),
    ("monitoring.coreos.com/v1", "PrometheusRule"),
    ("gateway.networking.k8s.io/v1", "HTTPRoute"),
    ("postgresql.cnpg.io/v1", "Cluster"),
    ("external-secrets.io/v1", "ExternalSecret"),
    ("cilium.io/v2", "CiliumNetworkPolicy"),
}
# Otherwise the library reads the same large files for each object.
utils.schema_contents = functools.cache(utils.schema_contents)


@functools.cache
def problems(text, version):
    item = json.loads(text)
    try:
        kubernetes_validate.validate(item, version, strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        if (item["apiVersion"], item["kind"]) in CUSTOM:
            WITHOUT_SCHEMA.add(label(item))
            return None
        return f"Kubernetes {version} has no {item['apiVersion']} {item['kind']}"
    except kubernetes_validate.ValidationError as error:
        return f"{'.'.join(map(str, error.path))}: {error.message}"
    return None


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ALL_NAMES)
def test_objects_are_valid(name, version):
    for item in objects_of(name):
        problem = problems(json.dumps(item, sort_keys=True), version)
        assert problem is None, f"{label(item)}: {problem}"


@pytest.mark.parametrize("version", VERSIONS)
def test_the_validator_detects_mistakes(version):
    good = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "x"},
        "spec": {"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"},
    }
    assert problems(json.dumps(good), version) is None
    misspelt = good | {"spec": {"maxUnavailible": 1}}
    assert "maxUnavailible" in problems(json.dumps(misspelt), version)
    unknown = good | {"apiVersion": "policy/v1beta9"}
    assert "has no" in problems(json.dumps(unknown), version)
