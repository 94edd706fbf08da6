"""The documents as the tests see them: their text, their headings, what stands in code."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")


def page(name: str) -> str:
    """The text of a page in docs/."""
    return (DOCS / name).read_text(encoding="utf-8")


def pages() -> list[Path]:
    """Every Markdown page of the project."""
    return sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


def in_code(text: str) -> list[str]:
    """Every code span, and every line of the fenced blocks."""
    fenced = [line.strip() for block in _FENCE.findall(text) for line in block.splitlines()[1:-1]]
    return fenced + _SPAN.findall(_FENCE.sub("", text))


def headings(text: str) -> list[str]:
    """Headings without their marks; those in fenced blocks are none."""
    return [line.lstrip("#").strip() for line in _FENCE.sub("", text).splitlines() if line.startswith("#")]


def anchors(text: str) -> set[str]:
    """The anchors that headings make."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings(text)}


def links(text: str) -> list[str]:
    """Targets of links, those in code left out."""
    prose = _SPAN.sub("", _FENCE.sub("", text))
    return re.findall(r"\]\(([^)\s]+)\)", prose)


def table_rows(text: str) -> list[list[str]]:
    """The cells of every table row."""
    rows = [line for line in _FENCE.sub("", text).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
