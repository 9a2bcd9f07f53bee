"""The last lines of the run: objects without a schema, skipped tests, and the summary."""

import manifests

_counts = {"passed": 0, "failed": 0, "skipped": 0}
_reasons = {}


def pytest_runtest_logreport(report):
    if report.failed:
        _counts["failed"] += 1
    elif report.skipped:
        _counts["skipped"] += 1
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _reasons[reason] = _reasons.get(reason, 0) + 1
    elif report.when == "call":
        _counts["passed"] += 1


def pytest_collectreport(report):
    # A file that cannot be imported runs no test, but it is a failure.
    if report.failed:
        _counts["failed"] += 1


def pytest_unconfigure(config):
    if config.option.collectonly:
        return
    without_schema = sorted(manifests.WITHOUT_SCHEMA)
    if without_schema:
        print(f"schema skipped ({len(without_schema)}): {', '.join(without_schema)}")
        print("  Kubernetes publishes no schema for these kinds; test_custom_resources.py checks their structure.")
    for reason, count in _reasons.items():
        print(f"SKIPPED ({count}): {reason}")
    print(f"manifests: {_counts['passed']} passed, {_counts['failed']} failed, {_counts['skipped']} skipped")
