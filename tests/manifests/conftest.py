"""The last lines of the run: objects without a schema, skipped tests, and the summary."""

import manifests
from summary import print_counts, print_skipped, pytest_collectreport, pytest_runtest_logreport  # noqa: F401



def pytest_unconfigure(config):
    if config.option.collectonly:
        return
    without_schema = sorted(manifests.WITHOUT_SCHEMA)
    if without_schema:
        print(f"schema skipped ({len(without_schema)}): {', '.join(without_schema)}")
        print("  Kubernetes publishes no schema for these kinds; test_custom_resources.py checks their structure.")
    print_skipped()
    print_counts("manifests")
