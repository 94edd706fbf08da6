"""Unit tests of services.edge.pressure."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.edge.pressure import Pressure
from services.shared import clock, lifecycle


@asynccontextmanager
async def measured(rest_s: float = 0.02) -> AsyncIterator[Pressure]:
    pressure = Pressure(rest_s)
    running = asyncio.create_task(pressure.run())
    try:
        yield pressure
    finally:
        await lifecycle.end(running)


async def test_a_loop_that_sleeps_is_under_no_pressure() -> None:
    async with measured() as pressure:
        await asyncio.sleep(0.5)
        assert pressure.demand < 0.5
        assert pressure.rest_s() == 0


async def test_a_loop_that_never_sleeps_is_under_pressure_until_it_does() -> None:
    async with measured() as pressure:
        until_s = clock.monotonic_s() + 0.5
        while clock.monotonic_s() < until_s:
            await asyncio.sleep(0)
        assert pressure.demand > 0.75
        assert pressure.rest_s() == 0.02
        busy_s = pressure.gather_s()
        await asyncio.sleep(0.3)
        assert pressure.rest_s() == 0
        assert pressure.gather_s() < busy_s
