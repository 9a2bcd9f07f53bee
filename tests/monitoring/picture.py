"""Draws the dashboard as an SVG: its panels with titles, layout, units and thresholds, and the results of their
queries from a Prometheus that scrapes the service for three minutes.

Meanwhile the load grows, the database is stopped for four seconds, and a transaction stays open for twenty
seconds, so that the panels have data to show."""

import math
import subprocess
import sys
import time
from html import escape
from pathlib import Path

from load import Load
from monitoring import DASHBOARD
from stack import Stack
from test_live import for_prometheus

SECONDS, STEP = 180, 2
COLUMN, ROW, GAP = 50, 22, 6
COLOURS = ["#3274d9", "#e0752d", "#299c46", "#a352cc", "#c4162a", "#1f9e9e", "#b58900", "#777777", "#d6589f", "#5a7d2a"]
NAMED = {"green": "#299c46", "orange": "#e0752d", "red": "#c4162a"}


def run(stack):
    """Runs the three minutes; returns their begin and end."""
    begin = time.time()

    def wait_for(second):
        time.sleep(max(0, begin + second - time.time()))

    with Load(stack.api, clients=4):
        wait_for(50)
        with Load(stack.api, clients=8):
            wait_for(90)
            stack.database_down()
            wait_for(94)
            stack.database_up()
            wait_for(120)
            subprocess.run(
                ["psql", "-qX", stack.database_url, "-c", "BEGIN; SELECT pg_current_xact_id(); SELECT pg_sleep(20); ROLLBACK"],
                stdout=subprocess.DEVNULL, check=True)
        wait_for(SECONDS)
    return begin, begin + SECONDS


def series_of(stack, panel, begin, end):
    """[(legend, [(seconds since begin, value)])]"""
    found = []
    for target in panel["targets"]:
        data = stack.api_request("query_range", query=for_prometheus(target["expr"]), start=begin, end=end, step=STEP)
        for series in data["result"]:
            legend = target["legendFormat"]
            for name, value in series["metric"].items():
                legend = legend.replace("{{" + name + "}}", value)
            points = [(t - begin, float(v)) for t, v in series["values"]]
            found.append((legend, [(t, v) for t, v in points if math.isfinite(v)]))
    return found


def text_of(value, unit):
    if unit == "percentunit":
        return f"{value * 100:.4g} %"
    if unit == "s" and 0 < abs(value) < 1:
        return f"{value * 1000:.3g} ms"
    if unit == "s" and abs(value) >= 86400:
        return f"{value / 86400:.3g} d"
    if unit == "bytes":
        return f"{value / 2**20:.3g} MiB"
    return f"{value:.3g}" + {"s": " s", "reqps": " req/s", "cps": " /s", "ops": " ops/s"}.get(unit, "")


class Canvas:
    def __init__(self):
        self.parts = []

    def text(self, x, y, text, size=11, fill="#333", anchor="start", weight="normal"):
        self.parts.append(f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}"'
                          f' font-weight="{weight}">{escape(text)}</text>')

    def rectangle(self, x, y, w, h, fill, stroke="none"):
        self.parts.append(f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="3" fill="{fill}" stroke="{stroke}"/>')

    def line(self, points, stroke, dash="", width=1):
        path = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
        style = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="{width}"{style}/>')

    def svg(self, width, height):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
                ' font-family="Helvetica, Arial, sans-serif"><rect width="100%" height="100%" fill="#f4f5f5"/>\n'
                + "\n".join(self.parts) + "\n</svg>\n")


def thresholds(panel):
    return panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [])


def draw_stat(canvas, panel, series, x, y, w, h):
    unit = panel["fieldConfig"]["defaults"]["unit"]
    legend, points = series[0]
    value = points[-1][1]
    colour = "#333"
    for step in thresholds(panel):
        if step["value"] is None or value >= step["value"]:
            colour = NAMED.get(step["color"], colour)
    shown = legend if panel["options"]["textMode"] == "name" else text_of(value, unit)
    canvas.text(x + w / 2, y + h / 2 + 16, shown, 22, colour, "middle", "bold")


def draw_lines(canvas, panel, series, x, y, w, h):
    unit = panel["fieldConfig"]["defaults"]["unit"]
    left, right, top, bottom = x + 58, x + w - 10, y + 28, y + h - 44
    values = [value for _, points in series for _, value in points]
    low, high = min(0, *values), max(values + [0])
    if panel["fieldConfig"]["defaults"].get("custom", {}).get("thresholdsStyle", {}).get("mode") == "dashed":
        limits = [step["value"] for step in thresholds(panel) if step["value"] is not None]
        high = max(high, *limits)
    else:
        limits = []
    high = high * 1.05 or 1

    def place(t, value):
        return left + (right - left) * t / SECONDS, bottom - (bottom - top) * (value - low) / (high - low)

    for part in range(4):
        value = low + (high - low) * part / 3
        canvas.line([place(0, value), place(SECONDS, value)], "#e3e3e3")
        canvas.text(left - 4, place(0, value)[1] + 3, text_of(value, unit), 9, "#777", "end")
    for t in range(0, SECONDS + 1, 60):
        canvas.text(place(t, low)[0], bottom + 11, f"{t // 60}:{t % 60:02}", 9, "#777", "middle")
    for limit in limits:
        canvas.line([place(0, limit), place(SECONDS, limit)], NAMED["red"], "5 3")
    for number, (_, points) in enumerate(series):
        canvas.line([place(t, value) for t, value in points], COLOURS[number % len(COLOURS)], width=1.4)
    at, row = left - 50, bottom + 25
    for number, (legend, _) in enumerate(series):
        width = 16 + 5.1 * len(legend)
        if at + width > x + w and at > left - 50:
            at, row = left - 50, row + 11
        if row > y + h - 3:
            # The legend is full; Grafana would scroll.
            canvas.text(x + w - 8, y + h - 4, "…", 10, "#777", "end")
            break
        canvas.line([(at, row - 3), (at + 10, row - 3)], COLOURS[number % len(COLOURS)], width=2)
        canvas.text(at + 13, row, legend, 9)
        at += width


def draw(stack, begin, end):
    canvas = Canvas()
    height = 0
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        x, y = place["x"] * COLUMN + GAP, place["y"] * ROW + GAP
        w, h = place["w"] * COLUMN - GAP, place["h"] * ROW - GAP
        height = max(height, y + h + GAP)
        if panel["type"] == "row":
            canvas.text(x + 2, y + 14, panel["title"], 14, weight="bold")
            continue
        canvas.rectangle(x, y, w, h, "#fff", "#dcdcdc")
        canvas.text(x + 8, y + 16, panel["title"], 12, weight="bold")
        series = series_of(stack, panel, begin, end)
        assert any(points for _, points in series), f"{panel['title']} has no data"
        (draw_stat if panel["type"] == "stat" else draw_lines)(canvas, panel, series, x, y, w, h)
    return canvas.svg(24 * COLUMN + GAP, height)


def main():
    with Stack(interval=STEP) as stack:
        picture = draw(stack, *run(stack))
    Path(sys.argv[1]).write_text(picture)
    print(f"{sys.argv[1]}: {len(picture) // 1024} KiB")


if __name__ == "__main__":
    main()
