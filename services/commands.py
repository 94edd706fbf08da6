"""What all commands that call the gRPC services share.
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
from services.shared.addresses import Address
from services.shared.errors import TRAILER
from services.shared.permissions import Peer
from services.shared.tls import Tls, TlsSettings
from tollhouse.v1 import (
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
class CliSettings(TlsSettings):
    """Read from TOLLHOUSE_CLI_*."""

    auth_address: Address | None = settings.setting(
        "host:port of auth's gRPC, or of its replicas; from the state folder without", default=None
    )
    router_address: Address | None = settings.setting(
        "host:port of the router's gRPC, or of its replicas; from the state folder without", default=None
    )
    ledger_token: settings.Secret | None = settings.setting(
        "the ledger's internal service token, or a token of scope usage; from the state folder without", default=None
    )
    ledger_address: Address | None = settings.setting(
        "host:port of the ledger's gRPC, or of its replicas; from the state folder without", default=None
    )
    console_database_url: settings.Secret | None = settings.setting(
        "libpq URL of Postgres, as the role tollhouse_console, for `person`; from the state folder without",
        default=None,
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
        return auth_pb2_grpc.AuthServiceStub(self._channel("auth"))

    @property
    def router(self) -> router_pb2_grpc.RouterServiceStub:
        return router_pb2_grpc.RouterServiceStub(self._channel("router"))

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
        channel = self._channel("ledger")
        if token is None:
            from services.embedded.state import Secrets, StateFolder

            folder = StateFolder(self._state_dir)
            if not folder.secrets.exists():
                raise CommandFailed("TOLLHOUSE_CLI_LEDGER_TOKEN is not set, and there is no state folder to find it in")
            token = settings.Secret(Secrets.load(folder).ledger_token)
        return rpc.with_token(channel, token)

    @property
    def console_database(self) -> settings.Secret:
        """Where the console keeps its people. Its pages are for browsers: commands go to what it keeps."""
        if self._cli.console_database_url is not None:
            return self._cli.console_database_url
        from services.embedded.health import with_credentials
        from services.embedded.state import RunState, Secrets, StateFolder
        from services.migrate import role

        place = RunState.read(self._state_dir).addresses["postgres"]
        password = Secrets.load(StateFolder(self._state_dir)).console
        return settings.Secret(with_credentials(place, role("console"), password))

    def tls(self, service: str) -> Tls | None:
        """The operator's certificate for a service: the one that is set, else that of the `up --tls` whose address of
        the service is used."""
        if self._cli.tls_certificate:
            return Tls.of(self._cli, Peer.OPERATOR)
        if getattr(self._cli, f"{service}_address") is not None:
            return None
        from services.embedded.authority import operator_tls
        from services.embedded.state import StateFolder

        return operator_tls(StateFolder(self._state_dir))

    def address(self, service: str) -> str:
        """host:port of a service's gRPC, of all its replicas between commas."""
        said: str | None = getattr(self._cli, f"{service}_address")
        if said is not None:
            return said
        from services.embedded.state import RunState

        return RunState.read(self._state_dir).every_address(service)

    def _channel(self, service: str) -> grpc.Channel:
        return rpc.blocking_channel(self.address(service), tls=self.tls(service), to=Peer(service))


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
