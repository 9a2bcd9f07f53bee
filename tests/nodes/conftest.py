"""The skip without nodes, the summary and the figures of the run."""

import json
import os
import time

import figures
import kube
import pytest
from summary import print_counts, print_skipped, pytest_collectreport, pytest_runtest_logreport  # noqa: F401

KUBECONFIG = os.environ.get("KUBECONFIG", "")
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


def pytest_unconfigure(config):
    if config.option.collectonly:
        return
    print_skipped("*" * 80)
    figures.write(_surroundings)
    print_counts("e2e-nodes")
