"""Every query of the rules and of the dashboard, on a Prometheus that scrapes the service under load.

A query of the dashboard, a recording rule and a recorded series must return at least one finite number. An
alert returns nothing in normal operation, so its inputs must return a number: its expression without
comparisons with numbers, and with `x` for `absent(x)`."""

import math
import re
import time

import pytest
import yaml
from load import Load
from monitoring import ALERTS, ALL, MONITORING, dashboard_queries, names_in, panels
from stack import Stack, until

# One sample per second, so this is enough for every rate.
SECONDS = 12


def inputs(expression):
    selectors = []

    def keep(match):
        selectors.append(match[0])
        return f"{{{len(selectors) - 1}}}"

    text = re.sub(r"\{[^}]*\}", keep, expression)
    text = re.sub(r"\s*(==|!=|>=|<=|>|<)\s*[\d.]+(\s*\*\s*[\d.]+)?", "", text)
    text = text.replace("absent(", "(")
    return re.sub(r"\{(\d+)\}", lambda match: selectors[int(match[1])], text)


def for_prometheus(query):
    """The query as Grafana sends it with everything selected."""
    query = query.replace("$__rate_interval", "10s")
    return re.sub(r"\$(namespace|pod)\b", ".*", query)


PANELS = [(title, for_prometheus(query)) for title, query in dashboard_queries()]
RECORDING = [rule for rule in ALL if "record" in rule]


@pytest.fixture(scope="module")
def stack():
    with Stack() as stack:
        with Load(stack.api) as load:
            time.sleep(SECONDS)
            assert load.responses.get(201, 0) > 50, load.responses
            assert not {status for status in load.responses if status >= 500 or status == 0}, load.responses
            yield stack


@pytest.fixture(scope="module")
def metrics(stack):
    return set(stack.api_request("label/__name__/values"))


def assert_data(stack, query):
    values = [float(series["value"][1]) for series in stack.query(query)]
    assert any(math.isfinite(value) for value in values), f"{values or 'nothing'} from {query}"


def test_the_targets_are_up(stack):
    up = {(s["metric"]["job"], s["metric"].get("pod")): s["value"][1] for s in stack.query("up")}
    assert set(up.values()) == {"1"} and len(up) == 3, up


def test_the_rules_are_evaluated(stack):
    rules = [rule for group in stack.api_request("rules")["groups"] for rule in group["rules"]]
    assert len(rules) == len(ALL)
    for rule in rules:
        assert (rule["health"], rule.get("lastError", "")) == ("ok", ""), rule["name"]


@pytest.mark.parametrize("rule", RECORDING, ids=lambda rule: rule["record"])
def test_recording_rule_returns_data(stack, rule):
    assert_data(stack, rule["expr"])
    assert_data(stack, rule["record"])


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: "-".join([rule["alert"], *rule["labels"].values()]))
def test_inputs_of_alert_return_data(stack, rule):
    expression = inputs(rule["expr"])
    assert expression != rule["expr"], "no comparison found"
    assert_data(stack, expression)
    # The labels in its annotations exist.
    wanted = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
    for series in stack.query(expression):
        assert wanted <= series["metric"].keys(), series["metric"]


@pytest.mark.parametrize(("title", "query"), PANELS, ids=[f"{title} {n}" for n, (title, _) in enumerate(PANELS)])
def test_panel_returns_data(stack, title, query):
    assert_data(stack, query)


def test_labels_in_legends_exist(stack):
    for panel in panels():
        for target in panel["targets"]:
            wanted = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            for series in stack.query(for_prometheus(target["expr"])):
                assert wanted <= series["metric"].keys(), panel["title"]


def test_every_metric_exists(metrics):
    """Also where `or` would hide a name that does not exist."""
    queries = [rule["expr"] for rule in ALL] + [query for _, query in PANELS]
    for query in queries:
        assert names_in(query) <= metrics, query


def test_error_metrics_start_at_zero(stack):
    for query in ("panics_total", "queue_rejected_total", "db_errors_total", "feed_lag_seconds",
                  "rate_limited_total", "auth_file_reload_total"):
        found = stack.query(f'{query}{{job="order-service"}}')
        assert found and {s["value"][1] for s in found} == {"0"}, (query, found)


def test_only_the_failed_jobs_fire(stack):
    firing = {(s["metric"]["alertname"], s["metric"].get("namespace")) for s in stack.query('ALERTS{alertstate="firing"}')}
    assert firing == {("OrderServiceMigrationFailed", "order-service-dev"), ("OrderServiceMaintenanceFailed", "order-service-dev")}


def test_the_sample_limit_has_a_large_margin(stack):
    limit = yaml.safe_load((MONITORING / "podmonitor.yaml").read_text())["spec"]["sampleLimit"]
    for series in stack.query('scrape_samples_scraped{job="order-service"}'):
        assert float(series["value"][1]) * 4 < limit


def test_errors_become_visible(stack):
    """In every window, by route, by kind, and as a pending alert. Must run last, because it causes errors."""
    stack.database_down()
    time.sleep(3)
    stack.database_up()

    def above_zero(query):
        return any(float(series["value"][1]) > 0 for series in stack.query(query)) or None

    for rule in RECORDING:
        if "request_errors" in rule["record"]:
            until(rule["record"], lambda rule=rule: above_zero(rule["record"]))
    for title, query in PANELS:
        if title in ("Share of 5xx by route", "Errors"):
            # The errors may be older than ten seconds by now.
            assert above_zero(query.replace("[10s]", "[1m]")), title
    until("pending", lambda: above_zero('ALERTS{alertname="OrderServiceErrorBudgetBurn",long_window="1h"}'))


def test_inputs_keep_all_but_comparisons():
    """So the tests of alerts do not pass because `inputs` removes too much."""
    assert inputs('max by (n) (a{le="0.25",b!="c"}) / b{x="y"} >= 0.95') == 'max by (n) (a{le="0.25",b!="c"}) / b{x="y"}'
    assert inputs("r1h > 14.4 * 0.001\nand\nr5m > 14.4 * 0.001\n") == "r1h\nand\nr5m\n"
    assert inputs('absent(up{job="a"} == 1)') == '(up{job="a"})'
