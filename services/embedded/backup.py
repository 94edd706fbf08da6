"""`tollhouse backup` and `tollhouse restore`: the database of a state folder, in a file and back."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql

from services.embedded import ports, postgres
from services.embedded.health import with_credentials
from services.embedded.process import Child, StartFailed
from services.embedded.state import Held, NotRunning, RunState, Secrets, StateFolder
from services.migrate import make_roles
from services.shared import clock, settings

_READY_WITHIN_S: Final = 60.0


class BackupFailed(Exception):
    """It could not be done; its text says why."""


def save(state_dir: Path, file: Path) -> int:
    """Writes the database of what runs on a state folder into a file of mode 0600; answers the exit code."""
    try:
        _dump(_running_url(StateFolder(state_dir)), file)
    except (BackupFailed, NotRunning, StartFailed, OSError) as error:
        return _fail(str(error))
    print(f"{file}: {file.stat().st_size} bytes; keep secrets.json, master.key and receipt.key too, apart from it")
    return 0


def restore(state_dir: Path, file: Path) -> int:
    """Puts the database of a file in place of that of a state folder on which nothing runs; answers the exit code."""
    folder = StateFolder(state_dir)
    try:
        if not file.is_file():
            raise BackupFailed(f"there is no file {file}")
        folder.create()
        with folder.held():
            asyncio.run(_restore(folder, file))
    except Held as held:
        return _fail(f"{folder.path} is in use by process {held.pid}: stop it first, with `tollhouse down`")
    except (BackupFailed, StartFailed, OSError, psycopg.Error) as error:
        return _fail(str(error))
    print("the database is restored; `tollhouse up` brings it to this release, then run `tollhouse ledger verify`")
    return 0


def _running_url(folder: StateFolder) -> str:
    place = RunState.read(folder.path).addresses["postgres"]
    if settings.plain("TOLLHOUSE_DATABASE_URL"):
        raise BackupFailed("the database is your own: back it up by its own means")
    return with_credentials(place, postgres.SUPERUSER, Secrets.load(folder).postgres)


def _dump(url: str, file: Path) -> None:
    draft = file.with_name(f".{file.name}.part")
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600))
    try:
        _run("pg_dump", url, ["--format=custom", f"--file={draft}"])
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


async def _restore(folder: StateFolder, file: Path) -> None:
    """Starts Postgres alone, and replaces the database by the file's in one transaction."""
    secrets, port = Secrets.load(folder), ports.free(1)[0]
    child = Child(await postgres.program(folder, port, secrets.postgres), folder.log, lambda: None)
    child.start()
    try:
        await child.ready(clock.monotonic_s() + _READY_WITHIN_S)
        await asyncio.to_thread(_replace, port, secrets.postgres, file)
    finally:
        await child.stop()


def _replace(port: int, password: str, file: Path) -> None:
    """The file goes into a database of its own, which takes the place of the other when all of it is there."""
    url = postgres.database_url(port, password)
    anew, before = f"{postgres.DATABASE}_restored", f"{postgres.DATABASE}_before"
    postgres.ensure_database(port, password)
    server = with_credentials(f"postgresql://127.0.0.1:{port}/postgres", postgres.SUPERUSER, password)
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(anew)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(anew)))
        into = url.removesuffix(postgres.DATABASE) + anew
        make_roles(into)
        _run("pg_restore", into, ["--clean", "--if-exists", "--single-transaction", "--exit-on-error", str(file)])
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(before)))
        with connection.transaction():  # at no moment is there no database
            for name, other in ((postgres.DATABASE, before), (anew, postgres.DATABASE)):
                rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
                connection.execute(rename.format(sql.Identifier(name), sql.Identifier(other)))
        connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(before)))


def _run(program: str, url: str, arguments: Sequence[str]) -> None:
    """Runs one of Postgres' own programs on a database. The password goes by the environment: others see command
    lines."""
    parts = urlsplit(url)
    place = parts._replace(netloc=f"{parts.username}@{parts.netloc.rpartition('@')[2]}").geturl()
    done = subprocess.run(
        [str(postgres.binary(program)), f"--dbname={place}", *arguments],
        capture_output=True,
        text=True,
        env={"PATH": os.defpath, "PGPASSWORD": unquote(parts.password or "")},
    )
    if done.returncode:
        raise BackupFailed(f"{program} failed:\n{done.stderr.strip()}")


def _fail(text: str) -> int:
    print(f"tollhouse: {text}", file=sys.stderr)
    return 1
