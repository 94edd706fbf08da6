"""The pages hold together: links lead somewhere, what they name exists, and they speak of this project only."""

import re
from pathlib import Path

import pytest

from services.__main__ import parser
from tests.docs.command_line import commands
from tests.docs.pages import ROOT, anchors, in_code, links, page, pages

# Matched without regard to case. A page speaks neither of a machine's folders nor of where packages come from.
FORBIDDEN = (
    r"(?<![\w.])/(?:work|root|home|tmp|mnt|Users)\b",
    r"\.\./shared",
    r"\b(?:DESIGN|CONTRACT|STYLE|FIELD|HOTPATH|PEERS)\.md\b",
    r"\b(?:pypi\.org|pythonhosted\.org|registry\.npmjs\.org|proxy\.golang\.org)\b",
    r"\b(?:TODO|FIXME|lorem ipsum)\b",
)
PARTS_OF_THE_TREE = ("services/", "examples/", "scripts/", "proto/", "tests/", "docs/", "bench/")


def each_page() -> list[Path]:
    return pages()


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_pages_that_newcomers_look_for_exist() -> None:
    expected = {"README.md", "CHANGELOG.md", "docs/ARCHITECTURE.md", "docs/API.md", "docs/OPERATIONS.md"}
    expected |= {"docs/GLOSSARY.md", "docs/CONFIG.md", "docs/ERRORS.md", "docs/BENCHMARKS.md", "docs/SIMULATOR.md"}
    assert expected <= {named(path) for path in pages()}
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", each_page(), ids=named)
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    for link in links(path.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        target, _, anchor = link.partition("#")
        place = (path.parent / target).resolve() if target else path
        assert place.exists(), f"{named(path)} links to {link}"
        if anchor:
            assert anchor in anchors(place.read_text(encoding="utf-8")), f"{named(path)} links to {link}"


@pytest.mark.parametrize("path", each_page(), ids=named)
def test_every_file_that_a_page_names_exists(path: Path) -> None:
    for code in in_code(path.read_text(encoding="utf-8")):
        for word in re.findall(r"(?<![\w./-])[\w.-]+/[\w./-]+", code):
            if word.startswith(PARTS_OF_THE_TREE):
                assert (ROOT / word).exists(), f"{named(path)} names {word}"


@pytest.mark.parametrize("path", each_page(), ids=named)
def test_every_make_target_that_a_page_names_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for code in in_code(path.read_text(encoding="utf-8")):
        for target in re.findall(r"(?:^|&& |^\S+=\S+ )make ([a-z-]+)", code):
            assert target in targets, f"{named(path)} names make {target}"


@pytest.mark.parametrize("path", each_page(), ids=named)
def test_every_command_that_a_page_names_exists(path: Path) -> None:
    known = {" ".join(words) for words in commands(parser())}
    groups = {name.partition(" ")[0] for name in known}
    for code in in_code(path.read_text(encoding="utf-8")):
        for said in re.findall(r"(?:^|^[\w./-]+/|^\S+=\S+ )tollhouse ((?:[a-z]+ ?)+)", code):
            first, second = [*said.split(), ""][:2]
            assert first in groups, f"{named(path)} names tollhouse {first}"
            alone = first in known or second == ""
            assert alone or f"{first} {second}" in known, f"{named(path)} names tollhouse {first} {second}"


@pytest.mark.parametrize("path", each_page(), ids=named)
def test_a_page_speaks_of_this_project_only(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for pattern in FORBIDDEN:
        found = re.search(pattern, text, re.IGNORECASE)
        assert found is None, f"{named(path)} holds {found.group()!r}" if found else ""


def test_every_invariant_that_code_cites_is_in_the_architecture() -> None:
    defined = set(re.findall(r"^\*\*(I\d+) ", page("ARCHITECTURE.md"), re.MULTILINE))
    assert defined == {f"I{number}" for number in range(1, 9)}
    for source in [*(ROOT / "services").rglob("*.py"), *(ROOT / "proto" / "tollhouse").rglob("*.proto")]:
        cited = set(re.findall(r"\bI\d\b", source.read_text(encoding="utf-8")))
        assert cited <= defined, f"{source} cites {cited - defined}"


def test_the_glossary_is_sorted_and_has_each_word_once() -> None:
    words = [row.split("|")[1].strip() for row in page("GLOSSARY.md").splitlines() if row.startswith("| ")][1:]
    assert words == sorted(set(words), key=str.casefold)
