"""`tollhouse`: one command for every service and for operators. Wiring only."""

import argparse
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from services.shared import lifecycle, telemetry
from services.shared import settings as settings_module

SERVICES: Final = {
    "auth": ("services.auth", "AuthSettings"),
    "router": ("services.router", "RouterSettings"),
    "ledger": ("services.ledger", "LedgerSettings"),
    "edge": ("services.edge", "EdgeSettings"),
    "console": ("services.console", "ConsoleSettings"),
    "simulator": ("services.simulator", "SimulatorSettings"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; answers the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if len(arguments) == 1 and arguments[0] in SERVICES:
        return serve(arguments[0])  # which imports nothing of the commands
    parsed = parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = parsed.run
    return run(parsed)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    from services import (
        billing_commands,
        brand_commands,
        doctor_commands,
        journal_commands,
        ledger_commands,
        people_commands,
        plan_commands,
        routing_commands,
        tenant_commands,
        usage_commands,
    )

    top = argparse.ArgumentParser(prog="tollhouse", description="A gateway in front of language-model providers.")
    sub = top.add_subparsers(required=True, metavar="COMMAND")

    up = sub.add_parser("up", help="start everything on this machine")
    _state_dir(up)
    up.add_argument("--host", default="127.0.0.1", help="address that clients reach the edge at (default: %(default)s)")
    up.add_argument("--port", type=int, default=8080, help="port that clients reach the edge at (default: %(default)s)")
    up.add_argument(
        "--console-port",
        type=int,
        help="port that people reach the console at (default: 8090, or a free one when something listens there)",
    )
    up.add_argument("--edges", type=int, default=1, help="edge processes that share the port (default: %(default)s)")
    up.add_argument("--auths", type=int, default=1, help="replicas of auth (default: %(default)s)")
    up.add_argument("--routers", type=int, default=1, help="replicas of the router (default: %(default)s)")
    up.add_argument("--tls", action="store_true", help="services prove to each other who they are, over TLS")
    up.add_argument("--ledgers", type=int, default=1, help="replicas of the ledger (default: %(default)s)")
    up.add_argument(
        "--nats-nodes",
        type=int,
        default=1,
        help="servers of NATS; with 3 or 5 a cluster, 3 of which keep each message (default: %(default)s)",
    )
    up.add_argument("--detach", action="store_true", help="return when everything is ready")
    up.add_argument("--json", action="store_true", help="print one line of JSON when everything is ready")
    up.set_defaults(run=_up)
    down = sub.add_parser("down", help="stop what `up` started")
    _state_dir(down)
    down.set_defaults(run=_down)
    status = sub.add_parser("status", help="show every process: health, memory, address")
    _state_dir(status)
    status.add_argument("--json", action="store_true", help="print JSON")
    status.set_defaults(run=_status)

    for name, text, act in (
        ("backup", "write the database of a running deployment into a file", _backup),
        ("restore", "put such a file in place of the database of a state folder on which nothing runs", _restore),
    ):
        command = sub.add_parser(name, help=text)
        command.add_argument("file", type=Path)
        _state_dir(command)
        command.set_defaults(run=act)
    migrate = sub.add_parser("migrate", help="bring every service's schema to the newest revision")
    migrate.set_defaults(run=_migrate)
    for name in SERVICES:
        service = sub.add_parser(name, help=f"run one {name} process; settings come from TOLLHOUSE_{name.upper()}_*")
        service.set_defaults(run=lambda parsed: serve(parsed.service), service=name)
    tenant_commands.add_parsers(sub, _state_dir)
    people_commands.add_parsers(sub, _state_dir)
    plan_commands.add_parsers(sub, _state_dir)
    brand_commands.add_parsers(sub, _state_dir)
    routing_commands.add_parsers(sub, _state_dir)
    billing_commands.add_parsers(sub, _state_dir)
    usage_commands.add_parsers(sub, _state_dir)
    ledger_commands.add_parsers(sub, _state_dir)
    journal_commands.add_parsers(sub)
    doctor_commands.add_parsers(sub, _state_dir, SERVICES)
    return top


def _state_dir(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--state-dir",
        type=Path,
        default=Path(settings_module.plain("TOLLHOUSE_STATE_DIR") or ".tollhouse"),
        help="where `up` keeps its data (default: TOLLHOUSE_STATE_DIR, else .tollhouse)",
    )


def _up(arguments: argparse.Namespace) -> int:
    from services.embedded import up

    return up.run(
        up.UpOptions(
            state_dir=arguments.state_dir,
            host=arguments.host,
            port=arguments.port,
            console_port=arguments.console_port,
            edges=arguments.edges,
            auths=arguments.auths,
            routers=arguments.routers,
            tls=arguments.tls,
            ledgers=arguments.ledgers,
            nats_nodes=arguments.nats_nodes,
            detach=arguments.detach,
            json=arguments.json,
        )
    )


def _down(arguments: argparse.Namespace) -> int:
    from services.embedded import up

    return up.down(arguments.state_dir)


def _status(arguments: argparse.Namespace) -> int:
    from services.embedded import status

    return status.run(arguments.state_dir, arguments.json)


def _backup(arguments: argparse.Namespace) -> int:
    from services.embedded import backup

    return backup.save(arguments.state_dir, arguments.file)


def _restore(arguments: argparse.Namespace) -> int:
    from services.embedded import backup

    return backup.restore(arguments.state_dir, arguments.file)


def _migrate(arguments: argparse.Namespace) -> int:
    from services import migrate
    from services.migrate.settings import MigrateSettings

    try:
        settings = settings_module.load(MigrateSettings, "migrate")
    except settings_module.SettingsError as error:
        sys.exit(f"tollhouse migrate: {error}")
    migrate.migrate(settings.database_url.reveal(), settings.passwords())
    return 0


def serve(name: str) -> int:
    """Runs one service until it is told to stop; answers the exit code."""
    package, class_name = SERVICES[name]
    cls: type[Any] = getattr(import_module(f"{package}.settings"), class_name)
    try:
        loaded = settings_module.load(cls, name)
    except settings_module.SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    telemetry.configure(name)
    lifecycle.allow_open_files()
    import uvloop

    app = import_module(f"{package}.app")
    try:
        uvloop.run(app.serve(loaded))
    except OSError as error:
        print(f"tollhouse {name}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
