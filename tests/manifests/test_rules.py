"""Alerts and dashboard: unit tests with promtool, existing metrics only, a runbook for each alert."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from manifests import PROMTOOL, ROOT, WORK, build, inside, load, only, write_overlay
from monitoring import (
    ALERT_NAMES, ALERTS, ALL, DASHBOARD, GROUPS, MONITORING, RULES, dashboard_queries, known, names_in, own_metrics, panels)

UNIT_TESTS = sorted((ROOT / "tests/manifests/rules").glob("*.yaml"))
OPERATIONS = ROOT / "docs" / "OPERATIONS.md"


def promtool(*arguments):
    return subprocess.run([str(PROMTOOL), *map(str, arguments)], capture_output=True, text=True, check=False)


def test_the_rules_are_valid():
    done = promtool("check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", UNIT_TESTS, ids=lambda file: file.name)
def test_unit_tests(file):
    done = promtool("test", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", ALERT_NAMES)
def test_each_alert_is_tested_both_ways(alert):
    tests = [test for file in UNIT_TESTS for test in yaml.safe_load(file.read_text())["tests"]]
    silent = [t for t in tests if f"{alert} does not fire" in t["name"]]
    firing = [
        t for t in tests
        if re.search(rf"{alert}( fires|.*fires)", t["name"])
        and any(f'alertname="{alert}"' in s["labels"] for c in t["promql_expr_test"] for s in c["exp_samples"])
    ]
    assert silent and firing


# Small mistakes in the rules: (unit test that detects it, text, replacement).
MUTANTS = [
    ("OrderServiceErrorBudgetBurn fires at 14.5 times the budget",
     "request_errors:ratio_rate1h > 14.4", "request_errors:ratio_rate1h > 14.6"),
    ("OrderServiceErrorBudgetBurn does not fire for 1h at 14.3 times the budget",
     "14.4 * 0.001", "14.2 * 0.001"),
    ("OrderServiceErrorBudgetBurn fires for 6h at 6.1 times the budget",
     "request_errors:ratio_rate6h > 6 ", "request_errors:ratio_rate6h > 6.2 "),
    ("OrderServiceErrorBudgetBurn does not fire for 1h once the errors are back within the budget, and no longer for 6h after half an hour",
     "request_errors:ratio_rate30m > 6 ", "request_errors:ratio_rate30m > 0 "),
    ("OrderServiceErrorBudgetBurn does not fire for 1h once the errors are back within the budget, and no longer for 6h after half an hour",
     "request_errors:ratio_rate5m > 14.4", "request_errors:ratio_rate5m > 0"),
    ("OrderServiceErrorBudgetBurn fires for 3d at 1.1 times the budget",
     "request_errors:ratio_rate3d > 1 ", "request_errors:ratio_rate3d > 1.2 "),
    ("OrderServiceLatencyBudgetBurn fires at 14.5 times the budget",
     "request_slow:ratio_rate1h > 14.4", "request_slow:ratio_rate1h > 14.6"),
    ("OrderServiceLatencyBudgetBurn does not fire for 6h at 5.9 times the budget",
     "6 * 0.01", "5.8 * 0.01"),
    ("OrderServiceLatencyBudgetBurn fires for 6h at 6.1 times the budget",
     "request_slow:ratio_rate6h > 6 ", "request_slow:ratio_rate6h > 6.2 "),
    ("OrderServiceLatencyBudgetBurn fires for 3d at 1.1 times the budget",
     "request_slow:ratio_rate3d > 1 ", "request_slow:ratio_rate3d > 1.2 "),
    ("OrderServiceErrorBudgetBurn does not fire for failing probes, unknown paths, other jobs and 4xx",
     ',status=~"5.."', ""),
    ("OrderServiceLatencyBudgetBurn does not fire for streams of the event feed and slow probes",
     ',path!="/api/v1/events"', ""),
    ("OrderServiceErrorBudgetBurn does not fire for failing probes, unknown paths, other jobs and 4xx",
     ',path=~"/api/.*"', ""),
    ("OrderServiceErrorBudgetBurn fires for 6h once three quarters of 6h are at 8 times the budget",
     "[6h]", "[5m]"),
    ("OrderServiceErrorBudgetBurn fires for 6h once three quarters of 6h are at 8 times the budget",
     "[3d]", "[5m]"),
    ("OrderServicePoolExhausted fires at 19 of 20 after five minutes",
     ">= 0.95", ">= 0.96"),
    ("OrderServicePoolExhausted does not fire at 18 of 20, nor for four minutes of 20",
     ">= 0.95", ">= 0.9"),
    ("OrderServiceQueueRejecting fires at the first rejection and ends five minutes after the last",
     "[5m])) > 0", "[5m])) > 1"),
    ("OrderServicePanics fires at the first panic, for a quarter of an hour",
     "[15m])) > 0", "[5m])) > 0"),
    ("OrderServiceEventFeedLag does not fire at 30 seconds, nor for four minutes of more",
     "> 30", "> 29"),
    ("OrderServiceEventFeedLag fires above 30 seconds after five minutes",
     "> 30", "> 31"),
    ("OrderServiceDown fires after two minutes without a pod, OrderServicePodsUnready after ten",
     "for: 2m\n        labels:\n          severity: critical\n        annotations:\n          summary: \"No pod",
     "for: 3m\n        labels:\n          severity: critical\n        annotations:\n          summary: \"No pod"),
    ("OrderServicePodsUnready fires when one of three is missing for ten minutes",
     "for: 10m", "for: 9m"),
    ("OrderServiceMigrationStuck fires after half an hour",
     "for: 30m\n        labels:\n          severity: warning\n        annotations:\n          summary: \"The migration",
     "for: 31m\n        labels:\n          severity: warning\n        annotations:\n          summary: \"The migration"),
    ("OrderServiceMigrationFailed does not fire while attempts are left, nor for another Job",
     ',condition="true"', ""),
    ("OrderServiceMigrationFailed does not fire while attempts are left, nor for another Job",
     'job_name=~"order-service-migrate-.+"', 'job_name=~".+"'),
    ("OrderServiceMetricsMissing fires when no target is up for five minutes",
     "absent(up", "absent(1 - up"),
    ("OrderServiceAuthKeySetStale fires above half an hour, five minutes later, and ends with a fetch",
     "> 1800", "> 1860"),
    ("OrderServiceAuthKeySetStale does not fire at half an hour, nor for four minutes of more, nor for another job",
     "> 1800", "> 1799"),
    ("OrderServiceAuthKeySetStale fires when one pod has never fetched the keys",
     'auth_key_set_age_seconds{job="order-service"} != auth_key_set_age_seconds{job="order-service"}',
     'auth_key_set_age_seconds{job="order-service"} > 3600'),
    ("OrderServiceAuthFileReloadFailed fires at the first failure, for an hour",
     "[1h])) > 0", "[30m])) > 0"),
    ("OrderServiceAuthFileReloadFailed does not fire for good changes, old failures, a restart or another job",
     ',outcome="failure"', ""),
    ("OrderServiceEventPartitionsMissing fires below a week after an hour, and is critical without a partition",
     "< 604800", "< 604799"),
    ("OrderServiceEventPartitionsMissing fires below a week after an hour, and is critical without a partition",
     "for: 1h", "for: 61m"),
    ("OrderServiceEventPartitionsMissing fires below a week after an hour, and is critical without a partition",
     'min by (namespace) (event_partitions_ahead_seconds{job="order-service"}) < 604800',
     'max by (namespace) (event_partitions_ahead_seconds{job="order-service"}) < 604800'),
    ("OrderServiceEventPartitionsMissing does not fire at a week, nor for 59 minutes of less, nor for another job",
     "< 604800", "<= 604800"),
    ("OrderServiceEventPartitionsMissing does not fire at a week, nor for 59 minutes of less, nor for another job",
     "for: 1h", "for: 58m"),
    ("OrderServiceEventPartitionsMissing fires below a week after an hour, and is critical without a partition",
     "<= 0\n", "< 0\n"),
    ("OrderServiceEventPartitionsMissing does not fire critically for the last second of the last partition, nor for four minutes without one",
     "<= 0\n", "<= 1\n"),
    ("OrderServiceEventPartitionsMissing does not fire critically for the last second of the last partition, nor for four minutes without one",
     "<= 0\n        for: 5m", "<= 0\n        for: 3m"),
    ("OrderServiceEventPartitionsMissing fires when no pod has measured the time for an hour",
     "          !=\n", "          <\n"),
    ("OrderServiceEventPartitionsMissing does not fire when one of two pods cannot measure the time",
     'min by (namespace) (event_partitions_ahead_seconds{job="order-service"})', 'event_partitions_ahead_seconds{job="order-service"}'),
    ("OrderServiceMaintenanceFailed fires when the last run failed, and ends when a later one succeeds",
     'kube_job_complete{job_name=~"order-service-maintain-.+",condition="true"} == 1',
     'kube_job_complete{job_name=~"order-service-maintain-.+",condition="true"} == 2'),
    ("OrderServiceMaintenanceFailed fires when no run has succeeded yet",
     'or\n            0 * max by (namespace) (kube_job_status_start_time{job_name=~"order-service-maintain-.+"})', ""),
    ("OrderServiceMaintenanceFailed does not fire while attempts are left, nor for another Job, nor for a failure before the last success",
     'maintain-.+",condition="true"} == 1\n          )\n          >', 'maintain-.+",condition="true"}\n          )\n          >'),
    ("OrderServiceMaintenanceFailed does not fire while attempts are left, nor for another Job, nor for a failure before the last success",
     "order-service-maintain-.+", ".+"),
    ("OrderServiceMaintenanceFailed fires in the namespace of the run that failed, whatever succeeds in another",
     "          >\n          (", "          > ignoring (namespace)\n          ("),
    ("OrderServiceErasureOverdue fires above a day after ten minutes, and ends with the erasure",
     "> 86400", "> 86401"),
    ("OrderServiceErasureOverdue does not fire at a day, nor for nine minutes of more, nor for another job",
     "> 86400", ">= 86400"),
    ("OrderServiceErasureOverdue does not fire at a day, nor for nine minutes of more, nor for another job",
     'erasure_oldest_seconds{job="order-service"}', "erasure_oldest_seconds"),
]


@pytest.mark.parametrize("mutant", enumerate(MUTANTS), ids=lambda item: f"{item[0]}-{item[1][2][:20]}")
def test_the_unit_tests_detect_small_mistakes(mutant):
    """Runs only the unit test that detects the mistake, because all of them take minutes for all mistakes."""
    number, (name, old, new) = mutant
    text = RULES.read_text()
    assert old in text, f"{old} is no longer in the rules"
    directory = WORK / "mutants" / str(number)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "rules.yaml").write_text(text.replace(old, new))
    assert promtool("check", "rules", directory / "rules.yaml").returncode == 0, f"{new} is no valid rule"
    [suite] = [suite for suite in map(yaml.safe_load, map(Path.read_text, UNIT_TESTS)) if name in names_of(suite)]
    suite |= {"rule_files": ["rules.yaml"], "tests": [test for test in suite["tests"] if test["name"] == name]}
    (directory / "test.yaml").write_text(yaml.safe_dump(suite))
    assert promtool("test", "rules", directory / "test.yaml").returncode != 0, "the unit test passes with the mistake"


def names_of(suite):
    return [test["name"] for test in suite["tests"]]


def test_the_prometheus_operator_gets_the_same_rules():
    done = subprocess.run([str(ROOT / "scripts/prometheusrule.sh")], capture_output=True, text=True, check=True)
    assert done.stdout == (MONITORING / "prometheusrule.yaml").read_text(), "generate it again: scripts/prometheusrule.sh"
    assert yaml.safe_load(done.stdout)["spec"]["groups"] == GROUPS


def test_rules_use_existing_metrics():
    for rule in ALL:
        for name in names_in(rule["expr"]):
            assert known(name), f"{rule.get('alert') or rule.get('record')}: {name}"


def test_the_dashboard_uses_existing_metrics():
    for title, query in dashboard_queries():
        names = names_in(query)
        assert names, title
        for name in names:
            assert known(name), f"{title}: {name}"


def test_metric_names_are_found_in_expressions():
    """So the two tests above do not pass because they find nothing."""
    query = 'histogram_quantile(0.99, sum by (le) (rate(x_seconds_bucket{job="a",b=~"c"}[5m]))) / on (pod) y:z or 0 * foo_total'
    assert names_in(query) == {"x_seconds_bucket", "y:z", "foo_total"}
    assert known("db_pool_acquire_seconds_bucket") and not known("db_pool_acquire_second")


def test_every_metric_of_the_service_is_on_the_dashboard():
    shown = {re.sub(r"_(bucket|sum|count)$", "", n) for _, q in dashboard_queries() for n in names_in(q)}
    assert own_metrics() <= shown | {re.sub(r"_(bucket|sum|count)$", "", n) for r in ALL for n in names_in(r["expr"])}


def test_dashboard_queries_are_valid():
    """promtool parses them as recording rules, after Grafana's variables are replaced."""
    rules = []
    for number, (_, query) in enumerate(dashboard_queries()):
        query = query.replace("$__rate_interval", "1m")
        query = re.sub(r"\$(namespace|pod)\b", ".*", query)
        assert "$" not in query, query
        rules.append({"record": f"panel:{number}", "expr": query})
    file = WORK / "dashboard-rules.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = promtool("check", "rules", file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def test_dashboard_panels_are_consistent():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, f"{panel['title']} overlaps another panel"
        taken |= cells
    titles = [panel["title"] for panel in panels()]
    assert len(titles) == len(set(titles))
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        # Each query filters by the selected namespace.
        for target in panel["targets"]:
            assert 'namespace=~"$namespace"' in target["expr"], panel["title"]


def anchor_of(heading):
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def sections():
    """anchor → text of the section, without subsections."""
    found, current = {}, None
    for line in OPERATIONS.read_text().splitlines():
        heading = re.match(r"#+ (.*)", line)
        if heading:
            current = anchor_of(heading[1])
            assert current not in found, f"two sections have the title {heading[1]}"
            found[current] = ""
        elif current:
            found[current] += line + "\n"
    return found


@pytest.mark.parametrize("alert", ALERT_NAMES)
def test_each_alert_has_a_runbook(alert):
    for rule in ALERTS:
        if rule["alert"] != alert:
            continue
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert {"summary", "description", "runbook_url"} == set(rule["annotations"])
        file, anchor = rule["annotations"]["runbook_url"].split("#")
        assert file.endswith("/docs/OPERATIONS.md")
        assert anchor == anchor_of(alert)
        text = sections()[anchor]
        for part in ("**Means**", "**Check**", "**Do**"):
            assert part in text, f"{alert} lacks {part}"


def test_no_runbook_without_an_alert():
    written = {s for s in sections() if s.startswith("orderservice")}
    assert written == {anchor_of(alert) for alert in ALERT_NAMES}


def test_runbook_urls_can_be_replaced():
    where = "https://git.my-company.com/orders/docs/OPERATIONS.md"
    annotated = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule",
                 "metadata": {"name": "order-service", "annotations": {"orders.example.com/runbooks": where}}}
    overlay = write_overlay("runbooks", {
        "resources": [inside("overlays", "prod")], "patches": [{"patch": yaml.safe_dump(annotated)}],
        "transformers": [inside("transformers", "runbooks")]})
    groups = only(load(build(overlay)), "PrometheusRule")["spec"]["groups"]
    for group, original in zip(groups, GROUPS, strict=True):
        for rule in original["rules"]:
            if "alert" in rule:
                rule = rule | {"annotations": rule["annotations"] | {"runbook_url": f"{where}#{anchor_of(rule['alert'])}"}}
            assert rule in group["rules"]


def test_the_picture_shows_every_panel():
    picture = (ROOT / "docs/dashboard.svg").read_text()
    shown = set(re.findall(r">([^<]+)</text>", picture))
    assert {panel["title"] for panel in DASHBOARD["panels"]} <= shown, "redraw it: make dashboard"
    assert len(picture) < 300_000
