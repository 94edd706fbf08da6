"""Operator commands that look after the books: `tollhouse ledger verify`, `tollhouse dead`."""

import argparse
from collections.abc import Callable
from typing import Any, Final

from services.commands import TIMEOUT_S, CommandFailed, Services, add_action, table, when
from tollhouse.v1 import ledger_pb2

_VERIFY_TIMEOUT_S: Final = 3600
"""Verification reads every record that there is."""


def add_parsers(sub: Any, state_dir: Callable[[argparse.ArgumentParser], None]) -> None:
    """Adds the commands to the command line. `ledger` alone runs the service, and so keeps its own settings."""
    ledger = sub.choices["ledger"].add_subparsers(metavar="ACTION")
    add_action(ledger, "verify", "compare the books with themselves", _verify, state_dir)
    dead = sub.add_parser("dead", help="look at usage that could not be booked").add_subparsers(
        required=True, metavar="ACTION"
    )
    add_action(dead, "list", "list dead letters with their reasons", _dead_list, state_dir)
    command = add_action(dead, "replay", "have dead letters booked once more", _dead_replay, state_dir)
    command.add_argument("sequences", type=int, nargs="*", metavar="SEQUENCE", help="which ones (default: all)")


def _verify(services: Services, arguments: argparse.Namespace) -> None:
    checks = services.ledger.VerifyBooks(ledger_pb2.VerifyBooksRequest(), timeout=_VERIFY_TIMEOUT_S).checks
    table(("CHECK", "RESULT"), [(check.name, "differs" if check.differences else "ok") for check in checks])
    differing = [check for check in checks if check.differences]
    for check in differing:
        print(f"\n{check.name}:")
        for difference in check.differences:
            print(f"  {difference}")
    if differing:
        raise CommandFailed(f"{len(differing)} of {len(checks)} checks found differences")


def _dead_list(services: Services, arguments: argparse.Namespace) -> None:
    letters = services.ledger.ListDeadLetters(ledger_pb2.ListDeadLettersRequest(), timeout=TIMEOUT_S).letters
    table(
        ("SEQUENCE", "PARKED", "EVENTS", "TENANTS", "REASON"),
        [
            (
                letter.sequence,
                when(letter.parked_ms),
                len(letter.events),
                ",".join(sorted({event.tenant_id for event in letter.events})) or "-",
                letter.reason,
            )
            for letter in letters
        ],
    )


def _dead_replay(services: Services, arguments: argparse.Namespace) -> None:
    request = ledger_pb2.ReplayDeadLettersRequest(sequences=arguments.sequences)
    replayed = services.ledger.ReplayDeadLetters(request, timeout=_VERIFY_TIMEOUT_S).replayed
    print(f"{replayed} replayed; what still cannot be booked is parked again")
