"""Unit tests of services.edge.incoming: bodies that come late, clients that leave."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.edge.incoming import ClientGone, Doors, Incoming
from services.shared import lifecycle
from services.shared.errors import Kind, Refusal
from tests.unit.edge.test_picks import SETTINGS

IMPATIENT = dataclasses.replace(SETTINGS, body_timeout_s=0.1, body_max_bytes=1024, body_bytes_per_s=10)
GONE = {"type": "http.disconnect"}


class Client:
    """A client that says what the test has it say."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    def says(self, body: bytes, *, more: bool = False) -> None:
        self.messages.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leaves(self) -> None:
        self.messages.put_nowait(GONE)


@pytest.fixture
async def doors() -> AsyncIterator[Doors]:
    doors = Doors()
    running = asyncio.create_task(doors.run())
    yield doors
    await lifecycle.end(running)


async def test_a_body_is_put_together(doors: Doors) -> None:
    client = Client()
    client.says(b"one ", more=True)
    client.says(b"two")
    assert await Incoming(client.messages.get, IMPATIENT, doors).body(None) == b"one two"
    assert not doors.reading


@pytest.mark.parametrize("first", [b"", b"half"])
async def test_a_body_that_does_not_come_is_refused_in_time(doors: Doors, first: bytes) -> None:
    client = Client()
    if first:
        client.says(first, more=True)
    with pytest.raises(Refusal) as refused:
        await Incoming(client.messages.get, IMPATIENT, doors).body(None)
    assert refused.value.kind is Kind.REQUEST_TIMEOUT
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    assert not doors.reading


async def test_a_body_that_comes_slowly_is_waited_for(doors: Doors) -> None:
    client = Client()

    async def speak() -> None:
        for _ in range(6):
            await asyncio.sleep(0.05)
            client.says(b"x", more=True)
        client.says(b"")

    speaking = asyncio.create_task(speak())
    assert await Incoming(client.messages.get, IMPATIENT, doors).body(None) == b"x" * 6
    await speaking


async def test_a_body_that_comes_too_slowly_is_refused(doors: Doors) -> None:
    client = Client()

    async def speak() -> None:
        while True:
            await asyncio.sleep(0.02)
            client.says(b"x", more=True)

    speaking = asyncio.create_task(speak())
    with pytest.raises(Refusal, match="too slowly"):
        await Incoming(client.messages.get, dataclasses.replace(IMPATIENT, body_bytes_per_s=1000), doors).body(None)
    await lifecycle.end(speaking)


@pytest.mark.parametrize(("length", "pieces"), [(2000, 0), (None, 3), (None, 1)])
async def test_a_body_over_the_limit_is_refused(doors: Doors, length: int | None, pieces: int) -> None:
    client = Client()
    for number in range(pieces):
        client.says(b"x" * 2000, more=number + 1 < pieces)
    with pytest.raises(Refusal) as refused:
        await Incoming(client.messages.get, IMPATIENT, doors).body(length)
    assert refused.value.kind is Kind.REQUEST_TOO_LARGE


async def test_a_client_that_leaves_before_its_body_was_read_is_gone(doors: Doors) -> None:
    client = Client()
    client.leaves()
    with pytest.raises(ClientGone):
        await Incoming(client.messages.get, IMPATIENT, doors).body(None)


async def test_a_client_that_leaves_cancels_its_request(doors: Doors) -> None:
    client = Client()
    client.says(b"{}")

    async def request() -> Incoming:
        incoming = Incoming(client.messages.get, IMPATIENT, doors)
        await incoming.body(None)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(30)
        incoming.absorb_cancellation()
        incoming.end()
        return incoming

    running = asyncio.create_task(request())
    await asyncio.sleep(0)
    client.leaves()
    async with asyncio.timeout(5):
        assert (await running).gone
    assert not running.cancelling()


async def test_a_request_that_has_ended_is_cancelled_by_nobody(doors: Doors) -> None:
    client = Client()
    client.says(b"{}")
    incoming = Incoming(client.messages.get, IMPATIENT, doors)
    await incoming.body(None)
    incoming.end()
    client.leaves()
    await asyncio.sleep(0.1)
    assert not incoming.gone
    assert client.messages.qsize() == 1
