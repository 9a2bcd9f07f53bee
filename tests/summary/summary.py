"""Counts the outcomes of a run of pytest. A conftest.py imports the hooks, and prints the summary at the end.

scripts/reliability.py prints the outcomes of the experiments with `print_counts` as well.
"""

from collections import Counter

_counts = Counter()
_reasons = Counter()


def pytest_runtest_logreport(report):
    if report.failed:
        _counts["failed"] += 1
    elif report.skipped:
        _counts["skipped"] += 1
        _reasons[report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)] += 1
    elif report.when == "call":
        _counts["passed"] += 1


def pytest_collectreport(report):
    # A file that cannot be imported runs no test, but it is a failure.
    if report.failed:
        _counts["failed"] += 1


def print_skipped(frame=""):
    """Prints why tests were skipped, each reason between two lines of `frame`."""
    for reason, count in _reasons.items():
        print(*filter(None, (frame, f"SKIPPED ({count}): {reason}", frame)), sep="\n")


def print_counts(suite, counts=_counts):
    print(f"{suite}: {counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
