#!/usr/bin/env python3
"""Writes docs/RELIABILITY.md and its pictures from the reports of `make chaos`.

    scripts/reliability.py REPORTS DOCS

REPORTS is the directory of the reports, one JSON file for each experiment. DOCS is the directory of the documents.
"""

import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, TOP = 900, 150, 60, 24
GOOD, BAD, LATENCY, MARK = "#4c9f70", "#d1495b", "#30638e", "#666666"

# The order of the table. An experiment that is not listed is an error: its claim must be written down here.
EXPERIMENTS = {
    "rolling update": "Three processes behind a balancer are replaced one by one, with a migration in between. The balancer "
                      "sends requests to a process for 0.7 s after SIGTERM. No request is repeated.",
    "rolling update without DRAIN_DELAY": "Control: the same with `DRAIN_DELAY=0s`. Requests must fail.",
    "crashes of the service on PostgreSQL": "SIGKILL at random moments; clients retry with their idempotency keys.",
    "crashes of the service on SQLite": "The same on SQLite.",
    "crashes of PostgreSQL": "PostgreSQL is stopped with `-m immediate` and started again.",
    "crashes of the service without idempotency keys": "Control: retries without keys. Orders must be created twice.",
    "synchronous failover": "The primary crashes, its synchronous standby is promoted.",
    "asynchronous failover": "Replication stops, the primary crashes, the standby is promoted. Cursors of lost events must expire.",
    "all server processes terminated": "`pg_terminate_backend` of all sessions of the service, once a second.",
    "fast restart": "`pg_ctl restart -m fast`.",
    "SIGSTOP of one server process": "One session of the service hangs.",
    "SIGSTOP of all server processes": "The database hangs.",
    "network cut": "Connections to the database end and new ones are closed.",
    "network half-open": "Nothing arrives on open and new connections.",
    "5 s of latency": "Responses of the database arrive 5 s later; the timeout of requests is 3 s.",
    "max_connections reached": "The service loses its sessions while other clients hold all connections.",
    "read-only": "`default_transaction_read_only` is switched on.",
    "lock on orders": "`LOCK TABLE orders` in another session.",
    "synchronous standby gone": "Commits wait for a standby that does not exist.",
    "rotated password": "`ALTER ROLE … PASSWORD`; the file with the URL follows 0.3 s later. No request is repeated.",
    "four times the capacity": "60 clients with 20 pipelined creations each.",
    "slow heads and bodies": "300 clients that send a byte every 100 ms.",
    "slow readers of large pages": "100 clients that read 10 KB/s of pages of a megabyte.",
    "streams that connect and leave": "50 clients that open streams of events and leave.",
    "changes of one order": "100 clients that change the same order.",
    "requests whose client closes": "100 clients that close the connection after each request.",
    "5000 idle connections": "5000 clients that keep a connection without a request.",
    "soak": "Mixed load. Memory, descriptors and database connections after the first minute and at the end.",
}


def polyline(values, scale, color):
    points = " ".join(f"{LEFT + x:.1f},{TOP + HEIGHT - y * scale:.1f}" for x, y in values)
    return f'<polyline fill="none" stroke="{color}" stroke-width="1.2" points="{points}"/>'


def picture(report):
    """Successful and failed attempts, and the slowest, over time; faults are vertical lines."""
    timeline = report["timeline"]
    points, bucket = timeline["points"], timeline["bucket_seconds"]
    duration = max(len(points) * bucket, bucket)
    step = WIDTH / max(len(points), 1)
    most = max((ok + failed for ok, failed, _ in points), default=1) or 1
    slowest = max((ms for _, _, ms in points), default=1) or 1
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH + LEFT + 70} {HEIGHT + TOP + 50}" font-family="sans-serif" font-size="11">',
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
        x = LEFT + mark["at"] / duration * WIDTH
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


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    reports, docs = Path(sys.argv[1]), Path(sys.argv[2])
    read = [json.loads(file.read_text()) for file in reports.glob("*.json")]
    found = {report["name"]: report for report in read}
    if unknown := found.keys() - EXPERIMENTS.keys():
        sys.exit(f"no description of: {', '.join(sorted(unknown))}")
    if missing := EXPERIMENTS.keys() - found.keys():
        sys.exit(f"no report of: {', '.join(sorted(missing))}")
    if short := [name for name, report in found.items() if not report["long"]]:
        sys.exit(f"only the short version ran: {', '.join(sorted(short))}")
    pictures = docs / "reliability"
    pictures.mkdir(exist_ok=True)
    revision = subprocess.run(["git", "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"],
                              capture_output=True, text=True, check=True).stdout.strip()
    text = [
        "# Reliability",
        "",
        "Generated by `make chaos`. Do not edit. Each experiment runs real processes, a real database and a real fault under "
        "load, and fails when a response is neither right nor a 503 with `Retry-After`, when an acknowledged order or change "
        "is missing, when an order exists twice, or when `order-service audit` finds something. Its source is in "
        "[tests/chaos](../tests/chaos).",
        "",
        f"{date.today().isoformat()}, revision {revision}, debug build, all processes on one machine.",
        "",
        "| experiment | figures | seed |",
        "|---|---|---:|",
    ]
    for name, description in EXPERIMENTS.items():
        report = found[name]
        file = name.replace(" ", "-") + ".svg"
        (pictures / file).write_text(picture(report))
        figures = "; ".join(f"{figure} {value:,}" for figure, value in report["figures"].items())
        text.append(f"| [{name}](reliability/{file}): {description} | {figures} | {report['seed']} |")
    (docs / "RELIABILITY.md").write_text("\n".join([*text, ""]))


if __name__ == "__main__":
    main()
