#!/usr/bin/env python3
"""Draws the top-level modules of src/ and their imports as an SVG.

    draw-modules.py FILE            write the picture
    draw-modules.py --check FILE    exit 1 if the picture in FILE is not the one that would be drawn

An arrow is a path `crate::MODULE` in the code of another module. Comments and unit tests do not count. The
description in a box comes from the list in src/lib.rs, or else from the first sentence of the module's own
documentation. The picture depends only on the sources, so the check is exact.
"""

import re
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "src"

# Crates of this workspace that the service imports, by the name used in code.
CRATES = {"order_logging": "crates/logging"}

BOX_WIDTH, BOX_HEIGHT = 206, 66
GAP, LAYER_GAP, MARGIN = 22, 54, 20
# Space for a line that passes a layer between two boxes.
LANE = 14
DIRECT, IMPLIED = "#3b5b8c", "#c3cede"


def code_of(file):
    """The code of a file without comments and without the unit tests at its end."""
    text = re.split(r"#\[cfg\(test\)\]\s*mod tests \{", file.read_text())[0]
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    return re.sub(r"(?m)//.*$", "", text)


def imports_in(code):
    """The modules and crates that some code names, also inside `use crate::{…}`."""
    found = set(re.findall(r"(?<![\w:])(?:crate|order_service)::(\w+)", code))
    for group in re.findall(r"(?<![\w:])(?:crate|order_service)::\{(.*?)\};", code, re.S):
        # Only the first name of each element is a module; names in nested braces are inside that module.
        while "{" in group:
            flat = re.sub(r"\{[^{}]*\}", "", group)
            if flat == group:
                break
            group = flat
        found |= {element.strip().split("::")[0].split(" ")[0] for element in group.split(",")}
    return found | {path for name, path in CRATES.items() if re.search(rf"\b{name}::", code)}


def modules():
    """name → (its files, its root file). Unit tests in files of their own are left out."""
    found = {}
    for file in sorted(SOURCES.rglob("*.rs")):
        name = file.relative_to(SOURCES).parts[0].removesuffix(".rs")
        # Fuzz targets are compiled for fuzzing and tests only.
        if name not in ("lib", "fuzz") and not file.name.endswith(("tests.rs", "fuzz.rs")):
            found.setdefault(name, []).append(file)
    roots = {}
    for name, files in found.items():
        candidates = (SOURCES / f"{name}.rs", SOURCES / name / "mod.rs")
        roots[name] = (files, next(file for file in candidates if file.is_file()))
    return roots


def first_sentence(text):
    lines = re.findall(r"(?m)^//! ?(.*)$", text)
    paragraph = " ".join(lines).split("  ")[0].strip()
    return re.split(r"(?<=[.:])\s", paragraph)[0].rstrip(".:")


def plain(text):
    """Markdown without its marks."""
    text = re.sub(r"\[([^\]]*)\](?:\([^)]*\))?", r"\1", text).replace("`", "")
    return text[:1].upper() + text[1:]


def described(roots):
    listed = dict(re.findall(r"(?m)^//! - \[?`(\w+)`\]?: (.*)$", (SOURCES / "lib.rs").read_text()))
    texts = {name: listed.get(name) or first_sentence(root.read_text()) for name, (_, root) in roots.items()}
    for path in CRATES.values():
        texts[path] = first_sentence((ROOT / path / "src" / "lib.rs").read_text())
    return {name: plain(text) for name, text in texts.items()}


def graph():
    """name → the set of names that it imports."""
    roots = modules()
    known = set(roots) | set(CRATES.values())
    edges = {name: set() for name in sorted(known)}
    for name, (files, _) in roots.items():
        for file in files:
            edges[name] |= imports_in(code_of(file)) & known - {name}
    return edges, described(roots)


def reachable(edges, start):
    """The names that `start` reaches by one import or more; a member of a cycle reaches itself."""
    seen, todo = set(), [*edges[start]]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(edges[name])
    return seen


def layers_of(edges, reach):
    """name → its layer, 0 at the top. A module is below all that import it; members of a cycle share a layer."""
    def peers(name):
        return {other for other in reach[name] if name in reach[other]} | {name}

    layer = {}

    def place(name):
        if name not in layer:
            group = peers(name)
            above = [other for other in edges if other not in group and edges[other] & group]
            at = max((place(other) + 1 for other in sorted(above)), default=0)
            for member in group:
                layer[member] = at
        return layer[name]

    for name in edges:
        place(name)
    return layer


def arranged(edges, layer):
    """The rows from top to bottom and the path of each edge.

    An edge over several layers gets a point in each row that it passes, so that no line crosses a box.
    """
    rows = [[] for _ in range(max(layer.values()) + 1)]
    for name in edges:
        rows[layer[name]].append(name)
    paths = {}
    for source in edges:
        for target in sorted(edges[source]):
            between = [(source, target, at) for at in range(layer[source] + 1, layer[target])]
            for point in between:
                rows[point[2]].append(point)
            paths[source, target] = [source, *between, target]
    linked_to = {}
    for path in paths.values():
        for upper, lower in zip(path, path[1:]):
            linked_to.setdefault(upper, []).append(lower)
            linked_to.setdefault(lower, []).append(upper)

    def position(row):
        return {item: x for item, (x, _) in zip(row, spread(row), strict=True)}

    def order(index, neighbour):
        there = position(rows[neighbour])
        here = position(rows[index])

        def key(item):
            linked = [there[other] for other in linked_to.get(item, []) if other in there]
            return (sum(linked) / len(linked) if linked else here[item], str(item))

        rows[index].sort(key=key)

    for _ in range(12):
        for index in range(1, len(rows)):
            order(index, index - 1)
        for index in range(len(rows) - 2, -1, -1):
            order(index, index + 1)
    return rows, paths


def width_of(item):
    return BOX_WIDTH if isinstance(item, str) else LANE


def spread(row):
    """(left edge, width) of each item of a row around the middle."""
    x = -(sum(map(width_of, row)) + GAP * (len(row) - 1)) / 2
    found = []
    for item in row:
        found.append((x, width_of(item)))
        x += width_of(item) + GAP
    return found


def wrapped(text, width=34, most=2):
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    if len(lines) > most:
        lines = lines[:most]
        lines[-1] = lines[-1][: width - 1].rstrip(" ,;") + "…"
    return lines


def draw():
    edges, texts = graph()
    reach = {name: reachable(edges, name) for name in edges}
    layer = layers_of(edges, reach)
    rows, paths = arranged(edges, layer)

    left = min(x for row in rows for x, _ in spread(row)) - MARGIN
    right = max(x + w for row in rows for x, w in spread(row)) + MARGIN
    where = {}
    for index, row in enumerate(rows):
        y = MARGIN + index * (BOX_HEIGHT + LAYER_GAP)
        for item, (x, w) in zip(row, spread(row), strict=True):
            where[item] = (x - left, y, w)
    width = right - left
    height = 2 * MARGIN + len(rows) * (BOX_HEIGHT + LAYER_GAP) - LAYER_GAP + 24

    def implied(source, target):
        """Whether the target is also reached through another module that the source imports."""
        return any(target in reach[other] and source not in reach[other] for other in edges[source] - {target})

    def ends(name, others, upwards):
        """Spreads the ends of arrows over the side of a box, in the order of the boxes at their other ends."""
        x, y, w = where[name]
        ordered = sorted(others, key=lambda other: (where[other][0] + where[other][2] / 2, str(other)))
        at = y if upwards else y + BOX_HEIGHT
        return {other: (x + w * (n + 1) / (len(ordered) + 1), at) for n, other in enumerate(ordered)}

    outgoing, incoming = {}, {}
    for path in paths.values():
        outgoing.setdefault(path[0], set()).add(path[1])
        incoming.setdefault(path[-1], set()).add(path[-2])
    starts = {name: ends(name, others, False) for name, others in outgoing.items()}
    stops = {name: ends(name, others, True) for name, others in incoming.items()}

    lines = {True: [], False: []}
    for (source, target), path in sorted(paths.items()):
        light = implied(source, target)
        if layer[source] == layer[target]:
            # Members of a cycle: from side to side.
            (x1, y1, w1), (x2, _, w2) = where[source], where[target]
            begin, end = ((x1 + w1, x2) if x1 < x2 else (x1, x2 + w2))
            y = y1 + BOX_HEIGHT * (0.35 if x1 < x2 else 0.65)
            steps = f"M{begin:.0f},{y:.0f} L{end:.0f},{y:.0f}"
        else:
            x, y = starts[source][path[1]]
            steps = f"M{x:.0f},{y:.0f}"
            for point in path[1:-1]:
                px, py, pw = where[point]
                middle = (y + py) / 2
                steps += f" C{x:.0f},{middle:.0f} {px + pw / 2:.0f},{middle:.0f} {px + pw / 2:.0f},{py:.0f}"
                x, y = px + pw / 2, py + BOX_HEIGHT
                steps += f" L{x:.0f},{y:.0f}"
            tx, ty = stops[target][path[-2]]
            middle = (y + ty) / 2
            steps += f" C{x:.0f},{middle:.0f} {tx:.0f},{middle:.0f} {tx:.0f},{ty - 2:.0f}"
        colour, end = (IMPLIED, "implied") if light else (DIRECT, "direct")
        lines[light].append(
            f'<path d="{steps}" fill="none" stroke="{colour}" stroke-width="1.4" marker-end="url(#{end})">'
            f"<title>{escape(source)} imports {escape(target)}</title></path>"
        )

    boxes = []
    for name in sorted(edges):
        x, y, w = where[name]
        fill = "#f3f0e6" if "/" in name else "#eef3fa"
        shown = name if "/" in name else f"src/{name}" + ("/" if (SOURCES / name).is_dir() else ".rs")
        boxes.append(f'<rect x="{x:.0f}" y="{y:.0f}" width="{w}" height="{BOX_HEIGHT}" rx="5" fill="{fill}" stroke="#8aa0c0"/>')
        boxes.append(f'<text x="{x + w / 2:.0f}" y="{y + 20:.0f}" font-size="14" font-weight="bold">{escape(shown)}</text>')
        for number, line in enumerate(wrapped(texts[name])):
            boxes.append(f'<text x="{x + w / 2:.0f}" y="{y + 38 + 15 * number:.0f}" font-size="11">{escape(line)}</text>')

    def marker(name, colour):
        return (f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
                f'<path d="M0,0 L8,4 L0,8 z" fill="{colour}"/></marker>')

    legend = "An arrow is an import. A light arrow leads to a module that is also imported indirectly."
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
        ' font-family="Helvetica, Arial, sans-serif" fill="#222">',
        "<!-- Drawn by scripts/draw-modules.py from the imports in src/ (make modules). -->",
        f'<defs>{marker("direct", DIRECT)}{marker("implied", IMPLIED)}</defs>',
        '<rect width="100%" height="100%" fill="#fff"/>',
        *lines[True],
        *lines[False],
        '<g text-anchor="middle">',
        *boxes,
        f'<text x="{width / 2:.0f}" y="{height - 14:.0f}" font-size="11" fill="#666">{legend}</text>',
        "</g>",
        "</svg>",
        "",
    ])  # fmt: skip


def main(arguments):
    check = arguments[:1] == ["--check"]
    if len(arguments) != 1 + check:
        sys.exit(__doc__)
    file = Path(arguments[-1])
    picture = draw()
    if not check:
        file.write_text(picture)
    elif not file.is_file() or file.read_text() != picture:
        sys.exit(f"{file} is not what the imports in src/ give now: run `make modules`")


if __name__ == "__main__":
    main(sys.argv[1:])
