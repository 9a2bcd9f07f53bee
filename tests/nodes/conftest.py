"""The skip without nodes, the summary and the figures of the run."""

import json
import os
import time
from collections import Counter

import figures
import kube
import pytest

KUBECONFIG = os.environ.get("KUBECONFIG", "")
_counts = Counter()
_reasons = Counter()
_surroundings = {}


def _missing():
    """Why nothing can be tested, or None."""
    if not KUBECONFIG:
        return "KUBECONFIG names no cluster"
    nodes = [n for n in json.loads(kube.kubectl("get", "nodes", "-o", "json"))["items"] if kube.is_true(n, "Ready")]
    if not nodes:
        return "the cluster in KUBECONFIG has no ready node (`make e2e` needs none)"
    info = nodes[0]["status"]["nodeInfo"]
    _surroundings.update({
        "date": time.strftime("%Y-%m-%d"),
        "kubernetes": info["kubeletVersion"],
        "runtime": info["containerRuntimeVersion"],
        "nodes": len(nodes),
        "cpus": sum(int(n["status"]["capacity"]["cpu"]) for n in nodes),
    })
    return None


def pytest_collection_modifyitems(items):
    missing = _missing()
    if missing:
        for item in items:
            item.add_marker(pytest.mark.skip(reason=f"{missing}. NOTHING was tested on nodes"))


def pytest_runtest_logreport(report):
    if report.failed:
        _counts["failed"] += 1
    elif report.skipped:
        name = "xfailed" if hasattr(report, "wasxfail") else "skipped"
        _counts[name] += 1
        if name == "skipped":
            _reasons[report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)] += 1
    elif report.when == "call":
        _counts["passed"] += 1


def pytest_collectreport(report):
    if report.failed:
        _counts["failed"] += 1


def pytest_unconfigure(config):
    if config.option.collectonly:
        return
    for reason, count in _reasons.items():
        print("*" * 80 + f"\nSKIPPED ({count}): {reason}\n" + "*" * 80)
    figures.write(_surroundings)
    if _counts["xfailed"]:
        print(f"{_counts['xfailed']} expected failures")
    print(f"e2e-nodes: {_counts['passed']} passed, {_counts['failed']} failed, {_counts['skipped']} skipped")
