"""docs/SECURITY.md names tests that there are."""

import re
from pathlib import Path

from tests.docs.pages import ROOT, page, table_rows

_DEFINED = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)


def defined() -> set[str]:
    """The names of all tests."""
    files = Path(ROOT / "tests").rglob("test_*.py")
    return {name for file in files for name in _DEFINED.findall(file.read_text(encoding="utf-8"))}


def test_every_test_that_shows_a_defence_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", page("SECURITY.md")))
    assert len(named) > 20
    assert named <= defined()


def test_every_threat_has_its_test() -> None:
    threats = [cells for cells in table_rows(page("SECURITY.md")) if len(cells) == 3 and "`t" in cells[2]]
    section = page("SECURITY.md").partition("## What clients may try")[2].partition("## Supply chain")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and "| threat |" not in line]
    assert len(threats) >= len(rows) > 20
