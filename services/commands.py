"""Operator commands: `tollhouse tenant|key`, all through the gRPC services.

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

from services.shared import clock, rpc, settings
from services.shared.errors import TRAILER
from services.shared.money import (
    dollars,
    nano_from_dollars,
)
from tollhouse.v1 import (
    auth_pb2,
    auth_pb2_grpc,
    billing_pb2_grpc,
    ledger_pb2_grpc,
    router_pb2_grpc,
    tokens_pb2_grpc,
    types_pb2,
    usage_pb2_grpc,
)

TIMEOUT_S = 10


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

    tenant = group("tenant", "make, list, enable and disable tenants")
    command = action(tenant, "add", "make a tenant", _tenant_add)
    command.add_argument("tenant", help="lower-case letters, digits and hyphens")
    command.add_argument("--name", default="", help="for people")
    action(tenant, "list", "list tenants", _tenant_list)
    for name, enabled in (("enable", True), ("disable", False)):
        command = action(tenant, name, f"{name} a tenant", _tenant_enabled)
        command.add_argument("tenant")
        command.set_defaults(enabled=enabled)

    key = group("key", "make, list, enable, disable and delete client keys")
    command = action(key, "add", "make a key and print its secret, this once", _key_add)
    command.add_argument("tenant")
    command.add_argument("--name", required=True, help="for people, at most 50 characters")
    command.add_argument("--days", type=int, default=0, help="how long it lives (default: for ever)")
    command.add_argument("--spend-cap", metavar="DOLLARS", help="what it may spend over its life (default: no cap)")
    command = action(key, "list", "list keys", _key_list)
    command.add_argument("tenant", nargs="?", default="")
    for name, enabled in (("enable", True), ("disable", False)):
        command = action(key, name, f"{name} a key", _key_enabled)
        command.add_argument("key_id")
        command.set_defaults(enabled=enabled)
    command = action(key, "cap", "set or lift what a key may spend over its life", _key_cap)
    command.add_argument("key_id")
    cap = command.add_mutually_exclusive_group(required=True)
    cap.add_argument("--dollars", help="the cap, such as 25 or 0.50")
    cap.add_argument("--none", action="store_true", help="no cap")
    command = action(key, "delete", "delete a key for good", _key_delete)
    command.add_argument("key_id")


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


def _tenant_add(services: Services, arguments: argparse.Namespace) -> None:
    request = auth_pb2.CreateTenantRequest(tenant_id=arguments.tenant, name=arguments.name)
    print(services.auth.CreateTenant(request, timeout=TIMEOUT_S).tenant.tenant_id)


def _tenant_list(services: Services, arguments: argparse.Namespace) -> None:
    tenants = services.auth.ListTenants(auth_pb2.ListTenantsRequest(), timeout=TIMEOUT_S).tenants
    table(
        ("TENANT", "NAME", "STATE", "SINCE"),
        [(t.tenant_id, t.name, state(t.enabled), when(t.created_ms)) for t in tenants],
    )


def _tenant_enabled(services: Services, arguments: argparse.Namespace) -> None:
    request = auth_pb2.SetTenantEnabledRequest(tenant_id=arguments.tenant, enabled=arguments.enabled)
    tenant = services.auth.SetTenantEnabled(request, timeout=TIMEOUT_S).tenant
    print(f"{tenant.tenant_id} is {state(tenant.enabled)}")


def _key_add(services: Services, arguments: argparse.Namespace) -> None:
    expires_ms = 0
    if arguments.days:
        expires_ms = clock.now_ms() + arguments.days * 86_400 * clock.MS_PER_S
    request = auth_pb2.CreateKeyRequest(
        tenant_id=arguments.tenant,
        name=arguments.name,
        expires_ms=expires_ms,
        spend_cap_nano=nano_from_dollars(arguments.spend_cap) if arguments.spend_cap else None,
    )
    print(services.auth.CreateKey(request, timeout=TIMEOUT_S).secret)


def _key_list(services: Services, arguments: argparse.Namespace) -> None:
    keys = services.auth.ListKeys(auth_pb2.ListKeysRequest(tenant_id=arguments.tenant), timeout=TIMEOUT_S).keys
    table(
        ("KEY", "TENANT", "NAME", "LOOKS LIKE", "STATE", "SPEND CAP", "SINCE", "UNTIL"),
        [
            (
                k.key_id,
                k.tenant_id,
                k.name,
                k.hint,
                state(k.enabled),
                _cap(k),
                when(k.created_ms),
                when(k.expires_ms),
            )
            for k in keys
        ],
    )


def _key_enabled(services: Services, arguments: argparse.Namespace) -> None:
    request = auth_pb2.SetKeyEnabledRequest(key_id=arguments.key_id, enabled=arguments.enabled)
    key = services.auth.SetKeyEnabled(request, timeout=TIMEOUT_S).key
    print(f"{key.key_id} is {state(key.enabled)}")


def _key_cap(services: Services, arguments: argparse.Namespace) -> None:
    cap_nano = None if arguments.none else nano_from_dollars(arguments.dollars)
    request = auth_pb2.SetKeySpendCapRequest(key_id=arguments.key_id, spend_cap_nano=cap_nano)
    key = services.auth.SetKeySpendCap(request, timeout=TIMEOUT_S).key
    print(f"{key.key_id} may spend {_cap(key)}" if key.HasField("spend_cap_nano") else f"{key.key_id} has no spend cap")


def _cap(key: auth_pb2.Key) -> str:
    return dollars(key.spend_cap_nano) if key.HasField("spend_cap_nano") else "-"


def _key_delete(services: Services, arguments: argparse.Namespace) -> None:
    services.auth.DeleteKey(auth_pb2.DeleteKeyRequest(key_id=arguments.key_id), timeout=TIMEOUT_S)
    print(f"{arguments.key_id} is deleted")
