"""Operator commands that ask whether the books are right and whole: `tollhouse ledger verify`, `tollhouse dead`."""

import argparse
from collections.abc import Callable
from typing import Any, Final

from services.commands import TIMEOUT_S, CommandFailed, Services, add_action, table, when
from tollhouse.v1 import ledger_pb2

_VERIFY_TIMEOUT_S: Final = 3600  # it reads all of the books


def add_parsers(
    sub: Any, ledger: argparse.ArgumentParser, state_dir: Callable[[argparse.ArgumentParser], None]
) -> None:
    """Adds the commands to the command line; `ledger` is the command that runs a ledger, and gets actions too."""
    actions = ledger.add_subparsers(metavar="ACTION")
    add_action(actions, "verify", "compare the books with themselves", _verify, state_dir)

    dead = sub.add_parser("dead", help="look at usage that could not be booked").add_subparsers(
        required=True, metavar="ACTION"
    )
    add_action(dead, "list", "list it with the reasons", _dead_list, state_dir)
    command = add_action(dead, "replay", "book it once more, when the reason is gone", _dead_replay, state_dir)
    command.add_argument("sequence", nargs="*", type=int, help="which; all without")


def _verify(services: Services, arguments: argparse.Namespace) -> None:
    checks = services.ledger.VerifyBooks(ledger_pb2.VerifyBooksRequest(), timeout=_VERIFY_TIMEOUT_S).checks
    table(("CHECK", "RESULT"), [(check.name, "DIFFERS" if check.differences else "ok") for check in checks])
    for check in checks:
        for difference in check.differences:
            print(f"{check.name}: {difference}")
    if any(check.differences for check in checks):
        raise CommandFailed("the books differ")


def _dead_list(services: Services, arguments: argparse.Namespace) -> None:
    letters = services.ledger.ListDeadLetters(ledger_pb2.ListDeadLettersRequest(), timeout=TIMEOUT_S).letters
    table(
        ("SEQUENCE", "SINCE", "EVENTS", "REASON"),
        [
            (letter.sequence, when(letter.parked_ms), ",".join(e.event_id for e in letter.events) or "-", letter.reason)
            for letter in letters
        ],
    )


def _dead_replay(services: Services, arguments: argparse.Namespace) -> None:
    request = ledger_pb2.ReplayDeadLettersRequest(sequences=arguments.sequence)
    print(f"{services.ledger.ReplayDeadLetters(request, timeout=_VERIFY_TIMEOUT_S).replayed} are on their way")
