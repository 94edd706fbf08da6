"""Operator commands about the console's people: `tollhouse person`."""

import argparse
import asyncio
import getpass
import secrets
import sys
from collections.abc import Callable
from typing import Any

from services.commands import CommandFailed, Services, add_action, state, table
from services.console import passwords
from services.console.administration import Administration, administration
from services.console.people import BadAddress, normalised
from services.console.store import AddressTaken, Known
from services.shared.errors import Refusal


def add_parsers(sub: Any, state_dir: Callable[[argparse.ArgumentParser], None]) -> None:
    """Adds the commands to the command line."""
    person = sub.add_parser("person", help="make, list, let in and shut out people of the console").add_subparsers(
        required=True, metavar="ACTION"
    )
    command = add_action(person, "add", "make a person and print their password", _person_add, state_dir)
    command.add_argument("email")
    command.add_argument("--operator", action="store_true", help="may run the gateway (default: a customer)")
    command.add_argument("--tenant", default="", help="whose keys and usage they see (default: a new one)")
    _password_option(command)
    command = add_action(person, "password", "give a person a new password; their sessions end", _password, state_dir)
    command.add_argument("email")
    _password_option(command)
    command.add_argument("--drop-codes", action="store_true", help="ask them for no one-time codes any more")
    add_action(person, "list", "list people", _person_list, state_dir)
    for name, enabled in (("enable", True), ("disable", False)):
        text = "let a person in again" if enabled else "shut a person out; their sessions end"
        command = add_action(person, name, text, _person_enabled, state_dir)
        command.add_argument("email")
        command.set_defaults(enabled=enabled)


def _password_option(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--ask", action="store_true", help="read the password from the terminal or standard input (default: make one)"
    )


def _run(services: Services, work: Callable[[Administration], Any]) -> Any:
    async def opened() -> Any:
        async with administration(services.console_database, services.address("auth"), services.tls("auth")) as console:
            return await work(console)

    try:
        return asyncio.run(opened())
    except AddressTaken as taken:
        raise CommandFailed(f"there is a person of the address {taken} already") from None
    except BadAddress as bad:
        raise CommandFailed(f"{str(bad)!r} is not an e-mail address") from None
    except Refusal as refusal:
        raise CommandFailed(refusal.message) from None
    except OSError as error:
        raise CommandFailed(str(error)) from None


def _person_add(services: Services, arguments: argparse.Namespace) -> None:
    password = _chosen(arguments)
    role = "operator" if arguments.operator else "customer"
    _run(services, lambda console: console.people.add(arguments.email, password, role, arguments.tenant))
    if not arguments.ask:
        print(password)


def _password(services: Services, arguments: argparse.Namespace) -> None:
    password = _chosen(arguments)

    async def set_password(console: Administration) -> None:
        known = await _known(console, arguments.email)
        await console.people.set_password(known, password)
        if arguments.drop_codes:
            await console.store.drop_codes(known.person_id)

    _run(services, set_password)
    if not arguments.ask:
        print(password)


def _chosen(arguments: argparse.Namespace) -> str:
    """A new random password, or the one that is typed."""
    if not arguments.ask:
        return secrets.token_urlsafe(15)
    password = getpass.getpass() if sys.stdin.isatty() else sys.stdin.readline().rstrip("\n")
    try:
        passwords.check(password, arguments.email.strip().lower())
    except passwords.Weak as weak:
        raise CommandFailed(str(weak)) from None
    return password


def _person_list(services: Services, arguments: argparse.Namespace) -> None:
    people = _run(services, lambda console: console.store.people())
    table(
        ("PERSON", "E-MAIL", "ROLE", "TENANT", "STATE"),
        [(p.person_id, p.email, p.role, p.tenant_id, state(p.enabled)) for p in people],
    )


def _person_enabled(services: Services, arguments: argparse.Namespace) -> None:
    async def set_enabled(console: Administration) -> None:
        known = await _known(console, arguments.email)
        await console.store.set_enabled(known.person_id, arguments.enabled)

    _run(services, set_enabled)
    print(f"{arguments.email} is {state(arguments.enabled)}")


async def _known(console: Administration, email: str) -> Known:
    known = await console.store.person_by_email(normalised(email))
    if known is None:
        raise CommandFailed(f"there is no person of the address {email!r}")
    return known
