"""What the CRD accepts and refuses, by the API server itself: the same table as in tests/operator/crd.rs,
which judges it without one. No operator runs here."""

import re

import pytest
import render
import yaml
from cluster import Refused, path_of

FIXTURES = render.ROOT / "operator/tests/fixtures"
ACCEPTED = sorted((FIXTURES / "accept").glob("*.yaml"))
REFUSED = sorted((FIXTURES / "reject").glob("*.yaml"))
# Nothing is stored, and a field that is not known is refused instead of dropped.
STRICT = {"dryRun": "All", "fieldValidation": "Strict"}


def documents(file):
    """(the object that is judged, the one that it changes or None)"""
    *old, item = yaml.safe_load_all(file.read_text())
    return item, old[0] if old else None


def judge(place, file):
    """Creates the object, or changes the one before into it."""
    item, old = documents(file)
    path = path_of("OrderService", None, place.namespace)
    if old is None:
        return place.cluster.request("POST", path, item, query=STRICT)
    stored = place.cluster.request("POST", path, old)
    name = stored["metadata"]["name"]
    try:
        item["metadata"]["resourceVersion"] = stored["metadata"]["resourceVersion"]
        return place.cluster.request("PUT", f"{path}/{name}", item, query=STRICT)
    finally:
        place.cluster.delete("OrderService", name, place.namespace)


@pytest.mark.parametrize("file", ACCEPTED, ids=lambda file: file.stem)
def test_is_accepted(place, file):
    assert judge(place, file)["spec"]["image"] == documents(file)[0]["spec"]["image"]


@pytest.mark.parametrize("file", REFUSED, ids=lambda file: file.stem)
def test_is_refused(place, file):
    field, message = (re.search(rf"^# {key}:(.*)$", file.read_text(), re.MULTILINE)[1].strip()
                      for key in ("field", "message"))
    with pytest.raises(Refused) as refused:
        judge(place, file)
    assert refused.value.status in (400, 422), refused.value
    assert field in refused.value.message and message in refused.value.message, refused.value


def test_there_are_enough():
    assert len(ACCEPTED) >= 20 and len(ACCEPTED) + len(REFUSED) >= 40


@pytest.mark.parametrize("sample", sorted((render.ROOT / "kustomize/operator/samples").glob("*.yaml")), ids=lambda f: f.stem)
def test_samples_are_accepted(place, sample):
    assert judge(place, sample)


def test_what_is_left_out_is_filled_in(place):
    spec = judge(place, FIXTURES / "accept/minimal.yaml")["spec"]
    assert spec["database"]["secretRef"]["key"] == "database-url"
    assert spec["settings"]["poolMaxSize"] == 20 and spec["settings"]["requestTimeout"] == "10s"
    assert spec["networkPolicy"]["enabled"] is True and spec["disruption"]["maxUnavailable"] == 1
    assert spec["progressDeadlineSeconds"] == 600 and spec["paused"] is False
