"""The command line as a tree: what docs have to name."""

import argparse
from collections.abc import Iterator


def commands(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], set[str]]:
    """Every command by its words, with its options but --help."""
    subparsers = list(_subparsers(parser))
    found: dict[tuple[str, ...], set[str]] = {}
    if not any(isinstance(action, argparse._SubParsersAction) and action.required for action in parser._actions):
        found[words] = {option for action in parser._actions for option in action.option_strings} - {"-h", "--help"}
    for name, sub in subparsers:
        found |= commands(sub, (*words, name))
    return found


def _subparsers(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()
