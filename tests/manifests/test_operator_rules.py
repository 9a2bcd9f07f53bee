"""The operator's alerts: unit tests with promtool, existing metrics only, a runbook for each."""

import re
import subprocess

import pytest
import yaml
from manifests import KUSTOMIZE, OPERATOR_NAMES, ROOT, WORK, containers, objects_of, only, pod_labels, rust_source
from test_rules import names_in, promtool, anchor_of

MONITORING = KUSTOMIZE / "operator/components/monitoring"
RULES = MONITORING / "rules.yaml"
UNIT_TESTS = ROOT / "tests/manifests/operator-rules/alerts.yaml"
DOCS = ROOT / "docs/OPERATOR.md"
GROUPS = yaml.safe_load(RULES.read_text())["groups"]
ALERTS = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
MONITORED = [name for name in OPERATOR_NAMES if "monitoring" in name]

# Small mistakes in the rules, as (text, replacement). The unit tests must detect each.
MUTANTS = [
    ('or\n          absent(up{job="order-operator"})', ""),
    ("max by (namespace) (up", "max(up"),
    ("max by (namespace) (up", "min by (namespace) (up"),
    ("sum by (namespace) (order_operator_leader", "sum(order_operator_leader"),
    ("sum by (namespace) (rate(", "sum(rate("),
    ("for: 5m\n        labels:\n          severity: critical", "for: 6m\n        labels:\n          severity: critical"),
    ("== 0", "== 1"),
    ("> 1\n        for: 2m", "> 2\n        for: 2m"),
    ("> 1\n        for: 2m", "> 1\n        for: 1m"),
    ("== 0\n        for: 2m", "== 0\n        for: 1m"),
    ("> 0.1\n", "> 0.13\n"),
    ("> 0.1\n", "> 0.08\n"),
    (',outcome=~"transient|permanent"', ""),
    ("transient|permanent", "transient|permanent|conflict"),
    ("transient|permanent", "transient"),
    ("transient|permanent", "permanent"),
    ("> 180", "> 179"),
    ("> 180\n        for: 1m", "> 180\n        for: 2m"),
    ("max by (namespace, pod) (order_operator_watch_age", "max(order_operator_watch_age"),
    ("> 50", "> 49"),
    ("> 50", "> 51"),
    ("for: 10m", "for: 9m"),
    ("for: 20m", "for: 19m"),
    ("max(order_operator_rollouts_held", "min(order_operator_rollouts_held"),
    (">= 1\n        for: 1m", ">= 1\n        for: 2m"),
    (">= 1\n        for: 1m", ">= 0\n        for: 1m"),
    (',status!="True"', ""),
    ('condition="Ready",status!="True"', 'status!="True"'),
    ('condition="Degraded",status="True"', 'condition="Degraded"'),
]


def own_metrics():
    found = set(re.findall(r'"(order_operator_[a-z_]+)"', rust_source("operator/src")))
    assert "order_operator_reconciles_total" in found
    return found


def test_the_rules_are_valid():
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_unit_tests():
    done = promtool("test", "rules", UNIT_TESTS)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_each_alert_is_tested_both_ways(alert):
    names = [test["name"] for test in yaml.safe_load(UNIT_TESTS.read_text())["tests"]]
    assert any(name.startswith(f"{alert} fires") for name in names)
    assert any(re.match(rf"{alert} .*does not fire", name) for name in names)


@pytest.mark.parametrize("mutant", enumerate(MUTANTS), ids=lambda item: item[1][1].split("\n")[0])
def test_the_unit_tests_detect_small_mistakes(mutant):
    number, (old, new) = mutant
    text = RULES.read_text()
    assert old in text, f"{old} is no longer in the rules"
    directory = WORK / "operator-mutants" / str(number)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "rules.yaml").write_text(text.replace(old, new))
    tests = re.sub(r"(rule_files:\n  - ).*", r"\1rules.yaml", UNIT_TESTS.read_text())
    (directory / "test.yaml").write_text(tests)
    assert promtool("check", "rules", directory / "rules.yaml").returncode == 0, f"{new} is no valid rule"
    assert promtool("test", "rules", directory / "test.yaml").returncode != 0, "the unit tests pass with the mistake"


def test_the_prometheus_operator_gets_the_same_rules():
    done = subprocess.run([str(ROOT / "scripts/prometheusrule.sh"), "operator"], capture_output=True, text=True, check=True)
    assert done.stdout == (MONITORING / "prometheusrule.yaml").read_text(), "generate it again: scripts/prometheusrule.sh operator"
    assert yaml.safe_load(done.stdout)["spec"]["groups"] == GROUPS


def test_rules_use_existing_metrics():
    for name, rule in ALERTS.items():
        for metric in names_in(rule["expr"]):
            assert metric in own_metrics() | {"up"}, f"{name}: {metric}"


@pytest.mark.parametrize("alert", sorted(ALERTS))
def test_each_alert_has_a_runbook(alert):
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    file, anchor = rule["annotations"]["runbook_url"].split("#")
    assert file.endswith("/docs/OPERATOR.md") and anchor == anchor_of(alert)
    sections = re.split(r"^#+ ", DOCS.read_text(), flags=re.MULTILINE)
    [section] = [s for s in sections if s.startswith(alert + "\n")]
    for part in ("**Means**", "**Check**", "**Do**"):
        assert part in section, f"{alert} lacks {part}"


def test_no_runbook_without_an_alert():
    written = re.findall(r"^### (Order(?:Operator|Services)[A-Z]\w+)$", DOCS.read_text(), re.MULTILINE)
    assert sorted(written) == sorted(ALERTS)


@pytest.mark.parametrize("name", MONITORED)
def test_pod_monitor(name):
    objects = objects_of(name)
    workload = only(objects, "Deployment", "order-operator")
    spec = only(objects, "PodMonitor", "order-operator")["spec"]
    assert pod_labels(workload)[spec["jobLabel"]] == "order-operator"
    assert spec["selector"]["matchLabels"].items() <= pod_labels(workload).items()
    [endpoint] = spec["podMetricsEndpoints"]
    assert endpoint["port"] in {port["name"] for port in containers(workload)[0]["ports"]}
    assert int(endpoint["scrapeTimeout"][:-1]) < int(endpoint["interval"][:-1])
    assert only(objects, "PrometheusRule", "order-operator")["spec"]["groups"] == GROUPS
