"""The documents name files, headings, tests and modules that exist."""

import re
import subprocess
import sys

import pytest
from manifests import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md"), *ROOT.glob("kustomize/**/README.md")])
# Where a path in backticks may start.
BASES = [ROOT, ROOT / "src", ROOT / "operator/src", ROOT / "docs", ROOT / "kustomize"]
# The changelog names files of the past.
HISTORY = {"CHANGELOG.md"}
SUFFIXES = "rs|py|sh|sql|ya?ml|toml|md|svg|mjs|json|java"


def prose(text):
    """The text without fenced and indented code blocks."""
    text = re.sub(r"(?ms)^ *```.*?^ *```", "", text)
    return re.sub(r"(?m)^    .*$", "", text)


def anchor(heading):
    """The fragment that GitHub gives to a heading."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-")


def broken_links(page, text):
    """Every relative link of a page whose file, heading or symbol does not exist."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(text)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists():
            yield target
        elif fragment and file.suffix == ".md":
            content = text if file == page else file.read_text()
            if fragment not in {anchor(heading) for heading in re.findall(r"(?m)^#+ (.*)$", content)}:
                yield target
        elif fragment and not re.search(rf"\b{re.escape(fragment)}\b", file.read_text()):
            # `tests/api/feed.rs#name_of_a_test`, for readers who follow the link and search.
            yield target


def expanded(path):
    """`a/{b,c}.rs` as `a/b.rs` and `a/c.rs`."""
    match = re.fullmatch(r"([^{}]*)\{([^{}]*)\}([^{}]*)", path)
    return [match[1] + part + match[3] for part in match[2].split(",")] if match else [path]


def missing_files(page, text):
    """Every path in backticks, of a source file or of a directory (`store/pool/`), that does not exist."""
    for path in re.findall(rf"`(\w[\w./{{}},-]*/(?:[\w./{{}},-]*\.(?:{SUFFIXES}))?)`", prose(text)):
        for name in expanded(path):
            # What is below target/ exists only after a build.
            if not name.startswith("target/") and not any((base / name).exists() for base in [*BASES, page.parent]):
                yield name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    broken = list(broken_links(page, page.read_text()))
    assert not broken, broken


@pytest.mark.parametrize("page", [page for page in PAGES if page.name not in HISTORY], ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_exist(page):
    missing = list(missing_files(page, page.read_text()))
    assert not missing, missing


def test_broken_links_are_found():
    page = ROOT / "README.md"
    text = """
# One heading: `x`, and more

[good](docs/API.md) [good](#one-heading-x-and-more) [good](tests/manifests/test_docs.py#expanded)
[good](https://example.com/nothing) `docs/API.md` `scripts/{deps,tools}.sh` `tests/manifests/` `orders.db` `/api/`
[bad](docs/NOTHING.md) [bad](#nothing) [bad](docs/API.md#nothing) [bad](scripts/deps.sh#nothing)
`scripts/{deps,nothing}.sh` `src/nothing/`

    [not a link](in/code.md)
"""
    assert list(broken_links(page, text)) == ["docs/NOTHING.md", "#nothing", "docs/API.md#nothing", "scripts/deps.sh#nothing"]
    assert list(missing_files(page, text)) == ["scripts/nothing.sh", "src/nothing/"]


def test_the_picture_of_the_modules_is_current():
    command = [sys.executable, ROOT / "scripts/draw-modules.py", "--check", ROOT / "docs/modules.svg"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_architecture_page_is_short():
    """Thirteen pages of print at about 2 KB each."""
    assert (ROOT / "docs/ARCHITECTURE.md").stat().st_size <= 30 * 1024
