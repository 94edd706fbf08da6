"""Unit tests of services.ledger.waiters."""

import asyncio

from services.ledger.waiters import Waiters
from services.shared import clock


async def timed(waiters: Waiters, request_id: str, timeout_s: float) -> float:
    began_s = clock.monotonic_s()
    await waiters.wait(request_id, timeout_s)
    return clock.monotonic_s() - began_s


async def begun(*waits: asyncio.Task[float]) -> None:
    await asyncio.sleep(0.01)
    assert not any(wait.done() for wait in waits)


async def test_all_who_wait_for_a_request_wake_when_it_is_announced_and_nobody_else() -> None:
    waiters = Waiters(10)
    awaited = [asyncio.create_task(timed(waiters, "req_1", 5)) for _ in range(3)]
    other = asyncio.create_task(timed(waiters, "req_2", 5))
    await begun(*awaited, other)
    waiters.announce(["req_0", "req_1"])
    assert max(await asyncio.wait_for(asyncio.gather(*awaited), 10)) < 5
    assert not other.done()
    waiters.announce(["req_2"])
    await asyncio.wait_for(other, 10)


async def test_who_waits_in_vain_returns_when_the_time_is_over() -> None:
    assert 0.05 <= await timed(Waiters(10), "req_1", 0.05) < 1


async def test_who_has_no_time_returns_at_once() -> None:
    waiters = Waiters(10)
    assert await timed(waiters, "req_1", 0) < 0.05
    assert await timed(waiters, "req_1", -1) < 0.05


async def test_who_comes_when_too_many_wait_returns_at_once() -> None:
    waiters = Waiters(2)
    two = [asyncio.create_task(timed(waiters, "req_1", 5)) for _ in range(2)]
    await begun(*two)
    assert await timed(waiters, "req_2", 5) < 0.05
    waiters.announce(["req_1"])
    await asyncio.gather(*two)
    assert await timed(waiters, "req_2", 0.05) >= 0.05  # there is room again


async def test_who_gives_up_makes_room() -> None:
    waiters = Waiters(1)
    leaving = asyncio.create_task(timed(waiters, "req_1", 5))
    await begun(leaving)
    leaving.cancel()
    await asyncio.wait([leaving])
    assert leaving.cancelled()
    waiters.announce(["req_1"])
    assert await timed(waiters, "req_1", 0.05) >= 0.05


async def test_a_request_may_be_announced_twice_and_with_nobody_waiting() -> None:
    waiters = Waiters(10)
    waiters.announce(["req_1"])
    wait = asyncio.create_task(timed(waiters, "req_1", 5))
    await begun(wait)
    waiters.announce(["req_1", "req_1"])
    waiters.announce(["req_1"])
    await asyncio.wait_for(wait, 10)
