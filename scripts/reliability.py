#!/usr/bin/env python3
"""Writes docs/RELIABILITY.md, its pictures and the headline of README.md from the reports of `make chaos`.

    scripts/reliability.py REPORTS FUZZING ROOT
    scripts/reliability.py picture REPORT FILE

REPORTS is the directory of the reports, one JSON file for each experiment. FUZZING is the directory of the results of
scripts/fuzz.sh. ROOT is the directory of the project. Prints the number of experiments by outcome. An experiment without
a report, or a target without a result, has failed. The exit code is 1 if one has failed. The second form draws the
picture of one report.
"""

import json
import re
import sys
import tomllib
from collections import Counter
from datetime import date
from pathlib import Path
from xml.sax.saxutils import escape

sys.path.append(str(Path(__file__).parents[1] / "tests/summary"))
from summary import print_counts  # noqa: E402

WIDTH, HEIGHT, LEFT, TOP = 900, 150, 60, 24
GOOD, BAD, LATENCY, MARK = "#4c9f70", "#d1495b", "#30638e", "#666666"

# The order of the tables. An experiment that is not listed is an error: its claim must be written down here.
SECTIONS = {
    "Rolling updates": {
        "rolling update":
            "Three processes behind a balancer are replaced one by one, with a migration in between. The balancer sends "
            "requests to a process for 0.7 s after SIGTERM, and `DRAIN_DELAY` is 2.5 s. No request is repeated. Two "
            "tenants; a stream of events is resumed.",
        "rolling update without DRAIN_DELAY": "Control: the same with `DRAIN_DELAY=0s`. Requests must fail.",
    },
    "Crashes and failovers": {
        "crashes of the service on PostgreSQL": "SIGKILL at random moments; clients retry with their idempotency keys.",
        "crashes of the service on SQLite": "The same on SQLite.",
        "crashes of PostgreSQL": "PostgreSQL is stopped with `-m immediate` and started again.",
        "crashes of the service without idempotency keys":
            "Control: retries without keys. Orders must be created twice.",
        "synchronous failover": "The primary crashes and its synchronous standby is promoted.",
        "asynchronous failover":
            "Replication stops, the primary crashes, and the standby is promoted. Cursors of lost events must expire with "
            "410. It is the control of the synchronous failover as well: acknowledged orders must be lost.",
    },
    "Faults of the database": {
        "all server processes terminated": "`pg_terminate_backend` of all sessions of the service, once a second.",
        "fast restart": "`pg_ctl stop -m fast`, then start.",
        "SIGSTOP of one server process": "One session of the service hangs for 30 s.",
        "SIGSTOP of all server processes": "The database hangs for 30 s.",
        "network cut": "Connections to the database end and new ones are closed.",
        "network half-open": "Nothing arrives on open and new connections.",
        "network half-open without REQUEST_TIMEOUT":
            "Control: the same with timeouts that are longer than the fault. Requests must get no response in time.",
        "5 s of latency": "Responses of the database arrive 5 s later; the timeout of requests is 2 s.",
        "max_connections reached": "The service loses its sessions while other clients hold all connections.",
        "read-only": "`default_transaction_read_only` is switched on.",
        "lock on orders": "`LOCK TABLE orders` in another session.",
        "synchronous standby gone": "Commits wait for a standby that does not exist.",
        "disk full": "The data directory is on a file system of 160 MiB that is filled. PostgreSQL is started again "
                     "after the fault if it has shut down.",
    },
    "Secrets and TLS": {
        "rotated password": "`ALTER ROLE … PASSWORD`; the file with the URL follows 0.3 s later. No request is repeated.",
        "rotated password without the new file": "Control: the file does not change. Requests must fail.",
        "rotated API keys and JWKS":
            "API keys are replaced with an overlap, and the issuer of tokens signs with new keys. Clients use a new key of "
            "the issuer at once, 31 s after the last fetch of its keys. No request is repeated.",
        "rotated API key without an overlap": "Control: a key is removed before its clients have another one. Requests "
                                              "must get 401.",
        "verify-full":
            "`sslmode=verify-full` with a CA file under load. Controls: a wrong host, an unknown authority and a server "
            "without TLS are rejected with exit code 3 and a message that says which.",
    },
    "Overload and abuse": {
        "four times the capacity": "256 clients that create orders without a pause at `QUEUE_CAPACITY=64`. Requests must be "
                                   "rejected.",
        "pipelined requests": "60 clients that send 100 creations each without waiting for responses.",
        "slow heads and bodies": "300 clients that send a byte every 20 ms.",
        "slow readers of large pages": "300 clients that read 10 KB/s of pages of a megabyte.",
        "slow readers without RESPONSE_BUFFER_BYTES": "Control: the same without the limit. The memory must exceed 128 MiB.",
        "streams that connect and leave": "50 clients that open streams of events and leave.",
        "changes of one order": "100 clients that change the same order.",
        "requests whose client closes": "100 clients that close the connection after each request.",
        "5000 idle connections": "5000 clients that keep a connection without a request.",
        "descriptors exhausted": "512 connections at `ulimit -n 256`.",
        "unread log": "Nothing reads standard error, at `RUST_LOG=trace`. Lines must be dropped.",
    },
    "Soak": {
        "soak": "Mixed load for five minutes. Memory, descriptors and database connections at the end are within 5 % of "
                "those after the first minute.",
    },
}

INTRODUCTION = """\
Generated by `make chaos`. Do not edit. The parsers are fuzzed, see the end. Each experiment runs real processes, a real database and a real fault under load.
It fails when a response is neither right nor a 503 problem with `Retry-After`, when a response comes later than
`REQUEST_TIMEOUT` (with a tolerance for the busy machine), when an acknowledged order or change is missing, when an order
exists twice, or when `order-service audit` finds something. Faults of the database and attacks must also leave the
process running, its connections within their sum and its memory (the peak of the resident set) within 128 MiB, which the
kernel enforces; full
service must return within 5 s of the fault and within 2 s of the attack, during which `/healthz` responds. The source is
in [tests/chaos](../tests/chaos).

A control repeats an experiment without the mechanism that it tests, and must fail there. Mechanisms without a setting
have none: cursors are checked always, 503 responses need no setting, the limit of connections follows the limit of
descriptors, and lines of the log never block. `CHAOS_SEED=SEED` repeats an experiment with the same random choices.
"""

FUZZED = re.compile(r"fuzz (?P<target>\w+): (?P<outcome>\w+), (?P<runs>\d+) runs in (?P<seconds>\d+) s, "
                    r"(?P<edges>\d+) edges covered, seed (?P<seed>\d+)")
HEADLINE = re.compile(r"(?<=<!-- make chaos -->\n).*?(?=\n<!-- /make chaos -->)", re.DOTALL)


def polyline(values, scale, color):
    points = " ".join(f"{LEFT + x:.1f},{TOP + HEIGHT - y * scale:.1f}" for x, y in values)
    return f'<polyline fill="none" stroke="{color}" stroke-width="1.2" points="{points}"/>'


def merged(points, bucket):
    """At most `WIDTH` points: neighbours are added up, and the slowest attempt of them counts."""
    each = -(-len(points) // WIDTH) or 1
    groups = [points[i:i + each] for i in range(0, len(points), each)]
    return [(sum(p[0] for p in group), sum(p[1] for p in group), max(p[2] for p in group)) for group in groups], bucket * each


def picture(report):
    """Successful and failed attempts, and the slowest, over time; faults are vertical lines."""
    timeline = report["timeline"]
    points, bucket = merged(timeline["points"], timeline["bucket_seconds"])
    duration = max(len(points) * bucket, bucket)
    step = WIDTH / max(len(points), 1)
    most = max((ok + failed for ok, failed, _ in points), default=1) or 1
    slowest = max((ms for _, _, ms in points), default=1) or 1
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + LEFT + 70} {HEIGHT + TOP + 50}" '
        'font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="14">{escape(report["name"])}: '
        f'<tspan fill="{GOOD}">successful</tspan> and <tspan fill="{BAD}">failed</tspan> attempts a second, '
        f'<tspan fill="{LATENCY}">slowest attempt</tspan></text>',
        f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#cccccc"/>',
    ]
    for series, color in ((0, GOOD), (1, BAD)):
        lines.append(polyline([(i * step, point[series]) for i, point in enumerate(points)], HEIGHT / most, color))
    lines.append(polyline([(i * step, point[2]) for i, point in enumerate(points)], HEIGHT / slowest, LATENCY))
    labelled = -100
    for mark in timeline["marks"]:
        x = LEFT + min(mark["at"] / duration, 1) * WIDTH
        lines.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{TOP + HEIGHT}" stroke="{MARK}" stroke-dasharray="3 3"/>')
        # Labels of neighbouring marks would overlap.
        if x - labelled > 110:
            lines.append(f'<text x="{x:.1f}" y="{TOP + HEIGHT + 28}" fill="{MARK}">{escape(mark["text"])}</text>')
            labelled = x
    lines += [
        f'<text x="{LEFT - 4}" y="{TOP + 10}" text-anchor="end" fill="{GOOD}">{most / bucket:.0f}/s</text>',
        f'<text x="{LEFT + WIDTH + 4}" y="{TOP + 10}" fill="{LATENCY}">{slowest} ms</text>',
        f'<text x="{LEFT}" y="{TOP + HEIGHT + 14}">0 s</text>',
        f'<text x="{LEFT + WIDTH}" y="{TOP + HEIGHT + 14}" text-anchor="end">{duration:.0f} s</text>',
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def row(report, description, file):
    """A row of a table. The message of a failure is cut, because it may contain the state of a whole run."""
    result = "; ".join(f"{figure} {value:,}" for figure, value in report["figures"].items())
    if report["outcome"] != "passed":
        why = " ".join(report["why"].split())[:300].replace("|", "\\|")
        result = f"**{report['outcome']}**: `{why.replace('`', chr(39))}`" + (f"; {result}" if result else "")
    return f"| [{report['name']}](reliability/{file}): {description} | {result} | {report['seed']} |"


def fuzzed(directory, root):
    """The table of the targets, and how many have failed."""
    manifest = tomllib.loads((root / "fuzz/Cargo.toml").read_text())
    lines, failed = ["| target | outcome | runs | seconds | edges covered | seed |", "|---|---|---:|---:|---:|---:|"], 0
    for target in sorted(binary["name"] for binary in manifest["bin"]):
        file = directory / target
        match = FUZZED.match(file.read_text()) if file.exists() else None
        if not match or match["outcome"] != "ok":
            failed += 1
            print(f"fuzz {target}: failed")
        if match:
            outcome = "ok" if match["outcome"] == "ok" else "**failed**"
            lines.append(f"| {target} | {outcome} | {int(match['runs']):,} | {match['seconds']} | {match['edges']} | "
                         f"{match['seed']} |")
        else:
            lines.append(f"| {target} | **no result** | | | | |")
    return lines, failed


def revisions(found):
    """The revision of most experiments, and which were repeated at another one."""
    by_revision = {}
    for report in found.values():
        if report["outcome"] != "failed" or report["figures"]:
            by_revision.setdefault(report.get("revision") or "unknown", []).append(report["name"])
    most, *others = sorted(by_revision, key=lambda revision: -len(by_revision[revision])) or ["unknown"]
    return "; ".join([f"revision {most}", *(f"{', '.join(by_revision[other])} at {other}" for other in others)])


def headline(found, counts, failed_targets):
    """What the experiments have shown, in a sentence or two."""
    def total(figure, names=found):
        return sum(found[name]["figures"].get(figure, 0) for name in names)

    if counts["failed"] or failed_targets:
        targets = f", and {failed_targets} targets of fuzzing failed" if failed_targets else ""
        return (f"**Reliability.** {counts['passed']} experiments of [`make chaos`](docs/RELIABILITY.md) passed, "
                f"{counts['failed']} failed{targets}.")
    update = found["rolling update"]["figures"]
    # In these experiments something is lost or created twice on purpose.
    faults = [name for section in ("Crashes and failovers", "Faults of the database") for name in SECTIONS[section]
              if name not in ("asynchronous failover", "crashes of the service without idempotency keys")]
    others = len(SECTIONS["Faults of the database"]) - 1
    return (f"**Reliability.** [`make chaos`](docs/RELIABILITY.md) replaced three processes under load with a migration in "
            f"between: {update['failed']:,} of {update['requests']:,} requests failed. In {total('crashes', faults):,} crashes, "
            f"a synchronous failover and {others} other faults of the database, {total('lost', faults):,} of "
            f"{total('acknowledged orders', faults):,} acknowledged orders were lost and {total('doubled', faults):,} existed "
            "twice.")


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    if sys.argv[1] == "picture":
        Path(sys.argv[3]).write_text(picture(json.loads(Path(sys.argv[2]).read_text())))
        return
    reports, fuzzing, root = map(Path, sys.argv[1:])
    docs = root / "docs"
    found = {}
    for file in reports.glob("*.json"):
        report = json.loads(file.read_text())
        found[report["name"]] = report
    listed = [name for section in SECTIONS.values() for name in section]
    if unknown := found.keys() - set(listed):
        sys.exit(f"no description of: {', '.join(sorted(unknown))}")
    for name in listed:
        found.setdefault(name, {
            "name": name, "seed": "", "outcome": "failed", "why": "It wrote no report.", "figures": {}, "seconds": 0,
            "timeline": {"bucket_seconds": 0.1, "points": [], "marks": []},
        })
    counts = Counter(report["outcome"] for report in found.values())
    pictures = docs / "reliability"
    pictures.mkdir(exist_ok=True)
    for old in pictures.glob("*.svg"):
        old.unlink()
    minutes = sum(report["seconds"] for report in found.values()) / 60
    text = [
        "# Reliability",
        "",
        INTRODUCTION,
        f"{date.today().isoformat()}, {revisions(found)}, debug build, all processes on one machine, {minutes:.0f} minutes. "
        f"{counts['passed']} experiments passed, {counts['failed']} failed, {counts['skipped']} were skipped.",
    ]
    for section, experiments in SECTIONS.items():
        text += ["", f"## {section}", "", "| experiment and picture | figures | seed |", "|---|---|---:|"]
        for name, description in experiments.items():
            file = name.replace(" ", "-") + ".svg"
            (pictures / file).write_text(picture(found[name]))
            text.append(row(found[name], description, file))
    targets, failed_targets = fuzzed(fuzzing, root)
    text += ["", "## Fuzzing", "", "Random inputs for parsers, mutated by libFuzzer ([fuzz](../fuzz)).", "", *targets]
    (docs / "RELIABILITY.md").write_text("\n".join([*text, ""]))
    readme = root / "README.md"
    changed, headlines = HEADLINE.subn(lambda _: headline(found, counts, failed_targets), readme.read_text())
    if headlines != 1:
        sys.exit("README.md has no place for the headline")
    readme.write_text(changed)
    for report in found.values():
        if report["outcome"] != "passed":
            print(f"{report['name']}: {report['outcome']}: {report['why'][:300]}")
    print_counts("chaos", counts)
    sys.exit(1 if counts["failed"] or failed_targets else 0)


if __name__ == "__main__":
    main()
