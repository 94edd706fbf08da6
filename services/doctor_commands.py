"""`tollhouse doctor`: what to look at, and how to say it."""

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import grpc
import msgspec

from services.commands import TIMEOUT_S, CommandFailed, Services, table
from services.doctor import database, files, fleet, streams
from services.doctor.finding import Finding, Verdict, fault, ok
from services.doctor.settings import DoctorSettings
from services.embedded import nats, postgres
from services.embedded.health import with_credentials
from services.embedded.stack import probe_url
from services.embedded.state import NotRunning, RunState, Secrets, StateFolder
from services.shared import clock, settings
from services.shared.tls import Tls
from tollhouse.v1 import billing_pb2, ledger_pb2, router_pb2

_GRPC: Final = ("auth", "router", "ledger")
_LETTERS: Final = 1000
_PLACES: Final = frozenset(("DATABASE_URL", "NATS_URL"))


def add_parsers(
    sub: Any, state_dir: Callable[[argparse.ArgumentParser], None], services: Mapping[str, tuple[str, str]]
) -> None:
    """Adds the command to the command line. `services` are the packages and settings of all services by name."""
    doctor = sub.add_parser("doctor", help="look at a whole deployment, and say what is wrong and what to do")
    state_dir(doctor)
    doctor.add_argument("--json", action="store_true", help="print JSON")
    doctor.set_defaults(run=lambda arguments: _run(arguments, services))


def _run(arguments: argparse.Namespace, services: Mapping[str, tuple[str, str]]) -> int:
    try:
        found = [*_settings(os.environ, services), *examine(Deployment(arguments.state_dir))]
    except (settings.SettingsError, CommandFailed) as error:
        print(f"tollhouse: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(msgspec.json.encode(found).decode())
    else:
        _say(found)
    return 1 if any(finding.verdict is Verdict.FAULT for finding in found) else 0


class Deployment:
    """Where everything is: as the settings say, or else as `up` runs it on a state folder. Raises CommandFailed."""

    def __init__(self, state_dir: Path) -> None:
        self.settings = settings.load(DoctorSettings, "doctor")
        self.folder = StateFolder(state_dir)
        self.services = Services(state_dir)
        try:
            self.run: RunState | None = RunState.read(state_dir)
        except NotRunning as error:
            self.run = None
            if self.settings.database_url is None and self.settings.nats_url is None:
                where = "TOLLHOUSE_DOCTOR_DATABASE_URL and TOLLHOUSE_DOCTOR_NATS_URL"
                raise CommandFailed(f"{error}; or set {where}") from None

    @property
    def secrets(self) -> Secrets:
        """Those of the state folder."""
        return Secrets.load(self.folder)

    @property
    def database_url(self) -> str | None:
        """As a role that reads every schema; None when nobody said."""
        if self.settings.database_url is not None:
            return self.settings.database_url.reveal()
        if self.run is None or not self.run.pids["postgres"]:
            return settings.plain("TOLLHOUSE_DATABASE_URL")
        return with_credentials(self.run.addresses["postgres"], postgres.SUPERUSER, self.secrets.postgres)

    @property
    def nats_url(self) -> str | None:
        """Of every server; None when nobody said."""
        if self.settings.nats_url is not None:
            return self.settings.nats_url.reveal()
        if self.run is None or not self.run.pids["nats"]:
            return settings.plain("TOLLHOUSE_NATS_URL")
        places = self.run.every_address("nats").split(",")
        return ",".join(with_credentials(f"nats://{place}", nats.USER, self.secrets.nats) for place in places)

    @property
    def tls(self) -> Tls | None:
        """What we show to services and to NATS; None without TLS."""
        with contextlib.suppress(NotRunning):
            return self.services.tls("ledger")
        return None

    def processes(self) -> list[fleet.Process]:
        """Each process and where to ask for its health."""
        if self.run is not None:
            passwords = {"postgres": self.secrets.postgres, "nats": self.secrets.nats}
            return [fleet.Process(made.name, probe_url(made, passwords), made.part) for made in self.run.processes]
        urls = [url.strip() for url in self.settings.ready_urls.split(",") if url.strip()]
        return [fleet.Process(url, url) for url in urls] + [
            fleet.Process(f"{service} at {place.strip()}", f"grpc://{place.strip()}", service)
            for service in _GRPC
            for place in self.services.address(service).split(",")
        ]


def examine(deployment: Deployment) -> Iterator[Finding]:
    """Looks at everything, from what others need to what needs them."""
    said = deployment.settings
    yield from files.mounted(os.environ, said.certificate_days, clock.now_ms())
    if url := deployment.database_url:
        yield from database.examine(url, said.skew_max_s)
    if url := deployment.nats_url:
        yield from asyncio.run(_gathered(url, deployment.tls))
    processes = [process for process in deployment.processes() if process.part != "nats"]
    yield from fleet.reach(processes, deployment.tls)
    calls = _Calls(deployment.services)
    for look in (fleet.replicas, lambda calls: fleet.booking(calls, said.lag_max_s), fleet.prices):
        try:
            yield from look(calls)
        except grpc.RpcError as error:
            code = error.code().name if isinstance(error, grpc.Call) else repr(error)
            yield fault("services", f"could not be asked: {code}", "Mend what is found above, and ask again")
            break
    yield from files.journals(deployment.folder.journals)


async def _gathered(url: str, tls: Tls | None) -> list[Finding]:
    return [finding async for finding in streams.examine(url, tls)]


def _settings(environment: Mapping[str, str], services: Mapping[str, tuple[str, str]]) -> Iterator[Finding]:
    """The settings of every service of which there are any here, as in a pod or before a start."""
    for service, (package, class_name) in services.items():
        prefix = settings.variable(service, "")
        given = {name for name in environment if name.startswith(prefix)}
        if not {name.removeprefix(prefix).removesuffix("_FILE") for name in given} & _PLACES:
            continue  # further settings for `up`, which knows the rest
        try:
            settings.load(getattr(import_module(f"{package}.settings"), class_name), service, environment)
            yield ok(f"settings of {service}", f"{len(given)} variables")
        except settings.SettingsError as error:
            yield fault(f"settings of {service}", "; ".join(str(error).splitlines()), "See docs/CONFIG.md")


class _Calls:
    """The services, asked through their gRPC."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def replicas(self) -> Sequence[ledger_pb2.Replica]:
        return self._services.ledger.ListReplicas(ledger_pb2.ListReplicasRequest(), timeout=TIMEOUT_S).replicas

    def dead_letters(self) -> int:
        request = ledger_pb2.ListDeadLettersRequest(limit=_LETTERS)
        return len(self._services.ledger.ListDeadLetters(request, timeout=TIMEOUT_S).letters)

    def prices(self) -> Sequence[billing_pb2.Price]:
        return self._services.billing.ListPrices(billing_pb2.ListPricesRequest(), timeout=TIMEOUT_S).prices

    def routes(self) -> router_pb2.GetRoutesResponse:
        return self._services.router.GetRoutes(router_pb2.GetRoutesRequest(), timeout=TIMEOUT_S)


def _say(found: Sequence[Finding]) -> None:
    table(("WHAT", "HOW", "SEEN"), [(finding.about, finding.verdict, finding.seen) for finding in found])
    for finding in found:
        if finding.remedy:
            print(f"\n{finding.verdict}: {finding.about}: {finding.seen}\n  {finding.remedy}")
    faults = sum(finding.verdict is Verdict.FAULT for finding in found)
    warnings = sum(finding.verdict is Verdict.WARNING for finding in found)
    print(f"\n{faults} faults, {warnings} warnings")
