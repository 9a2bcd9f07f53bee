#!/usr/bin/env python3
"""Makes bench/results.md and bench/results.svg of target/bench/results.json."""

import json
import sys
from statistics import median

import chart
from processes import ROOT

NAMES = {"post": "place an order", "first_page": "first page", "get": "get by id"}
SMALL = 1.3


class Verdicts:
    """What was to be reached, and whether it was."""

    def __init__(self):
        self.rows = []

    def at_least(self, what, value, limit, unit=""):
        self.add(what, value, f"≥ {limit}{unit}", value >= limit, unit)

    def at_most(self, what, value, limit, unit=""):
        self.add(what, value, f"≤ {limit}{unit}", value <= limit, unit)

    def add(self, what, value, limit, holds, unit):
        self.rows.append((what, f"{value:.2f}{unit}", limit, holds))


def ratio(rounds, kind, target, field="ok_per_second"):
    """The median over the rounds of the service's number by another's of the same round."""
    closed = [r[kind]["closed"] for r in rounds]
    return median(c["service"][field] / c[target][field] for c in closed)


def throughput(results, verdicts):
    rounds = results["throughput"]["rounds"]
    lines = ["| | requests/s | of the service's | CPU µs a request |", "|---|---:|---:|---:|"]
    for kind, name in NAMES.items():
        for target in rounds[0][kind]["closed"]:
            runs = [r[kind]["closed"][target] for r in rounds]
            cpu = f"{median(r['cpu_us'] for r in runs):.1f}" if "cpu_us" in runs[0] else "–"
            by = "1" if target == "service" else f"1 / {ratio(rounds, kind, target):.2f}"
            label = {"service": "**this service**", "baseline": "Axum + sqlx",
                     "baseline_two_rows": "Axum + sqlx, two rows in a transaction",
                     "baseline_no_ping": "Axum + sqlx, without its ping before each use",
                     "pgbench": "pgbench, the bare statement"}[target]
            lines.append(f"| {name}: {label} | {median(r['ok_per_second'] for r in runs):,.0f} | {by} | {cpu} |")
    wanted = [("post", "baseline", 3), ("post", "baseline_two_rows", 5), ("post", "pgbench", 1.3),
              ("first_page", "baseline", 6), ("first_page", "pgbench", 2), ("get", "baseline", 3)]
    for kind, target, least in wanted:
        verdicts.at_least(f"{NAMES[kind]}: throughput by that of {target.replace('_', ' ')}",
                          ratio(rounds, kind, target), least, "×")
    refused = sum(run["service"]["failed"] + run["service"]["rejected"]
                  for r in rounds for kind in NAMES for run in (r[kind]["closed"], *r[kind]["open"].values()))
    verdicts.at_most("requests refused or failed, but for the overload", refused, 0)
    for kind, name in NAMES.items():
        verdicts.at_most(f"{name}: CPU a request by the baseline's", ratio(rounds, kind, "baseline", "cpu_us"), 1, "×")
    return lines


def latency(results, verdicts):
    rounds = results["throughput"]["rounds"]
    lines = ["| at a fixed rate | requests/s | service p50 | p99 | p99.9 | baseline p50 | p99 | p99.9 |",
             "|---|---:|---:|---:|---:|---:|---:|---:|"]
    for kind, name in NAMES.items():
        for rate, label in (("half", "half of the service's maximum"), ("baseline_half", "half of the baseline's")):
            runs = [r[kind]["open"][rate] for r in rounds]
            cells = " | ".join(f"{median(r[t][q] for r in runs):.2f}"
                               for t in ("service", "baseline") for q in ("p50", "p99", "p999"))
            lines.append(f"| {name}, {label} | {median(r[kind]['rates'][rate] for r in rounds):,.0f} | {cells} |")
        half = [r[kind]["open"]["half"] for r in rounds]
        verdicts.at_most(f"{name}: p99 by p50 at half of the maximum",
                         median(r["service"]["p99"] / r["service"]["p50"] for r in half), 2, "×")
        for rate, label in (("half", "that rate"), ("baseline_half", "half of the baseline's maximum")):
            runs = [r[kind]["open"][rate] for r in rounds]
            verdicts.at_most(f"{name}: p99 by the baseline's at {label}",
                             median(r["service"]["p99"] / r["baseline"]["p99"] for r in runs), 1, "×")
    lines += ["", "For comparison the service's `/healthz`, which needs neither queue nor database (PostgreSQL idles "
                  "then), at half of the maximum of each: " + "; ".join(probes(rounds)) + "."]
    return lines


def probes(rounds):
    for kind, name in NAMES.items():
        runs = [r[kind]["open"]["half"]["probe"] for r in rounds]
        p50, p99 = (median(r[q] for r in runs) for q in ("p50", "p99"))
        by = median(r["p99"] / r["p50"] for r in runs)
        yield f"{name}, p50 {p50:.2f} and p99 {p99:.2f} ms ({by:.1f}×)"


def memory(results, verdicts):
    m = results["memory"]
    loaded = max(m["loaded_peak_mib"], results.get("throughput", {}).get("memory_peak_mib", {}).get("service", 0))
    verdicts.at_most(f"resident memory, idle, {m['idle_connections']} database connections", m["idle_mib"], 12, " MiB")
    verdicts.at_most("resident memory, peak, 64 clients at full load", loaded, 24, " MiB")
    verdicts.at_most(f"resident memory, {m['idle_clients']} idle keep-alive clients that have read an order", m["idle_clients_mib"], 64, " MiB")


def attacks(results, verdicts):
    """With the settings of overlays/prod, whose limit is 128 MiB."""
    for name, figures in results["attacks"]["attacks"].items():
        verdicts.at_most(f"resident memory, peak: {name}", figures["memory_peak_mib"], 128, " MiB")
        if "database_connections" in figures:
            most = int(results["attacks"]["settings"]["POOL_MAX_SIZE"]) + 2
            verdicts.at_most(f"connections to the database: {name}", figures["database_connections"], most)


def recording(verdicts):
    """What the benchmark of Cargo found (`cargo bench --bench record`)."""
    found = ROOT / "target/criterion/record of a request/new/estimates.json"
    if found.exists():
        nanoseconds = json.loads(found.read_text())["median"]["point_estimate"]
        verdicts.at_most("recording a request: gauge, timer, metrics", nanoseconds, 200, " ns")


def start(results, verdicts):
    for name, limit in (("sqlite", 10), ("postgres", 50)):
        verdicts.at_most(f"start to the first 200 on /readyz, {name}", median(results["start"][name]), limit, " ms")


def overload(results, verdicts):
    o = results["overload"]
    rounds = o["rounds"]
    goodput = median(r["over"]["ok_per_second"] / r["maximum"]["ok_per_second"] for r in rounds)
    answered = median((r["over"]["ok"] + r["over"]["rejected"]) / results["seconds"] for r in rounds)
    verdicts.at_least("overload: accepted, by the maximum", goodput, 0.9, "×")
    verdicts.at_most("overload: p99 of the accepted", median(r["over"]["p99"] for r in rounds), 1000, " ms")
    verdicts.at_most("overload: refused without Retry-After, or failed",
                     sum(r["over"]["rejected_without_retry_after"] + r["over"]["failed"] for r in rounds), 0)
    # Bounded: once every client has had its turns, more overload takes no more memory.
    peaks = [r["memory_peak_mib"] for r in rounds]
    verdicts.at_most("overload: resident memory, peak after the last round by that before", peaks[-1] / peaks[-2], 1.02, "×")
    due = median(r["rate"] for r in rounds)
    return [f"Overload: {due:,.0f} requests/s were due over {o['clients']:,} connections. The load generator shares the "
            f"cores with the service and the database and runs at the lowest priority here; {answered:,.0f} requests a second were "
            "answered, accepted or refused, and what was due beyond what it could send was never sent. "
            f"Resident memory peaked at {peaks[-1]:.0f} MiB."]


def growth(results, verdicts):
    g = results["growth"]
    lines = [f"| one client, median ms | {g['rows']['small']:,} orders | {g['rows']['large']:,} orders | ratio |",
             "|---|---:|---:|---:|"]
    for name, rounds in g["operations"].items():
        by = median(r["large"]["p50"] / r["small"]["p50"] for r in rounds)
        small, large = (median(r[size]["p50"] for r in rounds) for size in ("small", "large"))
        lines.append(f"| {name} | {small:.3f} | {large:.3f} | {by:.2f} |")
        verdicts.at_most(f"growth: {name}", by, SMALL, "×")
    return lines


def sizing(results):
    rounds = results["throughput"]["rounds"]
    m, cores = results["memory"], results["machine"]["cores"]
    a_client = (m["idle_clients_mib"] - m["idle_mib"]) * 1024 / m["idle_clients"]
    lines = ["| for sizing | |", "|---|---:|"]
    for kind, name in NAMES.items():
        rate = median(r[kind]["closed"]["service"]["ok_per_second"] for r in rounds)
        cpu = median(r[kind]["closed"]["service"]["cpu_us"] for r in rounds)
        lines.append(f"| {name}: requests/s for each core of the whole machine (service, PostgreSQL and load) | {rate / cores:,.0f} |")
        lines.append(f"| {name}: requests/s for each core that the service alone uses | {1e6 / cpu:,.0f} |")
    lines.append(f"| resident memory for each idle client connection | {a_client:.1f} KiB |")
    return lines


def main():
    results = json.loads((ROOT / "target/bench/results.json").read_text())
    machine, verdicts = results["machine"], Verdicts()
    text = ["# Results", "",
            "Written by `make bench`; do not edit. What is measured and how: [docs/PERFORMANCE.md](../docs/PERFORMANCE.md).", "",
            f"{results['date']}, revision {results['revision']}; {machine['cpu']}, {machine['cores']} cores for everything together, "
            f"{machine['memory_gib']} GiB, Linux {machine['kernel']}; PostgreSQL {machine['postgresql']} with its default "
            f"settings (fsync on) on the same machine; {results['rounds']} rounds of {results['seconds']} s, interleaved; "
            "medians, and medians of the ratios within a round.", ""]
    parts = {"throughput": throughput, "latency": latency, "memory": memory, "attacks": attacks, "start": start, "overload": overload,
             "growth": growth}
    body = []
    for name, part in parts.items():
        if (name if name != "latency" else "throughput") in results:
            lines = part(results, verdicts)
            body += [*lines, ""] if lines else []
        else:
            body += [f"Not measured in this run: {name}.", ""]
    text += ["![Requests a second, by the baseline](results.svg)", "", *body]
    if "throughput" in results and "memory" in results:
        text += [*sizing(results), ""]
    recording(verdicts)
    text += ["| to reach | measured | limit | |", "|---|---:|---:|---|"]
    text += [f"| {what} | {value} | {limit} | {'holds' if holds else '**does not hold**'} |"
             for what, value, limit, holds in verdicts.rows]
    held = sum(holds for *_, holds in verdicts.rows)
    text += ["", f"{held} of {len(verdicts.rows)} hold.", ""]
    (ROOT / "bench/results.md").write_text("\n".join(text))
    if "throughput" in results:
        (ROOT / "bench/results.svg").write_text(chart.bars(results, NAMES))
    sys.stdout.write("\n".join(text[4:]))


if __name__ == "__main__":
    main()
