"""Every process of a deployment with replicas restarted in turn, then killed in turn, and Postgres away for half a
minute, at a steady load. Nobody who asks notices, but whose request was on an edge that was killed.

The load is what official SDKs and load balancers make of it: connections are kept, and a request whose connection broke
before its answer began is sent again, twice at most. Answers of ours are taken as they come, errors among them.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import nats
import pytest

from services.embedded.state import RunState
from services.shared import bus
from tests.chaos.audit import booked_by_key, compare, held, secrets, served_by_key, table
from tests.chaos.load import SENT_AGAIN, STEADY, Failed, Load
from tests.chaos.rolling import end, pid_of, processes
from tests.deployment import MODEL, NOTICED, Deployment, deployed, eventually
from tollhouse.v1 import ledger_pb2

TOPOLOGY: Final = ("--edges", "3", "--auths", "2", "--routers", "2", "--ledgers", "2", "--nats-nodes", "3")
PARTS: Final = ("edge", "auth", "router", "ledger", "nats", "postgres")
RATE: Final = 40.0
DOLLARS: Final = 1000.0
AWAY_S: Final = 30.0
BUSY_S: Final = 15.0
"""How long tenants spend before Postgres goes: an auth that was just started learns what they need meanwhile."""
SETTINGS: Final = {
    "TOLLHOUSE_EDGE_HOLD_RENEW_S": "1",
    "TOLLHOUSE_AUTH_HOLD_TTL_S": "20",
    "TOLLHOUSE_AUTH_GRANT_RENEW_S": "2",
    "TOLLHOUSE_SIMULATOR_REMEMBER": "1000000",
}


async def leader(tollhouse: Deployment) -> str:
    """The name of the process that leads the usage stream."""
    run = RunState.read(tollhouse.state_dir)
    password = secrets(tollhouse)["nats"]
    urls = [f"nats://tollhouse:{password}@{process.address}" for process in run.processes if process.part == "nats"]
    nc = await nats.connect(urls)
    try:
        cluster = (await nc.jetstream().stream_info(bus.USAGE_STREAM)).cluster
        assert cluster is not None
        assert cluster.leader is not None
        return cluster.leader.replace("tollhouse", "nats")
    finally:
        await nc.close()


@contextlib.contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process and all that it started stand still while the block runs."""
    os.kill(pid, signal.SIGSTOP)
    family = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    try:
        for member in family[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGSTOP)
        yield
    finally:
        for member in reversed(family):
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGCONT)


class Report:
    """What happened to the load in each phase."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._seen = 0
        self._made = self._again = 0
        self.lines: list[tuple[str, object]] = []

    def phase(self, name: str) -> list[Failed]:
        """The requests that failed since the phase before."""
        failed = self._load.failed[self._seen :]
        made, again = self._load.made - self._made, self._load.sent_again - self._again
        self._seen, self._made, self._again = len(self._load.failed), self._load.made, self._load.sent_again
        self.lines.append((name, f"{made} requests, {again} sent again, {len(failed)} failed"))
        self.lines += [(f"  {said}, {kind}", count) for (said, kind), count in _ways(failed).items()]
        return failed


def _ways(failed: list[Failed]) -> Counter[tuple[str, str]]:
    return Counter((one.said, one.kind) for one in failed)


def _under_way(request: Failed, moments_s: list[float]) -> bool:
    return any(request.began_s <= moment_s <= request.ended_s for moment_s in moments_s)


async def restart_everything(tollhouse: Deployment) -> None:
    """Every process in turn, as an upgrade does it; Postgres by its own signal for a quick stop."""
    for name in processes(tollhouse, PARTS):
        await end(tollhouse, name, signal.SIGINT if name == "postgres" else signal.SIGTERM)


async def kill_everything(tollhouse: Deployment) -> list[float]:
    """Every process in turn, of NATS the leader of the usage stream. Answers when edges were killed."""
    edges = []
    for name in processes(tollhouse, PARTS):
        if name.startswith("nats"):
            continue
        sent_s = await end(tollhouse, name, signal.SIGKILL)
        if name.startswith("edge"):
            edges.append(sent_s)
    await end(tollhouse, await leader(tollhouse), signal.SIGKILL)
    return edges


@pytest.mark.timeout(400)
async def test_restarts_cost_nobody_a_request_and_kills_only_the_streams_of_a_killed_edge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with deployed(tmp_path / "state", *TOPOLOGY, **NOTICED, **SETTINGS) as tollhouse:
        tenants = [tollhouse.tenant(DOLLARS) for _ in range(4)]
        tollhouse.account("first", tollhouse.simulator_url, {MODEL: MODEL})
        load = Load(tollhouse.base_url, tenants, RATE, STEADY, SENT_AGAIN)
        report, running = Report(load), asyncio.create_task(load.run())
        try:
            await asyncio.sleep(3)
            before = report.phase("undisturbed")
            await restart_everything(tollhouse)
            restarted = report.phase("every process restarted")
            edges_killed_s = await kill_everything(tollhouse)
            await asyncio.sleep(BUSY_S)
            killed = report.phase("every process killed")
            postgres = pid_of(tollhouse, "postgres")
            assert postgres is not None
            with stopped(postgres):
                await asyncio.sleep(AWAY_S)
                away = report.phase("Postgres away")
            load.stopping = True
            await running
            after = report.phase("Postgres back")
        finally:
            load.stopping = True
            with capsys.disabled():
                sys.stdout.write("\n" + table(report.lines) + "\n")
        assert before + restarted + away + after == []
        assert [
            one for one in killed if not any(one.began_s <= sent_s <= one.ended_s for sent_s in edges_killed_s)
        ] == []
        await asyncio.to_thread(audit, tollhouse, load)


def audit(tollhouse: Deployment, load: Load) -> None:
    """Everything is booked, once, and the books are right."""
    eventually(lambda: held(tollhouse, load.tenants) == 0, 60, "no hold is open")

    def all_booked() -> bool:
        booked = booked_by_key(tollhouse)
        return all(len(booked[key]) >= len(entries) for key, entries in served_by_key(tollhouse).items())

    eventually(all_booked, 30, "all that was served is booked")
    served, booked = served_by_key(tollhouse), booked_by_key(tollhouse)
    assert compare(served, booked) >= load.outcomes["200"] - load.sent_again
    checks = tollhouse.ledger.VerifyBooks(ledger_pb2.VerifyBooksRequest(), timeout=60).checks
    assert {check.name: list(check.differences) for check in checks} == {check.name: [] for check in checks}
