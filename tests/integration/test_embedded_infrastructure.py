"""The embedded Postgres and NATS, and `tollhouse up` around them: real binaries, a fresh state folder each."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import psycopg
import pytest

from services.embedded import nats as embedded_nats
from services.embedded import ports, postgres
from services.embedded.health import healthy, with_credentials
from services.embedded.process import Child, Program, StartFailed
from services.embedded.programs import python_path
from services.embedded.state import RunState, StateFolder
from services.shared import clock

PASSWORD = "not-a-guess"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    made = StateFolder(tmp_path / "state")
    made.create()
    return made


@asynccontextmanager
async def running(program: Program, folder: StateFolder) -> AsyncIterator[Child]:
    child = Child(program, folder.log, lambda: None)
    child.start()
    try:
        await child.ready(clock.monotonic_s() + 30)
        yield child
    finally:
        await child.stop()


@asynccontextmanager
async def running_postgres(folder: StateFolder) -> AsyncIterator[tuple[Child, str]]:
    port = ports.free(1)[0]
    async with running(await postgres.program(folder, port, PASSWORD), folder) as child:
        postgres.ensure_database(port, PASSWORD)
        yield child, postgres.database_url(port, PASSWORD)


async def until(condition: Callable[[], Any], within_s: float = 10) -> None:
    deadline_s = clock.monotonic_s() + within_s
    while not condition():
        assert clock.monotonic_s() < deadline_s, "it did not come true in time"
        await asyncio.sleep(0.02)


def alive(pid: int) -> bool:
    """A zombie is dead: only the machine's init has not looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def one(url: str, query: str) -> Any:
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


# ---- Postgres ----


async def test_postgres_is_durable_private_and_sorts_the_same_everywhere(folder: StateFolder) -> None:
    async with running_postgres(folder) as (child, url):
        assert one(url, "SHOW fsync") == "on"
        assert one(url, "SHOW synchronous_commit") == "on"
        assert one(url, "SHOW listen_addresses") == "127.0.0.1"
        assert one(url, "SHOW unix_socket_directories") == ""
        assert one(url, "SHOW server_encoding") == "UTF8"
        query = "SELECT datlocprovider::text || ' ' || datlocale FROM pg_database WHERE datname = current_database()"
        assert one(url, query) == "b C.UTF-8"
        assert int((folder.postgres / "postmaster.pid").read_text().split()[0]) == child.pid
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(with_credentials(url, postgres.SUPERUSER, "a guess"))
    assert not (folder.postgres / "postmaster.pid").exists()
    assert not (folder.path / "postgres.pw").exists()


async def test_postgres_keeps_its_data_over_a_stop_and_a_start(folder: StateFolder) -> None:
    async with running_postgres(folder) as (_, url):
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
    async with running_postgres(folder) as (_, url):
        assert one(url, "SELECT number FROM kept") == 7


async def test_a_killed_postgres_is_back_on_its_port_with_what_was_committed(folder: StateFolder) -> None:
    async with running_postgres(folder) as (child, url):
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: child.pid not in (None, first))
        await child.ready(clock.monotonic_s() + 20)
        assert one(url, "SELECT number FROM kept") == 7
        assert child.restarts >= 1


async def test_a_pid_file_whose_number_is_somebody_elses_is_no_obstacle(folder: StateFolder) -> None:
    async with running_postgres(folder) as (child, _):
        assert child.pid is not None
        content = (folder.postgres / "postmaster.pid").read_text().splitlines()
    stale = "\n".join([str(os.getpid()), *content[1:]])
    (folder.postgres / "postmaster.pid").write_text(f"{stale}\n")
    async with running_postgres(folder) as (_, url):
        assert one(url, "SELECT 1") == 1


async def test_half_a_cluster_is_made_anew(folder: StateFolder) -> None:
    (folder.path / "postgres.new").mkdir()
    (folder.path / "postgres.new" / "PG_VERSION").write_text("18\n")
    async with running_postgres(folder) as (_, url):
        assert one(url, "SELECT 1") == 1


@as_root
async def test_where_namespaces_are_refused_postgres_runs_as_nobody_and_can_come_back(
    folder: StateFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = tmp_path / "bin" / "unshare"
    refusing.parent.mkdir()
    refusing.write_text("#!/bin/sh\nexit 1\n")
    refusing.chmod(0o755)
    parent = folder.path.parent.stat()
    async with running_postgres(folder):
        owner = folder.postgres.stat().st_uid
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{refusing.parent}:{os.environ['PATH']}")
        async with running_postgres(folder) as (child, url):
            assert one(url, "SELECT 1") == 1
            status = Path(f"/proc/{child.pid}/status").read_text()
            assert "Uid:\t65534\t65534\t65534\t65534" in status
            assert {path.stat().st_uid for path in folder.postgres.rglob("*")} == {65534}
    async with running_postgres(folder) as (_, url):
        assert one(url, "SELECT 1") == 1
        assert folder.postgres.stat().st_uid == owner
    assert folder.path.stat().st_uid == 0
    assert (folder.path.parent.stat().st_mode, folder.path.parent.stat().st_uid) == (parent.st_mode, parent.st_uid)


@as_root
async def test_where_nothing_helps_postgres_says_why_it_cannot_run(
    folder: StateFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("unshare", "setpriv"):
        refusing = tmp_path / name
        refusing.write_text(f"#!/bin/sh\necho {name} may not do that >&2; exit 1\n")
        refusing.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(StartFailed, match="Postgres does not run as root") as failure:
        await postgres.program(folder, 1, PASSWORD)
    assert "setpriv may not do that" in str(failure.value)


# ---- NATS ----


async def test_nats_keeps_what_jetstream_acknowledged_through_a_kill(folder: StateFolder) -> None:
    port = ports.free(1)[0]
    url = embedded_nats.client_url(port, PASSWORD)
    async with running(embedded_nats.program(folder, port, PASSWORD), folder) as child:
        client = await nats.connect(url)
        stream = client.jetstream()
        await stream.add_stream(name="kept", subjects=["kept"])
        for number in range(50):
            await stream.publish("kept", str(number).encode())
        await client.close()
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: child.pid not in (None, first))
        await child.ready(clock.monotonic_s() + 20)
        client = await nats.connect(url)
        assert (await client.jetstream().stream_info("kept")).state.messages == 50
        await client.close()


async def test_nats_lets_nobody_in_without_the_password(folder: StateFolder) -> None:
    port = ports.free(1)[0]
    async with running(embedded_nats.program(folder, port, PASSWORD), folder):
        assert folder.nats_config.stat().st_mode & 0o777 == 0o600
        assert not await healthy(f"nats://127.0.0.1:{port}")
        assert not await healthy(embedded_nats.client_url(port, "a guess"))
        assert await healthy(embedded_nats.client_url(port, PASSWORD))


# ---- the tie to the parent ----

_PARENT = """
import asyncio, sys
from pathlib import Path
from services.embedded import nats, postgres, ports
from services.embedded.process import Child
from services.embedded.state import StateFolder
from services.shared import clock

async def main():
    folder = StateFolder(Path(sys.argv[1]))
    first, second = ports.free(2)
    programs = [await postgres.program(folder, first, sys.argv[2]), nats.program(folder, second, sys.argv[2])]
    children = [Child(program, folder.log, lambda: None) for program in programs]
    for child in children:
        child.start()
    for child in children:
        await child.ready(clock.monotonic_s() + 30)
    print(*(child.pid for child in children), flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_children_die_with_a_parent_that_was_killed_and_postgres_shuts_down_cleanly(folder: StateFolder) -> None:
    parent = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _PARENT, str(folder.path), PASSWORD),
        stdout=subprocess.PIPE,
        env={**os.environ, **python_path(os.environ)},
    )
    assert parent.stdout is not None
    pids = [int(text) for text in (await parent.stdout.readline()).split()]
    assert len(pids) == 2
    assert all(map(alive, pids))
    parent.kill()
    await parent.wait()
    await until(lambda: not any(map(alive, pids)))
    assert "database system is shut down" in (folder.log / "postgres.log").read_text()
    async with running_postgres(folder):
        pass


# ---- up, down, status ----


class Cli:
    """`tollhouse` on one state folder."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.port = ports.free(1)[0]

    def __call__(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "services", *arguments, "--state-dir", str(self.state)],
            env={**os.environ, **python_path(os.environ), **environment},
            capture_output=True,
            text=True,
            timeout=100,
        )

    def up(self, *arguments: str, **environment: str) -> dict[str, Any]:
        done = self("up", "--detach", "--json", "--port", str(self.port), *arguments, **environment)
        assert done.returncode == 0, done.stderr
        line, rest = done.stdout.split("\n", 1)
        assert rest == ""
        ready: dict[str, Any] = json.loads(line)
        return ready


@pytest.fixture
def cli(tmp_path: Path) -> Iterator[Cli]:
    command = Cli(tmp_path / "state")
    yield command
    command("down")


def all_pids(ready: dict[str, Any]) -> list[int]:
    return [pid for pids in ready["pids"].values() for pid in pids]


def test_what_is_not_running_has_no_status_and_nothing_to_stop(cli: Cli) -> None:
    status = cli("status", "--json")
    assert (status.returncode, json.loads(status.stdout)) == (1, [])
    assert "not running" in status.stderr
    assert cli("down").returncode == 0


def test_tls_is_not_for_a_nats_of_another_authority(cli: Cli) -> None:
    refused = cli("up", "--detach", "--tls", "--port", "0", TOLLHOUSE_NATS_URL="nats://127.0.0.1:4222")
    assert refused.returncode == 1
    assert "--tls is for the NATS of `up`" in refused.stderr


def test_up_shows_every_process_and_a_second_one_says_who_holds_the_folder(cli: Cli) -> None:
    ready = cli.up("--edges", "2")
    assert {part: len(pids) for part, pids in ready["pids"].items()} == {
        **dict.fromkeys(("auth", "router", "ledger", "console", "nats", "postgres", "simulator"), 1),
        "edge": 2,
    }
    status = cli("status", "--json")
    rows = json.loads(status.stdout)
    assert status.returncode == 0, rows
    assert {row["pid"] for row in rows} == set(all_pids(ready))
    assert all(row["health"] == "healthy" and row["memory_mb"] > 5 for row in rows)

    second = cli("up", "--port", str(ports.free(1)[0]))
    assert second.returncode == 1
    assert f"in use by process {RunState.read(cli.state).supervisor}" in second.stderr
    assert ready["base_url"] in second.stderr

    began_s = time.monotonic()
    assert cli("down").returncode == 0
    assert time.monotonic() - began_s < 20
    assert not any(map(alive, all_pids(ready)))
    assert not (cli.state / "run.json").exists()


async def test_after_a_kill_of_up_nothing_is_left_and_the_next_start_is_quick(cli: Cli) -> None:
    first = cli.up()
    os.kill(RunState.read(cli.state).supervisor, signal.SIGKILL)
    await until(lambda: not any(map(alive, all_pids(first))))
    second = cli.up()
    assert second["api_key"] == first["api_key"]
    assert (cli.state / "demo.key").read_text().strip() == first["api_key"]


async def test_a_service_that_dies_is_started_anew_and_its_pid_is_told(cli: Cli) -> None:
    ready = cli.up()
    killed = ready["pids"]["router"][0]
    os.kill(killed, signal.SIGKILL)
    await until(lambda: RunState.read(cli.state).pids["router"] not in ([], [killed]))
    await until(lambda: cli("status").returncode == 0)
    row = next(row for row in json.loads(cli("status", "--json").stdout) if row["name"] == "router")
    assert row["restarts"] == 1


def test_what_the_operator_did_to_the_demo_account_stays_done(cli: Cli) -> None:
    cli.up()
    assert cli("account", "disable", "simulator").returncode == 0
    assert cli("down").returncode == 0
    cli.up()
    listed = cli("account", "list").stdout
    assert "disabled" in listed
    assert RunState.read(cli.state).simulator_url in listed
    assert cli("account", "delete", "simulator").returncode == 0
    assert cli("down").returncode == 0
    cli.up()
    assert "simulator" not in cli("account", "list").stdout


def test_a_wrong_setting_ends_the_start_with_the_services_own_words(cli: Cli) -> None:
    failed = cli("up", "--port", str(cli.port), TOLLHOUSE_AUTH_DRAIN_S="soon")
    assert failed.returncode == 1
    assert "auth ended before it was ready" in failed.stderr
    assert "TOLLHOUSE_AUTH_DRAIN_S: 'soon' is not a number" in failed.stderr
    assert failed.stdout == ""


def test_a_port_in_use_is_said_at_once(cli: Cli) -> None:
    other = Cli(cli.state.with_name("other"))
    other.up("--port", str(cli.port))
    failed = cli("up", "--detach", "--port", str(cli.port))
    other("down")
    assert failed.returncode == 1
    assert f"cannot listen on http://127.0.0.1:{cli.port}" in failed.stderr
    assert "--port" in failed.stderr


async def test_the_operators_own_servers_are_used_and_no_others_started(folder: StateFolder, cli: Cli) -> None:
    own = StateFolder(folder.path.with_name("own"))
    own.create()
    port = ports.free(1)[0]
    async with (
        running_postgres(own) as (_, database_url),
        running(embedded_nats.program(own, port, PASSWORD), own),
    ):
        servers = {
            "TOLLHOUSE_DATABASE_URL": database_url,
            "TOLLHOUSE_NATS_URL": embedded_nats.client_url(port, PASSWORD),
        }
        ready = await asyncio.to_thread(lambda: cli.up(**servers))
        assert ready["pids"]["postgres"] == ready["pids"]["nats"] == []
        assert not (cli.state / "postgres").exists()
        assert one(database_url, "SELECT count(*) FROM auth.tenants WHERE tenant_id = 'demo'") == 1
        status = await asyncio.to_thread(lambda: cli("status"))
        assert status.returncode == 0, status.stdout
        assert PASSWORD not in (cli.state / "run.json").read_text()
        await asyncio.to_thread(lambda: cli("down"))
