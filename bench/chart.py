"""A bar chart as SVG, readable on light and dark pages."""

from html import escape
from statistics import median

LABELS = {"service": "this service", "pgbench": "pgbench, bare statement", "baseline": "Axum + sqlx",
          "baseline_no_ping": "Axum + sqlx, no ping", "baseline_two_rows": "Axum + sqlx, two rows",
          "baseline_same_rows": "Axum + sqlx, same rows", "pgbench_same_rows": "pgbench, same rows"}
COLOURS = {"service": "#d9480f", "pgbench": "#868e96", "baseline": "#4263eb", "baseline_no_ping": "#5c7cfa",
           "baseline_two_rows": "#748ffc", "baseline_same_rows": "#748ffc", "pgbench_same_rows": "#868e96"}
LEFT, WIDTH, ROW, GAP = 190, 430, 20, 30


def bars(results, names):
    """Requests per second of each target, with one group for each operation."""
    rounds, machine = results["throughput"]["rounds"], results["machine"]
    groups = {
        name: {t: median(r[kind]["closed"][t]["ok_per_second"] for r in rounds)
               for t in LABELS if t in rounds[0][kind]["closed"]}
        for kind, name in names.items()
    }
    most = max(max(group.values()) for group in groups.values())
    out, y = [], 34
    for name, group in groups.items():
        out.append(text(10, y, name, "font-weight='bold'"))
        y += 8
        for target, rate in group.items():
            width = WIDTH * rate / most
            out.append(text(LEFT - 8, y + 14, LABELS[target], "text-anchor='end'"))
            out.append(f"<rect x='{LEFT}' y='{y + 2}' width='{width:.1f}' height='{ROW - 4}' fill='{COLOURS[target]}'/>")
            out.append(text(LEFT + width + 6, y + 14, f"{rate:,.0f}"))
            y += ROW
        y += GAP
    caption = (f"Requests per second, 64 clients, {machine['cores']} cores shared with PostgreSQL {machine['postgresql']} "
               f"(fsync on) and the load; medians, {results['date']}")
    size = f"width='720' height='{y}' viewBox='0 0 720 {y}'"
    style = "<style>text{font:12px sans-serif;fill:#444}@media(prefers-color-scheme:dark){text{fill:#bbb}}</style>"
    return (f"<svg xmlns='http://www.w3.org/2000/svg' {size} role='img'><title>{escape(caption)}</title>{style}"
            + text(10, 14, caption) + "".join(out) + "</svg>\n")


def text(x, y, words, more=""):
    return f"<text x='{x:.1f}' y='{y}' {more}>{escape(words)}</text>"
