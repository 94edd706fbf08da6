"""Operator commands: `tollhouse account`, and what all commands that call the gRPC services share.

Addresses are those of the running `up` in the state folder, or TOLLHOUSE_CLI_AUTH_ADDRESS and so on.
"""

import argparse
import datetime
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from services.shared import rpc, settings
from services.shared.errors import TRAILER
from tollhouse.v1 import (
    auth_pb2_grpc,
    billing_pb2,
    billing_pb2_grpc,
    ledger_pb2_grpc,
    router_pb2,
    router_pb2_grpc,
    tokens_pb2_grpc,
    types_pb2,
    usage_pb2_grpc,
)

TIMEOUT_S = 10
_KINDS = {"anthropic": router_pb2.UPSTREAM_KIND_ANTHROPIC, "simulator": router_pb2.UPSTREAM_KIND_SIMULATOR}
_KIND_NAMES = {number: name for name, number in _KINDS.items()}
_DEFAULT_URLS = {"anthropic": "https://api.anthropic.com"}


@dataclass(frozen=True)
class CliSettings:
    """Read from TOLLHOUSE_CLI_*."""

    auth_address: str | None = settings.setting("host:port of auth's gRPC; from the state folder without", default=None)
    router_address: str | None = settings.setting(
        "host:port of the router's gRPC; from the state folder without", default=None
    )
    ledger_token: settings.Secret | None = settings.setting(
        "the ledger's internal service token, or a token of scope usage; from the state folder without", default=None
    )
    ledger_address: str | None = settings.setting(
        "host:port of the ledger's gRPC; from the state folder without", default=None
    )


class CommandFailed(Exception):
    """A command that cannot be done; its text tells the operator why."""


class Services:
    """Stubs of the services, on channels that open when they are first used."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._cli = settings.load(CliSettings, "cli")

    @property
    def auth(self) -> auth_pb2_grpc.AuthServiceStub:
        return auth_pb2_grpc.AuthServiceStub(self._channel("auth", self._cli.auth_address))

    @property
    def router(self) -> router_pb2_grpc.RouterServiceStub:
        return router_pb2_grpc.RouterServiceStub(self._channel("router", self._cli.router_address))

    @property
    def ledger(self) -> ledger_pb2_grpc.LedgerServiceStub:
        return ledger_pb2_grpc.LedgerServiceStub(self._ledger_channel())

    @property
    def billing(self) -> billing_pb2_grpc.BillingServiceStub:
        return billing_pb2_grpc.BillingServiceStub(self._ledger_channel())

    @property
    def usage(self) -> usage_pb2_grpc.UsageServiceStub:
        return usage_pb2_grpc.UsageServiceStub(self._ledger_channel())

    @property
    def tokens(self) -> tokens_pb2_grpc.TokenServiceStub:
        return tokens_pb2_grpc.TokenServiceStub(self._ledger_channel())

    def _ledger_channel(self) -> grpc.Channel:
        token = self._cli.ledger_token
        channel = self._channel("ledger", self._cli.ledger_address)
        if token is None:
            from services.embedded.state import Secrets, StateFolder

            folder = StateFolder(self._state_dir)
            if not folder.secrets.exists():
                raise CommandFailed("TOLLHOUSE_CLI_LEDGER_TOKEN is not set, and there is no state folder to find it in")
            token = settings.Secret(Secrets.load(folder).ledger_token)
        return rpc.with_token(channel, token)

    def _channel(self, service: str, address: str | None) -> grpc.Channel:
        if address is None:
            from services.embedded.state import RunState

            address = RunState.read(self._state_dir).addresses[service]
        return grpc.insecure_channel(address)


def add_parsers(sub: Any, state_dir: Callable[[argparse.ArgumentParser], None]) -> None:
    """Adds the operator commands to the command line."""

    def group(name: str, text: str) -> Any:
        return sub.add_parser(name, help=text).add_subparsers(required=True, metavar="ACTION")

    def action(
        parent: Any, name: str, text: str, run: Callable[[Services, argparse.Namespace], None]
    ) -> argparse.ArgumentParser:
        return add_action(parent, name, text, run, state_dir)

    account = group("account", "add, list, enable, disable and delete upstream accounts")
    command = action(account, "add", "add an upstream account, or replace the one of that name", _account_add)
    command.add_argument("--kind", choices=list(_KINDS), required=True)
    command.add_argument("--key-file", type=Path, required=True, help="file that holds the credential")
    command.add_argument("--models", nargs="+", required=True, metavar="MODEL", help="public id, or public=upstream")
    command.add_argument("--base-url", help="where it is (anthropic: https://api.anthropic.com)")
    command.add_argument("--name", help="for operators (default: the kind)")
    command.add_argument("--priority", type=int, default=10, help="lower is tried first (default: %(default)s)")
    action(account, "list", "list upstream accounts", _account_list)
    for name, enabled in (("enable", True), ("disable", False)):
        command = action(account, name, f"{name} an upstream account", _account_enabled)
        command.add_argument("name")
        command.set_defaults(enabled=enabled)
    command = action(account, "delete", "delete an upstream account and its credential", _account_delete)
    command.add_argument("name")


def add_action(
    parent: Any,
    name: str,
    text: str,
    run: Callable[[Services, argparse.Namespace], None],
    state_dir: Callable[[argparse.ArgumentParser], None],
) -> argparse.ArgumentParser:
    """Adds one command that calls services: their refusals end it with exit code 1 and their words."""
    command: argparse.ArgumentParser = parent.add_parser(name, help=text)
    state_dir(command)
    command.set_defaults(run=lambda arguments: _run(run, arguments))
    return command


def _run(run: Callable[[Services, argparse.Namespace], None], arguments: argparse.Namespace) -> int:
    try:
        run(Services(arguments.state_dir), arguments)
    except grpc.RpcError as error:
        print(f"tollhouse: {_said(error)}", file=sys.stderr)
        return 1
    except (CommandFailed, settings.SettingsError, FileNotFoundError, ValueError) as error:
        print(f"tollhouse: {error}", file=sys.stderr)
        return 1
    return 0


def _said(error: Any) -> str:
    for name, value in error.trailing_metadata() or ():
        if name == TRAILER:
            return types_pb2.ErrorDetail.FromString(value).message
    return f"{error.code().name.lower()}: {error.details()}"


def table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints rows under their heads."""
    texts = [list(heads), *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in texts) for column in range(len(heads))]
    for row in texts:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def when(unix_ms: int) -> str:
    """Unix milliseconds for people; "-" for 0."""
    return (
        datetime.datetime.fromtimestamp(unix_ms / 1000, datetime.UTC).isoformat(timespec="seconds") if unix_ms else "-"
    )


def state(enabled: bool) -> str:
    """Whether something is enabled, for people."""
    return "enabled" if enabled else "disabled"


def _account_add(services: Services, arguments: argparse.Namespace) -> None:
    models = dict(_alias(text) for text in ",".join(arguments.models).split(",") if text.strip())
    base_url = arguments.base_url or _DEFAULT_URLS.get(arguments.kind)
    if base_url is None:
        raise CommandFailed(f"an account of kind {arguments.kind} needs --base-url")
    account = router_pb2.UpstreamAccount(
        name=arguments.name or arguments.kind,
        kind=_KINDS[arguments.kind],
        base_url=base_url,
        models=models,
        priority=arguments.priority,
        enabled=True,
    )
    credential = arguments.key_file.read_text(encoding="utf-8").strip()
    request = router_pb2.PutUpstreamAccountRequest(account=account, credential=credential)
    stored = services.router.PutUpstreamAccount(request, timeout=TIMEOUT_S).account
    print(f"{stored.name} ({stored.upstream_account_id}) serves {', '.join(sorted(stored.models))}")
    priced = {
        price.model for price in services.billing.ListPrices(billing_pb2.ListPricesRequest(), timeout=TIMEOUT_S).prices
    }
    for model in sorted(stored.models.keys() - priced):
        print(
            f"{model} has no price and cannot be called before: tollhouse price set {model} --input ... --output ...",
            file=sys.stderr,
        )


def _alias(text: str) -> tuple[str, str]:
    public, _, upstream = text.strip().partition("=")
    return public, upstream or public


def _account_list(services: Services, arguments: argparse.Namespace) -> None:
    request = router_pb2.ListUpstreamAccountsRequest()
    accounts = services.router.ListUpstreamAccounts(request, timeout=TIMEOUT_S).accounts
    table(
        ("NAME", "ID", "KIND", "BASE URL", "PRIORITY", "STATE", "IN FLIGHT", "MODELS"),
        [
            (
                a.name,
                a.upstream_account_id,
                _KIND_NAMES[a.kind],
                a.base_url,
                a.priority,
                state(a.enabled),
                a.in_flight,
                ",".join(sorted(a.models)),
            )
            for a in accounts
        ],
    )


def _account_enabled(services: Services, arguments: argparse.Namespace) -> None:
    request = router_pb2.SetUpstreamAccountEnabledRequest(name=arguments.name, enabled=arguments.enabled)
    account = services.router.SetUpstreamAccountEnabled(request, timeout=TIMEOUT_S).account
    print(f"{account.name} is {state(account.enabled)}")


def _account_delete(services: Services, arguments: argparse.Namespace) -> None:
    services.router.DeleteUpstreamAccount(
        router_pb2.DeleteUpstreamAccountRequest(name=arguments.name), timeout=TIMEOUT_S
    )
    print(f"{arguments.name} is deleted")
