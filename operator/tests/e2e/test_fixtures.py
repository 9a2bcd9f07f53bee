"""Objects that the CRD accepts and rejects, validated by the API server: the same as in tests/operator/crd.rs.
No operator runs here."""

import re

import pytest
import manifests
import yaml
from cluster import Rejected, path_of

FIXTURES = manifests.ROOT / "operator/tests/fixtures"
ACCEPTED = sorted((FIXTURES / "accept").glob("*.yaml"))
REFUSED = sorted((FIXTURES / "reject").glob("*.yaml"))
# Nothing is stored, and an unknown field is rejected instead of dropped.
STRICT = {"dryRun": "All", "fieldValidation": "Strict"}


def documents(file):
    """(the object to validate, the object that it updates or None)"""
    *old, item = yaml.safe_load_all(file.read_text())
    return item, old[0] if old else None


def judge(sandbox, file):
    """Creates the object, or updates the old one to it."""
    item, old = documents(file)
    path = path_of("OrderService", None, sandbox.namespace)
    if old is None:
        return sandbox.cluster.request("POST", path, item, query=STRICT)
    stored = sandbox.cluster.request("POST", path, old)
    name = stored["metadata"]["name"]
    try:
        item["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"]
        return sandbox.cluster.request("PUT", f"{path}/{name}", item, query=STRICT)
    finally:
        sandbox.cluster.delete("OrderService", name, sandbox.namespace)


@pytest.mark.parametrize("file", ACCEPTED, ids=lambda file: file.stem)
def test_is_accepted(sandbox, file):
    assert judge(sandbox, file)["spec"]["image"] == documents(file)[0]["spec"]["image"]


@pytest.mark.parametrize("file", REFUSED, ids=lambda file: file.stem)
def test_is_rejected(sandbox, file):
    field, message = (re.search(rf"^# {key}:(.*)$", file.read_text(), re.MULTILINE)[1].strip()
                      for key in ("field", "message"))
    with pytest.raises(Rejected) as rejected:
        judge(sandbox, file)
    assert rejected.value.status in (400, 422), rejected.value
    # The test without an API server has the wording of JSON Schema.
    message = {"minimum": "should be greater than or equal to"}.get(message, message)
    assert field in rejected.value.message and message in rejected.value.message, rejected.value


def test_the_number_of_fixtures_is_plausible():
    assert len(ACCEPTED) >= 20 and len(ACCEPTED) + len(REFUSED) >= 40


@pytest.mark.parametrize("sample", sorted((manifests.ROOT / "kustomize/operator/samples").glob("*.yaml")), ids=lambda f: f.stem)
def test_samples_are_accepted(sandbox, sample):
    assert judge(sandbox, sample)


def test_omitted_fields_get_their_defaults(sandbox):
    spec = judge(sandbox, FIXTURES / "accept/minimal.yaml")["spec"]
    assert spec["database"]["secretRef"]["key"] == "database-url"
    assert spec["settings"]["poolMaxSize"] == 20 and spec["settings"]["requestTimeout"] == "10s"
    assert spec["networkPolicy"]["enabled"] is True and spec["disruption"]["maxUnavailable"] == 1
    assert spec["progressDeadlineSeconds"] == 600 and spec["paused"] is False
