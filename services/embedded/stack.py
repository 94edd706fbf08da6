"""The processes of one machine together: the order in which they start and stop, and run.json."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import grpc
import psycopg

from services.embedded import nats, postgres, programs, seed
from services.embedded.authority import Authority
from services.embedded.health import healthy, with_credentials
from services.embedded.process import Child, Program, StartFailed
from services.embedded.programs import Plan
from services.embedded.state import ProcessState, RunState, StateFolder
from services.migrate import SERVICES, migrate
from services.shared import clock
from services.shared.errors import Refusal
from services.shared.telemetry import logger

START_DEADLINE_S: Final = 60.0
PARTS: Final = ("edge", "console", "auth", "router", "ledger", "nats", "postgres", "simulator")

_OLDEST_POSTGRES: Final = 15
_POLL_S: Final = 0.1
_SEED_AGAIN_S: Final = 0.2
_LOOK_AT_CERTIFICATES_S: Final = 60.0
# What asks stops before what answers: edges drain into all others, auth gives its grants back to the ledger.
_STOP_ORDER: Final = (("edge", "console"), ("auth", "router"), ("ledger", "simulator"), ("nats",), ("postgres",))

_log = logger("stack")


class Stack:
    """Everything that `up` runs. `external` names the parts that are the operator's own servers."""

    def __init__(self, folder: StateFolder, plan: Plan, external: frozenset[str], supervisor: int) -> None:
        self._folder = folder
        self._plan = plan
        self._external = external
        self._supervisor = supervisor
        self._children: dict[str, Child] = {}
        self._seeds = seed.Seeds()
        self._ready = False
        self._authority = Authority(plan.tls) if plan.tls else None
        if self._authority:
            self._authority.renew(clock.now_utc())
        self._tls = plan.operator_tls()
        self._renewing: asyncio.Task[None] | None = None

    async def start(self, environment: Mapping[str, str]) -> RunState:
        """Starts everything and returns when all of it is ready. Raises StartFailed."""
        deadline_s = clock.monotonic_s() + START_DEADLINE_S
        services = programs.service_programs(self._plan, environment, self._tls)
        simulator = self._add(services.pop("simulator"))  # needs nobody
        await _together(self._start_database(deadline_s), self._start_nats(deadline_s))
        children = {name: self._add(program) for name, program in services.items()}
        facing = [child for child in children.values() if child.program.part in ("edge", "console")]
        backends = [child for child in children.values() if child not in facing]

        async def seeded() -> None:
            await _together(*(child.ready(deadline_s) for child in (*backends, simulator)))
            self._seeds = await self._seed(deadline_s)

        await _together(seeded(), *(child.ready(deadline_s) for child in facing))
        self._ready = True
        if self._authority:
            self._renewing = asyncio.create_task(self._renew(self._authority))
        self._publish()
        return self.state()

    async def _seed(self, deadline_s: float) -> seed.Seeds:
        """Stores the demo data, again from its beginning where a service restarts meanwhile. Raises StartFailed."""
        while True:
            try:
                return await seed.seed(self._folder, self._plan, self._tls)
            except (grpc.RpcError, Refusal, psycopg.Error) as error:
                away = isinstance(error, grpc.aio.AioRpcError) and error.code() is grpc.StatusCode.UNAVAILABLE
                if not away or clock.monotonic_s() > deadline_s:
                    raise StartFailed(f"the demo data could not be stored: {_details(error)}") from error
            await asyncio.sleep(_SEED_AGAIN_S)

    async def stop(self) -> None:
        """Stops everything, in order."""
        if self._renewing:
            self._renewing.cancel()
        for parts in _STOP_ORDER:
            stopping = [child for child in self._children.values() if child.program.part in parts]
            await asyncio.gather(*(child.stop() for child in stopping))

    def kill(self) -> None:
        """Ends everything at once; `stop` then has nothing to wait for."""
        for child in self._children.values():
            child.kill()

    def state(self) -> RunState:
        """What runs now."""
        plan, pids = self._plan, {part: list[int]() for part in PARTS}
        for child in self._children.values():
            if child.pid is not None:
                pids[child.program.part].append(child.pid)
        base_url = programs.base_url(plan.host, plan.ports.public)
        addresses = {service: plan.address(service) for service in ("auth", "router", "ledger", "simulator")}
        addresses["console"] = programs.base_url(plan.host, plan.ports.console)
        addresses |= {
            "edge": base_url,
            "nats": _place(plan.nats_url.partition(",")[0]),
            "postgres": _place(plan.database_url),
        }
        return RunState(
            base_url=base_url,
            api_key=self._seeds.api_key,
            simulator_url=f"http://{plan.address('simulator')}",
            usage_grpc=plan.address("ledger"),
            usage_token=self._seeds.usage_token,
            console_url=addresses["console"],
            operator_email=self._seeds.operator.email,
            operator_password=self._seeds.operator.password,
            pids=pids,
            supervisor=self._supervisor,
            ready=self._ready,
            addresses=addresses,
            processes=[
                ProcessState(
                    child.program.name,
                    child.program.part,
                    child.pid,
                    child.restarts,
                    child.program.address,
                    child.program.health_url,
                    child.program.ops_url,
                )
                for child in self._children.values()
            ],
            tls=plan.tls is not None,
        )

    async def _renew(self, authority: Authority) -> None:
        """Renews certificates for good. By the wall clock, which goes on while the machine sleeps. Services see by
        themselves that files are new; NATS wants to be told."""
        while True:
            await asyncio.sleep(_LOOK_AT_CERTIFICATES_S)
            try:
                renewed = authority.renew(clock.now_utc())
            except OSError as error:
                _log.error("certificates_not_renewed", error=str(error))
                continue
            if renewed:
                _log.info("certificates_renewed")
                for child in self._children.values():
                    if child.program.part == "nats":
                        child.reload()

    def _add(self, program: Program) -> Child:
        child = self._children[program.name] = Child(program, self._folder.log, self._publish)
        child.start()
        return child

    def _publish(self) -> None:
        try:
            self.state().write(self._folder)
        except OSError as error:  # a full disk must not end the supervision
            _log.error("run_state_not_written", error=str(error))

    async def _start_database(self, deadline_s: float) -> None:
        """Brings up Postgres, unless the operator has one, and the schemas of the services in it."""
        plan = self._plan
        if "postgres" in self._external:
            await asyncio.to_thread(_check_version, plan.database_url)
        else:
            password = plan.secrets.postgres
            await self._add(await postgres.program(self._folder, plan.ports.postgres, password)).ready(deadline_s)
            await asyncio.to_thread(postgres.ensure_database, plan.ports.postgres, password)
        passwords = {service: str(getattr(plan.secrets, service)) for service in SERVICES}
        try:
            await asyncio.to_thread(migrate, plan.database_url, passwords)
        except Exception as error:  # whatever a migration may run into
            raise StartFailed(f"the database could not be migrated: {error}") from error

    async def _start_nats(self, deadline_s: float) -> None:
        if "nats" not in self._external:
            made = nats.programs(self._folder, self._plan.ports, self._plan.secrets.nats, self._tls)
            children = [self._add(program) for program in made]  # of a cluster most must be there for one to be ready
            await _together(*(child.ready(deadline_s) for child in children))
            return
        urls = self._plan.nats_url.split(",")
        while not any([await healthy(url) for url in urls]):
            if clock.monotonic_s() > deadline_s:
                raise StartFailed(f"NATS at {', '.join(map(_place, urls))} does not answer, or has no JetStream")
            await asyncio.sleep(_POLL_S)


async def _together(*steps: Coroutine[Any, Any, None]) -> None:
    """Takes steps side by side. The first that fails cancels the others, and its exception is raised as it is."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


def _check_version(url: str) -> None:
    """Raises StartFailed when the operator's Postgres cannot be reached or is too old."""
    try:
        with psycopg.connect(url, connect_timeout=10) as connection:
            version = connection.info.server_version // 10_000
    except psycopg.Error as error:
        raise StartFailed(f"Postgres at {_place(url)} cannot be used: {error}") from error
    if version < _OLDEST_POSTGRES:
        raise StartFailed(f"Postgres at {_place(url)} is version {version}; {_OLDEST_POSTGRES} or later is needed")


def _place(url: str) -> str:
    """The URL without user, password and parameters, which may hold secrets too."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _details(error: Exception) -> str:
    return error.details() or error.code().name if isinstance(error, grpc.aio.AioRpcError) else str(error)


def probe_url(process: ProcessState, folder_secrets: Mapping[str, str]) -> str:
    """Where to ask for a process's health, with the password that run.json leaves out."""
    users = {"postgres": postgres.SUPERUSER, "nats": nats.USER}
    if process.part not in users:
        return process.health_url
    return with_credentials(process.health_url, users[process.part], folder_secrets[process.part])
