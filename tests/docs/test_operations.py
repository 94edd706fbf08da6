"""docs/OPERATIONS.md names every command with its options, and no others."""

import re

import pytest

from services.__main__ import SERVICES, parser
from tests.docs.command_line import commands
from tests.docs.pages import page, table_rows

COMMANDS = commands(parser())
FOR_ALL_OPERATORS = {"--state-dir"}  # said once, above their table


def synopses() -> dict[tuple[str, ...], str]:
    """The commands of the page by their words, each as its table row shows it."""
    found = {}
    for cells in table_rows(page("OPERATIONS.md")):
        match = re.match(r"`tollhouse ([^`]+)`", cells[0])
        if match:
            words = tuple(re.match(r"(?:[a-z]+(?: |$))+", match[1])[0].split())  # type: ignore[index]
            assert words not in found, f"{' '.join(words)} has two rows"
            found[words] = match[1]
    return found


def test_the_page_names_exactly_the_commands_that_there_are() -> None:
    assert set(synopses()) == set(COMMANDS)


@pytest.mark.parametrize("words", sorted(COMMANDS), ids=" ".join)
def test_a_command_is_shown_with_its_options(words: tuple[str, ...]) -> None:
    shown = set(re.findall(r"--[a-z0-9-]+", synopses()[words]))
    expected = COMMANDS[words]
    if words[0] not in ("up", "down", "status"):
        expected = expected - FOR_ALL_OPERATORS
    assert shown == expected


def test_every_service_is_a_command() -> None:
    assert {(name,) for name in SERVICES} <= set(COMMANDS)
