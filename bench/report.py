#!/usr/bin/env python3
"""Generates bench/results.md and bench/tail.md with their pictures from target/bench/results.json."""

import json
import sys
from math import inf
from statistics import median

import chart
import curves
from processes import ROOT
from tail import STOLEN, at

NAMES = {"post": "create", "first_page": "first page", "get": "get by id"}
# Titles of the targets, and their names in the list of goals.
TITLES = {"service": "**this service**", "baseline": "Axum + sqlx",
          "baseline_two_rows": "Axum + sqlx, two rows in a transaction",
          "baseline_same_rows": "Axum + sqlx, the same four rows in a transaction",
          "baseline_no_ping": "Axum + sqlx, without its ping before each use",
          "pgbench": "pgbench, the bare statement",
          "pgbench_same_rows": "pgbench, the same four rows in one statement"}
GOALS = {"baseline": "Axum + sqlx", "baseline_two_rows": "Axum + sqlx with two rows",
         "baseline_same_rows": "Axum + sqlx with the same rows", "pgbench": "pgbench",
         "pgbench_same_rows": "pgbench with the same rows"}
# How many times slower an operation may be on the large table.
GROWTH_LIMIT = 1.3
# A hundred times as many rows make a B-tree one level deeper, so a descent touches four pages instead of three. A scan
# would touch a hundred times as many.
PAGES_LIMIT = 1.5
# What an order of one line may cost in the database, relative to the same rows with primary keys as their only indexes.
DATABASE_LIMIT = 1.33
# What the verification of credentials may cost.
CREDENTIAL_LIMIT = 1.05
# How busy the processors may be where p99 is compared with p50.
BUSY_LIMIT = 0.4
ACCESS = {"post": "create", "get": "get by id"}
CREDENTIALS = {"none": "none", "api_key": "an API key", "token": "an RS256 token"}
INFORMATION = "fewer rows than the service writes; for information"


class Verdicts:
    """The goals, and whether they hold."""

    def __init__(self):
        self.rows = []

    def at_least(self, what, value, limit, unit=""):
        self.add(what, value, f"≥ {limit}{unit}", value >= limit, unit)

    def at_most(self, what, value, limit, unit=""):
        self.add(what, value, f"≤ {limit}{unit}", value <= limit, unit)

    def add(self, what, value, limit, holds, unit):
        self.rows.append((what, f"{value:.2f}{unit}", limit, "holds" if holds else "**does not hold**"))

    def for_information(self, what, value, limit, unit):
        """A former goal, whose comparison is not one of equals. It is shown and does not count."""
        self.rows.append((what, f"{value:.2f}{unit}", f"≥ {limit}{unit}", INFORMATION))


def ratio(rounds, kind, target, field="ok_per_second"):
    """The median over the rounds of the service's number divided by the target's in the same round."""
    closed = [r[kind]["closed"] for r in rounds]
    return median(c["service"][field] / c[target][field] for c in closed)


def throughput(results, verdicts):
    rounds = results["throughput"]["rounds"]
    lines = ["| | requests per second | relative to the service | CPU µs per request | and in the database |",
             "|---|---:|---:|---:|---:|"]
    for kind, name in NAMES.items():
        for target in rounds[0][kind]["closed"]:
            runs = [r[kind]["closed"][target] for r in rounds]
            cpu = f"{median(r['cpu_us'] for r in runs):.1f}" if "cpu_us" in runs[0] else "–"
            relative = "1" if target == "service" else f"{1 / ratio(rounds, kind, target):.2f}"
            rate = median(r["ok_per_second"] for r in runs)
            database = median(r["database_cpu_us"] for r in runs)
            lines.append(f"| {name}: {TITLES[target]} | {rate:,.0f} | {relative} | {cpu} | {database:.1f} |")
    wanted = [("post", "baseline_same_rows", 5), ("post", "pgbench_same_rows", 1.3),
              ("first_page", "baseline", 6), ("first_page", "pgbench", 2), ("get", "baseline", 3)]
    fewer_rows = [("post", "baseline", 3), ("post", "baseline_two_rows", 5), ("post", "pgbench", 1.3)]
    for kind, target, least in wanted + fewer_rows:
        judge = verdicts.for_information if (kind, target, least) in fewer_rows else verdicts.at_least
        judge(f"{NAMES[kind]}: throughput relative to {GOALS[target]}", ratio(rounds, kind, target), least, "×")
    lines += ["", "Each created order has one line and an idempotency key, so the service writes four rows: the order, its "
                  "line, its event and the key with the document that a replay sends. The goals 5× and 1.3× are judged against the "
                  "comparators that write the same rows and columns. They, and the goal 3×, were set against Axum + "
                  "sqlx with one row and with two, and pgbench with one, when the service stored no separate rows for keys and "
                  "lines; these ratios compare fewer rows than the service writes, and are shown for information."]
    for target in ("baseline_same_rows", "pgbench_same_rows"):
        verdicts.at_most(f"create: CPU in the database per order relative to {GOALS[target]}",
                         ratio(rounds, "post", target, "database_cpu_us"), DATABASE_LIMIT, "×")
    rejected = sum(run["service"]["failed"] + run["service"]["rejected"]
                  for r in rounds for kind in NAMES for run in (r[kind]["closed"], *r[kind]["open"].values()))
    verdicts.at_most("requests rejected or failed, without the overload", rejected, 0)
    for kind, name in NAMES.items():
        verdicts.at_most(f"{name}: CPU per request relative to the baseline", ratio(rounds, kind, "baseline", "cpu_us"), 1, "×")
    return lines


def latency(results, verdicts):
    rounds = results["throughput"]["rounds"]
    lines = ["| at a fixed rate (latency in ms) | requests per second | service p50 | p99 | p99.9 | baseline p50 | p99 | p99.9 |",
             "|---|---:|---:|---:|---:|---:|---:|---:|"]
    for kind, name in NAMES.items():
        for rate, label in (("half", "half of the service's maximum"), ("baseline_half", "half of the baseline's maximum")):
            runs = [r[kind]["open"][rate] for r in rounds]
            cells = " | ".join(f"{median(r[t][q] for r in runs):.2f}"
                               for t in ("service", "baseline") for q in ("p50", "p99", "p999"))
            lines.append(f"| {name}, {label} | {median(r[kind]['rates'][rate] for r in rounds):,.0f} | {cells} |")
        half = [r[kind]["open"]["half"] for r in rounds]
        verdicts.at_most(f"{name}: p99 relative to p50 at half of the maximum",
                         median(r["service"]["p99"] / r["service"]["p50"] for r in half), 2, "×")
        for rate, label in (("half", "half of the service's maximum"), ("baseline_half", "half of the baseline's maximum")):
            runs = [r[kind]["open"][rate] for r in rounds]
            verdicts.at_most(f"{name}: p99 relative to the baseline at {label}",
                             median(r["service"]["p99"] / r["baseline"]["p99"] for r in runs), 1, "×")
    lines += ["", "For comparison, the service's `/healthz`, which needs neither queue nor database (PostgreSQL is idle "
                  "then), at half of the service's maximum for each operation: " + "; ".join(probes(rounds)) + "."]
    return lines


def probes(rounds):
    for kind, name in NAMES.items():
        runs = [r[kind]["open"]["half"]["probe"] for r in rounds]
        p50, p99 = (median(r[q] for r in runs) for q in ("p50", "p99"))
        relative = median(r["p99"] / r["p50"] for r in runs)
        yield f"{name}, p50 {p50:.2f} and p99 {p99:.2f} ms ({relative:.1f}×)"


def access(results, verdicts):
    rounds = results["access"]["rounds"]
    counts = results.get("instructions")
    lines = ["| credentials | " + " | ".join(f"{ACCESS[kind]}: CPU µs | instructions" for kind in ACCESS) + " |",
             "|---|" + "---:|" * 2 * len(ACCESS)]
    for name, title in CREDENTIALS.items():
        cells = []
        for kind in ACCESS:
            cells.append(f"{median(r[kind][name]['cpu_us'] for r in rounds):.1f}")
            cells.append(f"{counts[kind][name]:,.0f}" if counts else "not measured")
        lines.append(f"| {title} | {' | '.join(cells)} |")
    for kind, operation in ACCESS.items():
        for name, title in list(CREDENTIALS.items())[1:]:
            what = f"{operation} with {title}, relative to no credentials"
            relative = median(r[kind][name]["cpu_us"] / r[kind]["none"]["cpu_us"] for r in rounds)
            verdicts.at_most(f"{what}: CPU per request", relative, CREDENTIAL_LIMIT, "×")
            if counts:
                relative = counts[kind][name] / counts[kind]["none"]
                verdicts.at_most(f"{what}: instructions per request", relative, CREDENTIAL_LIMIT, "×")
    return lines


def memory(results, verdicts):
    m = results["memory"]
    loaded = max(m["loaded_peak_mib"], results.get("throughput", {}).get("memory_peak_mib", {}).get("service", 0))
    verdicts.at_most(f"resident memory, idle, {m['idle_connections']} database connections", m["idle_mib"], 12, " MiB")
    verdicts.at_most("resident memory, peak, 64 clients at full load", loaded, 24, " MiB")
    verdicts.at_most(f"resident memory, {m['idle_clients']} idle clients that have read an order", m["idle_clients_mib"], 64, " MiB")


def attacks(results, verdicts):
    """With the settings of overlays/prod, whose limit is 128 MiB."""
    for name, figures in results["attacks"]["attacks"].items():
        verdicts.at_most(f"resident memory, peak: {name}", figures["memory_peak_mib"], 128, " MiB")
        if "database_connections" in figures:
            most = int(results["attacks"]["settings"]["POOL_MAX_SIZE"]) + 2
            verdicts.at_most(f"connections to the database: {name}", figures["database_connections"], most)


def recording(verdicts):
    """The result of `cargo bench --bench record`."""
    found = ROOT / "target/criterion/record of a request/new/estimates.json"
    if found.exists():
        nanoseconds = json.loads(found.read_text())["median"]["point_estimate"]
        verdicts.at_most("record of a request: gauge, timer, metrics", nanoseconds, 200, " ns")


def start(results, verdicts):
    for name, limit in (("sqlite", 10), ("postgres", 50)):
        verdicts.at_most(f"start to the first 200 on /readyz, {name}", median(results["start"][name]), limit, " ms")


def overload(results, verdicts):
    o = results["overload"]
    rounds = o["rounds"]
    goodput = median(r["over"]["ok_per_second"] / r["maximum"]["ok_per_second"] for r in rounds)
    responses = median((r["over"]["ok"] + r["over"]["rejected"]) / results["measured"]["overload"]["seconds"] for r in rounds)
    verdicts.at_least("overload: accepted requests relative to the maximum", goodput, 0.9, "×")
    verdicts.at_most("overload: p99 of accepted requests", median(r["over"]["p99"] for r in rounds), 1000, " ms")
    verdicts.at_most("overload: requests rejected without Retry-After, or failed",
                     sum(r["over"]["rejected_without_retry_after"] + r["over"]["failed"] for r in rounds), 0)
    # Memory is bounded: once every client has sent requests, more overload needs no more.
    peaks = [r["memory_peak_mib"] for r in rounds]
    verdicts.at_most("overload: peak of resident memory in the last round relative to the round before", peaks[-1] / peaks[-2], 1.02, "×")
    due = median(r["rate"] for r in rounds)
    return [f"Overload: {due:,.0f} requests per second were due over {o['clients']:,} connections. The load generator shares "
            f"the cores with the service and the database, with the lowest priority, and could not send them all: "
            f"{responses:,.0f} requests per second got a response, accepted or rejected. "
            f"Resident memory peaked at {peaks[-1]:.0f} MiB."]


def growth(results, verdicts):
    g = results["growth"]
    small, large = (f"{g['events'][size]:,} events" for size in ("small", "large"))
    lines = [f"| latency of one client, median ms | {small} | {large} | ratio | pages touched | and with {large} |",
             "|---|---:|---:|---:|---:|---:|"]
    for name, rounds in g["operations"].items():
        relative = median(r["large"]["p50"] / r["small"]["p50"] for r in rounds)
        small, large = (median(r[size]["p50"] for r in rounds) for size in ("small", "large"))
        few, many = (g["pages"][size][name] for size in ("small", "large"))
        lines.append(f"| {name} | {small:.3f} | {large:.3f} | {relative:.2f} | {few:.0f} | {many:.0f} |")
        verdicts.at_most(f"growth: {name}", relative, GROWTH_LIMIT, "×")
        verdicts.at_most(f"growth: {name}: pages touched", many / few, PAGES_LIMIT, "×")
    return lines


def tail(results, verdicts):
    lines = ["| latency in ms, random arrivals | rate per second | service p50 | p99 | p99.9 | pgbench p50 | p99 | p99.9 | "
             "baseline p50 | p99 | p99.9 | processors busy | context switches per request |", "|---|" + "---:|" * 12]
    for kind, name in NAMES.items():
        points = results["tail"][kind]["points"]
        for point in points:
            latencies = [at(point, target, q) for target in curves.LABELS for q in curves.QUANTILES]
            cells = " | ".join("–" if latency is None else f"{latency:.2f}" for latency in latencies)
            lines.append(f"| {name}, {point['fraction']:.0%} | {point['rate']:,.0f} | {cells} | "
                         f"{at(point, 'service', 'busy'):.0%} | {at(point, 'service', 'switches'):.1f} |")
        quiet = [point for point in points if at(point, "service", "busy") <= BUSY_LIMIT]
        relative = median(r["service"]["p99"] / r["service"]["p50"] for r in quiet[-1]["rounds"]) if quiet else inf
        verdicts.at_most(f"{name}: p99 relative to p50 at the highest rate with processors at most {BUSY_LIMIT:.0%} busy",
                         relative, 2, "×")
        for target, same, limit in (("pgbench", "statement", 1.2), ("baseline", "rows", 1)):
            for quantile in ("p99", "p999"):
                ratios = [median(r["service"][quantile] / r[target][quantile] for r in point["rounds"])
                          for point in points if target in point["rounds"][0]]
                verdicts.at_most(f"{name}: {curves.QUANTILES[quantile]} relative to {target} with the same {same}, worst of {len(ratios)} rates",
                                 max(ratios, default=inf), limit, "×")
    measured = [result for kind in NAMES for point in results["tail"][kind]["points"]
                for number in point["rounds"] for result in number.values()]
    repeated = sum(result["repeated"] for result in measured)
    disturbed = sum(result["stolen"] > STOLEN for result in measured)
    lines += ["", f"{repeated} measurements were repeated because the hypervisor took more than {STOLEN:.1%} of the processors. "
                  f"In {disturbed} of {len(measured)} it took more each time; the least disturbed one counts."]
    return lines


def sizing(results):
    rounds = results["throughput"]["rounds"]
    m, cores = results["memory"], results["machine"]["cores"]
    a_client = (m["idle_clients_mib"] - m["idle_mib"]) * 1024 / m["idle_clients"]
    lines = ["| for sizing | |", "|---|---:|"]
    for kind, name in NAMES.items():
        rate = median(r[kind]["closed"]["service"]["ok_per_second"] for r in rounds)
        cpu = median(r[kind]["closed"]["service"]["cpu_us"] for r in rounds)
        lines.append(f"| {name}: requests per second per core of the machine (service, PostgreSQL and load) | {rate / cores:,.0f} |")
        lines.append(f"| {name}: requests per second per core used by the service alone | {1e6 / cpu:,.0f} |")
    lines.append(f"| resident memory per idle client connection | {a_client:.1f} KiB |")
    return lines


def heading(results, title, run):
    """The beginning of a document about the parts of one run."""
    machine = results["machine"]
    return [f"# {title}", "",
            "Generated by `make bench`. Do not edit. [docs/PERFORMANCE.md](../docs/PERFORMANCE.md) describes what is measured and how.", "",
            f"{run['date']}, revision {run['revision']}; {machine['cpu']}, {machine['cores']} cores shared by all processes, "
            f"{machine['memory_gib']} GiB, Linux {machine['kernel']}; PostgreSQL {machine['postgresql']} with its default "
            f"settings (fsync on) on the same machine; {run['rounds']} rounds of {run['seconds']} s, interleaved; "
            "medians of the rounds; ratios are medians of the ratios within a round.", ""]


def judged(verdicts):
    """The table of the goals."""
    counted = [verdict for *_, verdict in verdicts.rows if verdict != INFORMATION]
    return ["| goal | measured | limit | |", "|---|---:|---:|---|", *(f"| {' | '.join(row)} |" for row in verdicts.rows),
            "", f"{counted.count('holds')} of {len(counted)} hold.", ""]


def whole(results):
    """The document of all parts but the tail."""
    verdicts = Verdicts()
    text = heading(results, "Results", results)
    runs = {part: run for part, run in results["measured"].items()
            if part != "tail" and any(results[name] != value for name, value in run.items())}
    if runs:
        named = "; ".join(f"{part} on {run['date']} at {run['revision']}, {run['rounds']} rounds of {run['seconds']} s"
                          for part, run in runs.items())
        text += [f"Measured in runs of their own: {named}.", ""]
    body = []
    for name, part in PARTS.items():
        if (name if name != "latency" else "throughput") in results:
            lines = part(results, verdicts)
            body += [*lines, ""] if lines else []
        else:
            body += [f"Not measured in this run: {name}.", ""]
    text += ["![Requests per second of each target](results.svg)", "", *body]
    if "throughput" in results and "memory" in results:
        text += [*sizing(results), ""]
    recording(verdicts)
    return text + judged(verdicts)


PARTS = {"throughput": throughput, "latency": latency, "access": access, "memory": memory, "attacks": attacks, "start": start,
         "overload": overload, "growth": growth}


def main():
    results = json.loads((ROOT / "target/bench/results.json").read_text())
    documents = []
    if PARTS.keys() & results.keys():
        documents.append(("results.md", whole(results)))
    if "throughput" in results:
        (ROOT / "bench/results.svg").write_text(chart.bars(results, NAMES))
    if "tail" in results:
        verdicts = Verdicts()
        text = heading(results, "The tail of the latency", results["measured"]["tail"])
        text += ["![Latency over the rate](tail.svg)", "", *tail(results, verdicts), "", *judged(verdicts)]
        documents.append(("tail.md", text))
        (ROOT / "bench/tail.svg").write_text(curves.curves(results, NAMES))
    for name, text in documents:
        (ROOT / "bench" / name).write_text("\n".join(text))
        sys.stdout.write("\n".join(text[4:]))


if __name__ == "__main__":
    main()
