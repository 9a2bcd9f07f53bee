"""The rules and the dashboard of the monitoring component, and the metrics in their queries."""

import json
import re

import yaml
from manifests import KUSTOMIZE, rust_source

MONITORING = KUSTOMIZE / "components" / "monitoring"
RULES = MONITORING / "rules.yaml"

GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALL = [rule for group in GROUPS for rule in group["rules"]]
ALERTS = [rule for rule in ALL if "alert" in rule]
ALERT_NAMES = sorted({rule["alert"] for rule in ALERTS})
RECORDED = {rule["record"] for rule in ALL if "record" in rule}
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())

# From the process collector of the Prometheus client.
PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_start_time_seconds"}
# From kube-state-metrics, where all are stable, and from Prometheus itself.
OTHERS = {
    "kube_deployment_spec_replicas", "kube_deployment_status_replicas_available", "kube_job_complete", "kube_job_failed",
    "kube_job_status_active", "kube_job_status_start_time", "kube_pod_container_status_restarts_total", "up",
}
WORDS = {
    "sum", "max", "min", "count", "avg", "by", "without", "on", "ignoring", "and", "or", "unless", "offset", "rate",
    "increase", "histogram_quantile", "absent", "time", "group_left", "group_right", "bool",
}


def own_metrics():
    source = rust_source("src/telemetry")
    # `Gauge::new("name", …)`, or `field: Gauge = "name"` in a declaration.
    found = set(re.findall(r'(?:(?:::new|histogram)\(\s*|: \w+ = )"([a-z_]+)"', source))
    assert {"http_requests_total", "http_request_duration_seconds", "db_pool_connections", "build_info", "panics_total"} <= found
    return found


def names_in(expression):
    text = re.sub(r'"[^"]*"', '""', expression)
    text = re.sub(r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)", " ", text)
    text = re.sub(r"\{[^}]*\}|\[[^\]]*\]", " ", text)
    text = re.sub(r"\b\d+(\.\d+)?[smhdw]?\b", " ", text)
    return set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", text)) - WORDS


def known(name):
    everything = own_metrics() | PROCESS | OTHERS | RECORDED
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return name in everything or (base != name and base in everything)


def panels():
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def dashboard_queries():
    found = [(panel["title"], target["expr"]) for panel in panels() for target in panel["targets"]]
    found += [(a["name"], a["expr"]) for a in DASHBOARD["annotations"]["list"]]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            query = variable["query"]["query"]
            found.append((variable["name"], re.fullmatch(r"label_values\((.*), \w+\)", query)[1]))
    return found
