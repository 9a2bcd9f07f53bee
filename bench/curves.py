"""Curves of the latency over the rate as SVG, readable on light and dark pages."""

from html import escape
from math import ceil, floor, log10

from chart import COLOURS, text
from tail import at

LABELS = {"service": "this service", "pgbench": "pgbench, same statement", "baseline": "Axum + sqlx, same rows"}
QUANTILES = {"p50": "p50", "p99": "p99", "p999": "p99.9"}
WIDTH, HEIGHT, LEFT, TOP, GAP_X, GAP_Y = 190, 150, 46, 64, 56, 62


def curves(results, names):
    """One panel for each operation and quantile, with a logarithmic axis of milliseconds."""
    out = []
    for row, (kind, name) in enumerate(names.items()):
        points = results["tail"][kind]["points"]
        values = [at(point, target, q) for point in points for target in point["rounds"][0] for q in QUANTILES]
        low, high = floor(log10(min(values))), ceil(log10(max(values)))
        for column, (quantile, title) in enumerate(QUANTILES.items()):
            x, y = LEFT + column * (WIDTH + GAP_X), TOP + row * (HEIGHT + GAP_Y)
            out += panel(x, y, f"{name}, {title}", points, quantile, low, high)
    height = TOP + len(names) * (HEIGHT + GAP_Y)
    width = LEFT + len(QUANTILES) * (WIDTH + GAP_X)
    machine = results["machine"]
    caption = (f"Latency in milliseconds over requests per second (random arrivals); {machine['cores']} cores shared by "
               f"service, PostgreSQL {machine['postgresql']} and load")
    legend = [text(10, 14, caption)]
    for number, (target, label) in enumerate(LABELS.items()):
        x = 10 + number * 200
        legend.append(f"<line x1='{x}' x2='{x + 20}' y1='30' y2='30' stroke='{COLOURS[target]}' stroke-width='2'/>")
        legend.append(text(x + 26, 34, label))
    style = "<style>text{font:11px sans-serif;fill:#444}@media(prefers-color-scheme:dark){text{fill:#bbb}}</style>"
    size = f"width='{width}' height='{height}' viewBox='0 0 {width} {height}'"
    return (f"<svg xmlns='http://www.w3.org/2000/svg' {size} role='img'><title>{escape(caption)}</title>{style}"
            + "".join(legend + out) + "</svg>\n")


def panel(left, top, title, points, quantile, low, high):
    most = points[-1]["rate"] / points[-1]["fraction"]

    def place(rate, millis):
        height = (log10(millis) - low) / (high - low)
        return left + WIDTH * rate / most, top + HEIGHT * (1 - height)

    out = [text(left, top - 6, title, "font-weight='bold'"),
           f"<rect x='{left}' y='{top}' width='{WIDTH}' height='{HEIGHT}' fill='none' stroke='#888' stroke-opacity='.4'/>"]
    for power in range(low, high + 1):
        _, y = place(0, 10**power)
        out.append(f"<line x1='{left}' x2='{left + WIDTH}' y1='{y:.1f}' y2='{y:.1f}' stroke='#888' stroke-opacity='.3'/>")
        out.append(text(left - 4, round(y + 4, 1), f"{10**power:g}", "text-anchor='end'"))
    for target in LABELS:
        measured = [point for point in points if target in point["rounds"][0]]
        line = " ".join("{:.1f},{:.1f}".format(*place(point["rate"], at(point, target, quantile))) for point in measured)
        out.append(f"<polyline points='{line}' fill='none' stroke='{COLOURS[target]}' stroke-width='1.8'/>")
    out.append(text(left, top + HEIGHT + 14, "0"))
    out.append(text(left + WIDTH, top + HEIGHT + 14, f"{most:,.0f}/s", "text-anchor='end'"))
    return out
