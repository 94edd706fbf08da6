"""Replicas of the router that share cooldowns through a real NATS."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from nats.aio.client import Client

from services.embedded import nats as embedded_nats
from services.embedded import ports
from services.embedded.process import Child
from services.embedded.state import StateFolder
from services.router.cooldowns import Cooldowns
from services.router.health import Verdict
from services.shared import bus, clock, lifecycle
from services.shared.settings import Secret
from tollhouse.v1 import router_pb2

PASSWORD = "not-a-guess"
FAMILY = "claude sonnet*4.5"


class Server:
    """A NATS server that can be stopped, and started again on the same folder and port."""

    def __init__(self, folder: StateFolder) -> None:
        self._folder = folder
        self._port = ports.free(1)[0]
        self._child: Child | None = None

    async def start(self) -> None:
        program = embedded_nats.program(self._folder, self._port, PASSWORD)
        self._child = Child(program, self._folder.log, lambda: None)
        self._child.start()
        await self._child.ready(clock.monotonic_s() + 30)

    async def stop(self) -> None:
        if self._child is not None:
            await self._child.stop()

    async def connect(self) -> Client:
        return await bus.connect(Secret(embedded_nats.client_url(self._port, PASSWORD)), name="test", wait_s=10)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    folder = StateFolder(tmp_path / "state")
    folder.create()
    server = Server(folder)
    await server.start()
    yield server
    await server.stop()


@contextlib.asynccontextmanager
async def replica(server: Server) -> AsyncIterator[Cooldowns]:
    nc = await server.connect()
    cooldowns = Cooldowns(nc, lambda: 0.5)
    running = asyncio.create_task(cooldowns.run())
    try:
        yield cooldowns
    finally:
        await lifecycle.end(running)
        await nc.close()


def attempt(cooldowns: Cooldowns, account: str, outcome: router_pb2.Outcome.ValueType, retry_after_ms: int = 0) -> None:
    now_ms = clock.now_ms()
    cooldowns.began(account, FAMILY, "one:1", now_ms)
    item = router_pb2.ReportItem(outcome=outcome, retry_after_ms=retry_after_ms)
    cooldowns.ended(account, FAMILY, "one:1", item, now_ms, lambda: True)


def verdict(cooldowns: Cooldowns, account: str) -> Verdict:
    return cooldowns.verdict(account, FAMILY, clock.now_ms())


async def until(condition: Callable[[], bool], within_s: float = 20) -> None:
    deadline_s = clock.monotonic_s() + within_s
    while not condition():
        assert clock.monotonic_s() < deadline_s, "it did not come true in time"
        await asyncio.sleep(0.01)


async def shared(one: Cooldowns, other: Cooldowns) -> None:
    """Waits until both write and watch."""
    attempt(one, "first", router_pb2.OUTCOME_REFUSED)
    await until(lambda: verdict(other, "first") is Verdict.COOLING)


async def test_replicas_see_each_others_cooldowns_and_one_that_starts_later_knows_them(
    server: Server,
) -> None:
    async with replica(server) as one, replica(server) as other:
        await shared(one, other)
        attempt(one, "throttled", router_pb2.OUTCOME_THROTTLED, 60_000)
        attempt(other, "refused", router_pb2.OUTCOME_REFUSED)
        await until(lambda: verdict(other, "throttled") is verdict(one, "refused") is Verdict.COOLING)
        assert other.until_ms("throttled", FAMILY) == one.until_ms("throttled", FAMILY) > clock.now_ms() + 50_000
        assert one.shown("refused", clock.now_ms())[0].cause == router_pb2.CAUSE_REFUSED
    async with replica(server) as third:
        await until(lambda: verdict(third, "throttled") is verdict(third, "refused") is Verdict.COOLING)


async def test_the_longer_of_two_cooldowns_stands_everywhere(server: Server) -> None:
    async with replica(server) as one, replica(server) as other:
        await shared(one, other)
        attempt(one, "acc", router_pb2.OUTCOME_THROTTLED, 90_000)
        attempt(other, "acc", router_pb2.OUTCOME_THROTTLED, 30_000)
        longest_ms = one.until_ms("acc", FAMILY)
        await until(lambda: other.until_ms("acc", FAMILY) == longest_ms)
        await asyncio.sleep(0.3)
        assert one.until_ms("acc", FAMILY) == longest_ms
        async with replica(server) as third:
            await until(lambda: third.until_ms("acc", FAMILY) == longest_ms)


async def test_clearing_and_a_probe_that_succeeds_end_a_cooldown_everywhere(server: Server) -> None:
    async with replica(server) as one, replica(server) as other:
        await shared(one, other)
        attempt(one, "cleared", router_pb2.OUTCOME_REFUSED)
        attempt(one, "probed", router_pb2.OUTCOME_THROTTLED, 1_000)
        await until(lambda: verdict(other, "cleared") is Verdict.COOLING and other.until_ms("probed", FAMILY) > 0)
        other.clear("cleared")
        await until(lambda: verdict(one, "probed") is Verdict.PROBE_DUE)
        attempt(one, "probed", router_pb2.OUTCOME_OK)
        assert verdict(one, "probed") is Verdict.READY
        await until(lambda: verdict(one, "cleared") is verdict(other, "probed") is Verdict.UNPROVEN)
        attempt(one, "cleared", router_pb2.OUTCOME_REFUSED)
        await until(lambda: verdict(other, "cleared") is Verdict.COOLING)
    async with replica(server) as third:
        await until(lambda: verdict(third, "cleared") is Verdict.COOLING)
        assert verdict(third, "probed") is Verdict.UNPROVEN


async def test_what_an_operator_deletes_from_the_bucket_is_over_everywhere(server: Server) -> None:
    async with replica(server) as one, replica(server) as other:
        await shared(one, other)
        nc = await server.connect()
        bucket = await nc.jetstream().key_value(bus.COOLDOWNS_BUCKET)
        for key in await bucket.keys():
            await bucket.delete(key)
        await bucket.put("not-ours", b"\xff")
        await until(lambda: verdict(one, "first") is verdict(other, "first") is Verdict.UNPROVEN)
        await nc.close()


async def test_a_restart_of_nats_loses_nothing_and_what_happens_meanwhile_is_told_after(server: Server) -> None:
    async with replica(server) as one, replica(server) as other:
        await shared(one, other)
        attempt(one, "before", router_pb2.OUTCOME_REFUSED)
        await until(lambda: verdict(other, "before") is Verdict.COOLING)
        await server.stop()
        attempt(one, "meanwhile", router_pb2.OUTCOME_THROTTLED, 120_000)
        other.clear("first")
        assert verdict(one, "meanwhile") is Verdict.COOLING
        await asyncio.sleep(0.5)
        await server.start()
        await until(lambda: verdict(other, "meanwhile") is Verdict.COOLING)
        await until(lambda: verdict(one, "first") is Verdict.UNPROVEN)
        attempt(other, "after", router_pb2.OUTCOME_REFUSED)
        await until(lambda: verdict(one, "after") is Verdict.COOLING)
        async with replica(server) as third:
            await until(
                lambda: all(verdict(third, account) is Verdict.COOLING for account in ("before", "meanwhile", "after"))
            )
            assert verdict(third, "first") is Verdict.UNPROVEN


async def test_accounts_that_are_gone_are_deleted_from_the_bucket(server: Server) -> None:
    async with replica(server) as one, replica(server) as other:
        await shared(one, other)
        attempt(one, "stays", router_pb2.OUTCOME_REFUSED)
        one.forget({"stays"})
        one.forget({"stays"})
        await until(lambda: verdict(other, "first") is Verdict.UNPROVEN)
        assert verdict(other, "stays") is Verdict.COOLING
