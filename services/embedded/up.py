"""`tollhouse up` and `tollhouse down`."""

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from services.embedded import nats, ports, postgres, seed
from services.embedded.process import StartFailed, rotate
from services.embedded.programs import Plan, Ports, base_url, python_path, replica_names, service_command
from services.embedded.stack import Stack
from services.embedded.state import Held, NotRunning, RunState, Secrets, StateFolder, master_key, receipt_key
from services.shared import clock, settings, telemetry

_DOWN_WITHIN_S: Final = 90.0
_DOWN_POLL_S: Final = 0.05
_HARD_EXIT_S: Final = 2.0
_CONSOLE_PORT: Final = 8090
_EDGES_MOST: Final = 64
_REPLICAS_MOST: Final = 8
_REPLICATED: Final = ("auths", "routers", "ledgers")


@dataclass(frozen=True)
class UpOptions:
    """What `tollhouse up` was asked. `host` and `port` are those of the edges; port 0 takes a free
    one, for the console too, whose usual port need not be free."""

    state_dir: Path
    host: str = "127.0.0.1"
    port: int = 8080
    console_port: int | None = None
    edges: int = 1
    auths: int = 1
    routers: int = 1
    ledgers: int = 1
    nats_nodes: int = 1
    tls: bool = False
    detach: bool = False
    json: bool = False


def run(options: UpOptions) -> int:
    """Runs everything until SIGINT or SIGTERM, or leaves it running in the background; answers the exit code."""
    folder = StateFolder(options.state_dir)
    try:
        folder.create()
        if options.detach:
            return _detach(options, folder)
        telemetry.configure("up")
        with folder.held():
            return asyncio.run(_up(options, folder))
    except Held as held:
        return _fail(f"{folder.path} is in use by process {held.pid or '(unknown)'}{_running_at(folder)}")
    except (StartFailed, OSError) as error:
        return _fail(str(error))


def down(state_dir: Path) -> int:
    """Stops what runs on a state folder and waits until it is gone; answers the exit code."""
    folder = StateFolder(state_dir)
    pid = folder.holder()
    if pid is None:
        print(f"Tollhouse is not running on {folder.path}")
        return 0
    try:
        os.kill(pid, signal.SIGTERM)
    except ProcessLookupError:
        pass  # it ends just now
    except PermissionError:
        return _fail(f"process {pid} is another user's")
    deadline_s = clock.monotonic_s() + _DOWN_WITHIN_S
    while folder.holder() == pid:
        if clock.monotonic_s() > deadline_s:
            return _fail(
                f"process {pid} is still stopping after {_DOWN_WITHIN_S:.0f} s; its log: {folder.log / 'up.log'}"
            )
        time.sleep(_DOWN_POLL_S)
    print("Tollhouse is stopped")
    return 0


async def _up(options: UpOptions, folder: StateFolder) -> int:
    plan, external = _plan(options, folder)
    folder.run.unlink(missing_ok=True)
    stack, asked = Stack(folder, plan, external, os.getpid()), asyncio.Event()

    def stop() -> None:
        if asked.is_set():  # asked a second time: somebody is in a hurry
            stack.kill()
            loop.call_later(_HARD_EXIT_S, os._exit, 1)  # even if a thread hangs, say in a migration; no child survives
        asked.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    # Handed on, not read: each service reads its own variables.
    starting = asyncio.create_task(stack.start(os.environ))
    waiting = asyncio.create_task(asked.wait())
    try:
        await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            return _fail("stopped before it was ready")
        state = await starting
        _say(state.ready_line() if options.json else _welcome(state, folder))
        await waiting
        return 0
    finally:
        starting.cancel()
        await asyncio.wait({starting})
        await stack.stop()
        folder.run.unlink(missing_ok=True)


def _plan(options: UpOptions, folder: StateFolder) -> tuple[Plan, frozenset[str]]:
    """Who listens where with which secrets, and which parts are the operator's own. Raises StartFailed."""
    if not 1 <= options.edges <= _EDGES_MOST:
        raise StartFailed(f"--edges must be 1 to {_EDGES_MOST}")
    for name in _REPLICATED:
        if not 1 <= getattr(options, name) <= _REPLICAS_MOST:
            raise StartFailed(f"--{name} must be 1 to {_REPLICAS_MOST}")
    if options.nats_nodes not in nats.CLUSTER_SIZES:
        raise StartFailed(f"--nats-nodes must be {', '.join(map(str, nats.CLUSTER_SIZES))}")
    public = options.port or ports.free(1)[0]
    console = _console_port(options, public)
    for option, port in (("--port", public), ("--console-port", console)):
        if fault := ports.fault(options.host, port):
            raise StartFailed(f"cannot listen on {base_url(options.host, port)}: {fault}; choose another with {option}")
    if public == console:
        raise StartFailed("--port and --console-port are the same")
    secrets = Secrets.load(folder)
    database_url, nats_url = settings.plain("TOLLHOUSE_DATABASE_URL"), settings.plain("TOLLHOUSE_NATS_URL")
    if database_url and not database_url.startswith(("postgresql://", "postgres://")):
        raise StartFailed("TOLLHOUSE_DATABASE_URL must be a URL: postgresql://user:password@host:port/database")
    if nats_url and not nats_url.startswith(("nats://", "tls://")):
        raise StartFailed("TOLLHOUSE_NATS_URL must be a URL: nats://user:password@host:port")
    if nats_url and options.tls:
        raise StartFailed(
            "--tls is for the NATS of `up`: its authority is not that of TOLLHOUSE_NATS_URL; leave one of them out"
        )
    if not nats_url:
        nats.keep_size(folder, options.nats_nodes)
    taken = _ports(options, public, console, nats_nodes=1 if nats_url else options.nats_nodes)
    plan = Plan(
        host=options.host,
        ports=taken,
        database_url=database_url or postgres.database_url(taken.postgres, secrets.postgres),
        nats_url=nats_url or nats.client_urls((taken.nats, *taken.more_nats), secrets.nats),
        secrets=secrets,
        master_key=master_key(folder),
        receipt_key=receipt_key(folder),
        journals=folder.journals,
        tls=folder.tls if options.tls else None,
    )
    return plan, frozenset(name for name, url in (("postgres", database_url), ("nats", nats_url)) if url)


def _ports(options: UpOptions, public: int, console: int, nats_nodes: int) -> Ports:
    """A free port for everybody."""
    watched = [name for part in _REPLICATED for name in replica_names(part.removesuffix("s"), getattr(options, part))]
    free = iter(ports.free(3 + 2 * len(watched) + 2 * nats_nodes + options.edges, taken=[public, console]))
    simulator, database, console_ops = itertools.islice(free, 3)
    auth, *more_auths = itertools.islice(free, options.auths)
    router, *more_routers = itertools.islice(free, options.routers)
    ledger, *more_ledgers = itertools.islice(free, options.ledgers)
    bus, *more_nats = itertools.islice(free, nats_nodes)
    routes = tuple(itertools.islice(free, nats_nodes))
    return Ports(
        public=public,
        auth=auth,
        router=router,
        ledger=ledger,
        simulator=simulator,
        postgres=database,
        nats=bus,
        console=console,
        console_ops=console_ops,
        more_auths=tuple(more_auths),
        more_routers=tuple(more_routers),
        more_ledgers=tuple(more_ledgers),
        more_nats=tuple(more_nats),
        nats_routes=routes if more_nats else (),
        service_ops=dict(zip(watched, itertools.islice(free, len(watched)), strict=True)),
        ops=tuple(free),
    )


def _console_port(options: UpOptions, public: int) -> int:
    """The one that was asked for; else the usual one, or any that is free when another Tollhouse has it."""
    if options.console_port:
        return options.console_port
    usual_is_free = public != _CONSOLE_PORT and ports.fault(options.host, _CONSOLE_PORT) is None
    if options.console_port is None and usual_is_free:
        return _CONSOLE_PORT
    return ports.free(1, taken=[public])[0]


def _detach(options: UpOptions, folder: StateFolder) -> int:
    """Starts the same in a session of its own and waits for its ready line. The line comes through a pipe, because it
    holds a key and the log must not."""
    log = folder.log / "up.log"
    rotate(log)
    arguments = ("--state-dir", str(folder.path), "--host", options.host, "--port", str(options.port))
    console = () if options.console_port is None else ("--console-port", str(options.console_port))
    replicas = [f"--{name}={getattr(options, name)}" for name in ("edges", *_REPLICATED)]
    more = (*replicas, f"--nats-nodes={options.nats_nodes}", *(("--tls",) if options.tls else ()))
    argv = (*service_command("up"), *arguments, *console, *more, "--json")
    with open(log, "ab", opener=lambda path, flags: os.open(path, flags, 0o600)) as errors:
        said_from = errors.tell()
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **python_path(os.environ)},
            start_new_session=True,
        )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        return _fail("stopped before it was ready")
    if not line:
        process.wait()
        with log.open("rb") as said:
            said.seek(said_from)
            sys.stderr.write(said.read().decode(errors="replace"))
        return 1
    _say(line.decode().rstrip() if options.json else _welcome(RunState.read(folder.path), folder))
    return 0


def _welcome(state: RunState, folder: StateFolder) -> str:
    body = f'{{"model": "{seed.MODEL}", "max_tokens": 100, "messages": [{{"role": "user", "content": "Hello"}}]}}'
    return f"""Tollhouse is ready at {state.base_url}

  key        {state.api_key}
  console    {state.console_url}
  operator   {state.operator_email} {state.operator_password or "(the password was changed)"}
  simulator  {state.simulator_url} (answers until you add an upstream account of your own)

Try it:

  curl {state.base_url}/v1/messages \\
    -H 'x-api-key: {state.api_key}' \\
    -H 'anthropic-version: 2023-06-01' \\
    -H 'content-type: application/json' \\
    -d '{body}'

  {sys.argv[0]} status --state-dir {folder.path}    shows how it is
  {sys.argv[0]} down --state-dir {folder.path}      stops it, as Ctrl-C does where it runs in front
"""


def _running_at(folder: StateFolder) -> str:
    try:
        return f": Tollhouse runs at {RunState.read(folder.path).base_url}"
    except (NotRunning, msgspec.DecodeError):
        return ""


def _say(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # nobody reads any more; that is no reason to stop
        sys.stdout = sys.stderr


def _fail(text: str) -> int:
    print(f"tollhouse: {text}", file=sys.stderr, flush=True)
    return 1
