"""Every decision has its number, its place in the index and its three parts."""

from pathlib import Path

import pytest

from tests.docs.pages import DOCS, headings, links

FOLDER = DOCS / "adr"
DECISIONS = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [path.name[:5] for path in DECISIONS] == [f"{number:04d}-" for number in range(1, len(DECISIONS) + 1)]


def test_the_index_links_every_decision_once_in_order() -> None:
    linked = [link for link in links((FOLDER / "README.md").read_text(encoding="utf-8")) if link[:4].isdigit()]
    assert linked == [path.name for path in DECISIONS]


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.name)
def test_a_decision_says_context_decision_and_consequences(path: Path) -> None:
    title, *parts = headings(path.read_text(encoding="utf-8"))
    assert title.startswith(f"{path.name[:4]} ")
    assert parts == ["Context", "Decision", "Consequences"]
