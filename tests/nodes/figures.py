"""The figures of a run: printed, and written to target/e2e-nodes.json, from which docs/OPERATIONS.md has them."""

import json
import subprocess

from kube import ROOT

FILE = ROOT / "target/e2e-nodes.json"
_figures = {}


def record(name, **values):
    """Adds a figure with its values; the names of the values contain their units."""
    _figures[name] = values
    print(f"\nfigure: {name}: " + ", ".join(f"{key}={value}" for key, value in values.items()))


def write(surroundings):
    if not _figures:
        return
    revision = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    FILE.parent.mkdir(exist_ok=True)
    content = {"revision": revision.stdout.strip(), **surroundings, "figures": _figures}
    FILE.write_text(json.dumps(content, indent=2) + "\n")
    print(f"figures: {FILE}")


def table(content):
    """The figures as the table of docs/OPERATIONS.md."""
    rows = ["| step | requests | failed | longest | duration |", "|---|---|---|---|---|"]
    for name, values in content["figures"].items():
        requests = f"{values['requests']:,}".replace(",", " ") if "requests" in values else ""
        longest = f"{values['longest_s']:.1f} s" if "longest_s" in values else ""
        seconds = f"{values['seconds']} s" if "seconds" in values else ""
        rows.append(f"| {name} | {requests} | {values.get('failed', '')} | {longest} | {seconds} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table(json.loads(FILE.read_text())))
