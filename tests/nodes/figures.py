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
