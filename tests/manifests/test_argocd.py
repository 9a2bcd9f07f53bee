"""The health check for Argo CD, with Argo CD's version of Lua, on every status that the operator's tests record."""

import json
import re

import pytest
import yaml
from lupa import lua51
from manifests import KUSTOMIZE, ROOT

KEY = "resource.customizations.health.orders.example.com_OrderService"
CONFIG_MAP = yaml.safe_load((KUSTOMIZE / "operator/argocd/argocd-cm.yaml").read_text())
RECORDS = json.loads((ROOT / "operator/tests/statuses.json").read_text())
# Libraries that Argo CD does not load (util/lua/lua.go in argoproj/argo-cd).
ABSENT = ["string", "math", "io", "debug", "coroutine"]


def health(item, script=CONFIG_MAP["data"][KEY]):
    lua = lua51.LuaRuntime(unpack_returned_tuples=True)
    for library in ABSENT:
        lua.globals()[library] = None
    lua.globals().obj = lua.table_from(item, recursive=True)
    result = lua.execute(script)
    return result.status, result.message


@pytest.mark.parametrize("record", RECORDS, ids=[record["name"] for record in RECORDS])
def test_health(record):
    status, message = health(record["object"])
    assert status == record["argocd"]
    assert status in {"Healthy", "Progressing", "Degraded", "Suspended"}
    # The message is that of the condition which decided, so it is never empty. `Stalled` has the cause.
    if any(c["type"] == "Stalled" for c in record["object"]["status"]["conditions"]) and status == "Degraded":
        assert message == "message of Stalled"
    elif record["object"]["status"]["observedGeneration"] == record["object"]["metadata"]["generation"]:
        assert re.fullmatch(r"message of (Stalled|Degraded|Paused|Ready)", message)
    else:
        assert "has not seen" in message


@pytest.mark.parametrize("status", [None, {}, {"observedGeneration": -1}, {"observedGeneration": 1}])
def test_an_object_without_conditions_is_progressing(status):
    item = {"metadata": {"generation": 1}} | ({"status": status} if status is not None else {})
    assert health(item)[0] == "Progressing"


def test_every_reason_of_ready_and_degraded_was_recorded():
    page = (ROOT / "docs/OPERATOR.md").read_text().split("## Conditions")[1].split("\n## ")[0]
    documented, condition = set(), None
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and len(cells) == 4:
            condition = cells[0].strip("`") or condition
            documented |= {(condition, cells[1], reason) for reason in re.findall(r"`([A-Z]\w+)`", cells[2])}
    recorded = {(c["type"], c["status"], c["reason"]) for r in RECORDS for c in r["object"]["status"]["conditions"]}
    for condition in ("Ready", "Available", "Degraded"):
        missing = {row for row in documented if row[0] == condition} - recorded - UNRECORDED
        assert not missing, missing
    assert UNRECORDED <= documented


# The health check reads no reason but `SecretNotFound`, so one record of each kind of Ready=False is enough.
UNRECORDED = {("Ready", "False", "MigrationRetrying")}


def test_the_key_names_the_kind_that_the_crd_defines():
    crd = yaml.safe_load((KUSTOMIZE / "operator/crd.yaml").read_text())["spec"]
    assert KEY.endswith(f".{crd['group']}_{crd['names']['kind']}")
