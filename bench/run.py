#!/usr/bin/env python3
"""Measures the service and the baselines in one run, interleaved.

    bench/run.py [--rounds N] [--seconds S] [--rows N] [--only PART,… [--add]]

Parts: throughput, access, instructions, memory, attacks, start, overload, growth, tail. All numbers are written to
target/bench/results.json, from which bench/report.py generates bench/results.md, bench/tail.md and their charts.
"""

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import access
import attacks
import growth
import parts
import tail
from processes import ROOT, Cluster

PARTS = ["throughput", "access", "instructions", "memory", "attacks", "start", "overload", "growth", "tail"]
MODULES = {"access": access, "instructions": access, "attacks": attacks, "growth": growth, "tail": tail}
# What describes a run. With --add, parts are from several runs.
RUN = ["date", "revision", "rounds", "seconds"]


def machine():
    cpu = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())[1])
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 1024 / 1024),
        "kernel": re.match(r"[\d.]*", platform.release())[0],
    }


def revision():
    """The measured commit, with a plus if the working tree has changes."""
    git = ["git", "-C", ROOT, "describe", "--always", "--abbrev=12", "--exclude=*", "--dirty=+"]
    return subprocess.run(git, capture_output=True, text=True).stdout.strip() or "unknown"


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=int, default=5)
    options.add_argument("--rows", type=int, default=10_000_000, help="events of the large database")
    options.add_argument("--only", default=",".join(PARTS))
    options.add_argument("--add", action="store_true", help="keep the numbers of other parts from the run before")
    options = options.parse_args()
    output = ROOT / "target/bench/results.json"
    before = json.loads(output.read_text()) if options.add else {}
    wanted = options.only.split(",")
    if unknown := set(wanted) - set(PARTS):
        sys.exit(f"unknown part: {', '.join(unknown)}; known parts: {', '.join(PARTS)}")

    with Cluster() as cluster:
        results = {
            "date": datetime.date.today().isoformat(),
            "revision": revision(),
            "machine": machine() | {"postgresql": cluster.version()},
            "rounds": options.rounds,
            "seconds": options.seconds,
        }
        for part in PARTS:
            if part in wanted:
                print(f"== {part}", flush=True)
                module = MODULES.get(part, parts)
                results[part] = getattr(module, part)(cluster, options)
                results.setdefault("measured", {})[part] = {name: results[name] for name in RUN}
    for name, value in before.items():
        results.setdefault(name, value)
    results["measured"] = before.get("measured", {}) | results["measured"]
    output.write_text(json.dumps(results, indent=1))
    print(f"numbers in {output.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
