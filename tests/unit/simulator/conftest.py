"""A simulator of its own for each test, on the event loop that it is served with."""

import asyncio
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
import uvloop

from services.simulator.app import listen
from services.simulator.settings import SimulatorSettings
from tests.unit.simulator.client import Client


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """How connections are flushed and closed is the loop's own."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    server = await listen(SimulatorSettings(port=0, first_ms=0, gap_ms=0, body_max_bytes=4096))
    port = server.sockets[0].getsockname()[1]
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
        yield Client(session, port)
    server.close()
