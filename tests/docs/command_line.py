"""The command line as a tree: what docs have to name."""

import argparse
from collections.abc import Iterator


def commands(parser: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> dict[tuple[str, ...], set[str]]:
    """Every command by its words, with its options but --help."""
    found: dict[tuple[str, ...], set[str]] = {}
    if not _needs_action(parser):
        found[words] = _options(parser)
    for name, sub in _subparsers(parser):
        found |= commands(sub, (*words, name))
    return found


def _needs_action(parser: argparse.ArgumentParser) -> bool:
    return any(isinstance(action, argparse._SubParsersAction) and action.required for action in parser._actions)


def _subparsers(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _options(parser: argparse.ArgumentParser) -> set[str]:
    options = {option for action in parser._actions for option in action.option_strings}
    return {option for option in options if option.startswith("--")} - {"--help"}
