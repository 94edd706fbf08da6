"""Unit tests of services.edge.incoming: bodies that come late, clients that leave."""

import asyncio
import dataclasses
from collections.abc import Callable
from typing import Any, cast

import pytest

from services.edge.incoming import Bodies, ClientGone, Incoming
from services.edge.settings import EdgeSettings
from services.shared import lifecycle
from services.shared.connections import Line
from services.shared.errors import Kind, Refusal
from services.shared.settings import SettingsError
from tests.unit.edge.test_picks import SETTINGS

IMPATIENT = dataclasses.replace(SETTINGS, body_timeout_s=0.1, body_max_bytes=1024, body_bytes_per_s=10)
GONE = {"type": "http.disconnect"}


class Client:
    """A client that says what the test has it say, and the line to it."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.leaving: Callable[[], None] | None = None

    def says(self, body: bytes, *, more: bool = False) -> None:
        self.messages.put_nowait({"type": "http.request", "body": body, "more_body": more})

    def leaves(self) -> None:
        self.messages.put_nowait(GONE)
        if self.leaving is not None:
            self.leaving()

    def watch(self, leaving: Callable[[], None]) -> None:
        self.leaving = leaving

    def unwatch(self) -> None:
        self.leaving = None

    def request(self, bodies: Bodies, settings: EdgeSettings = IMPATIENT) -> Incoming:
        return Incoming(self.messages.get, cast(Line, self), settings, bodies)


@pytest.fixture
async def bodies() -> Bodies:
    return Bodies(1 << 20)


async def test_a_body_is_put_together(bodies: Bodies) -> None:
    client = Client()
    client.says(b"one ", more=True)
    client.says(b"two")
    assert await client.request(bodies).body("acme", None) == b"one two"
    assert not bodies.on_their_way


@pytest.mark.parametrize("first", [b"", b"half"])
async def test_a_body_that_does_not_come_is_refused_in_time(bodies: Bodies, first: bytes) -> None:
    client = Client()
    if first:
        client.says(first, more=True)
    with pytest.raises(Refusal) as refused:
        await client.request(bodies).body("acme", None)
    assert refused.value.kind is Kind.REQUEST_TIMEOUT
    task = asyncio.current_task()
    assert task is not None
    assert not task.cancelling()
    assert not bodies.on_their_way


async def test_a_body_that_comes_slowly_is_waited_for(bodies: Bodies) -> None:
    client = Client()

    async def speak() -> None:
        for _ in range(6):
            await asyncio.sleep(0.05)
            client.says(b"x", more=True)
        client.says(b"")

    speaking = asyncio.create_task(speak())
    assert await client.request(bodies).body("acme", None) == b"x" * 6
    await speaking


async def test_a_body_that_comes_too_slowly_is_refused(bodies: Bodies) -> None:
    client = Client()

    async def speak() -> None:
        while True:
            await asyncio.sleep(0.02)
            client.says(b"x", more=True)

    speaking = asyncio.create_task(speak())
    with pytest.raises(Refusal, match="too slowly"):
        await client.request(bodies, dataclasses.replace(IMPATIENT, body_bytes_per_s=1000)).body("acme", None)
    await lifecycle.end(speaking)


@pytest.mark.parametrize(("length", "pieces"), [(2000, 0), (None, 3), (None, 1)])
async def test_a_body_over_the_limit_is_refused(bodies: Bodies, length: int | None, pieces: int) -> None:
    client = Client()
    for number in range(pieces):
        client.says(b"x" * 2000, more=number + 1 < pieces)
    with pytest.raises(Refusal) as refused:
        await client.request(bodies).body("acme", length)
    assert refused.value.kind is Kind.REQUEST_TOO_LARGE


async def arrived(bodies: Bodies, tenant: str, pieces: int) -> Incoming:
    """A request whose body has come, in pieces of 500 bytes."""
    client = Client()
    incoming = client.request(bodies)
    for number in range(pieces):
        client.says(b"x" * 500, more=number + 1 < pieces)
    try:
        await incoming.body(tenant, None)
    except Refusal:
        incoming.end()
        raise
    return incoming


async def test_all_bodies_together_have_so_much_room(bodies: Bodies) -> None:
    bodies.most_bytes = 2400
    first, second, _ = [await arrived(bodies, tenant, pieces) for tenant, pieces in (("a", 2), ("b", 1), ("c", 1))]
    with pytest.raises(Refusal) as refused:
        await arrived(bodies, "d", 2)
    assert refused.value.kind is Kind.BODIES_FULL
    assert bodies.bytes == 2000, "what was refused takes no room"
    first.forget_body()
    await arrived(bodies, "d", 2)
    first.end()
    second.end()
    assert bodies.bytes == 1500, "room is given back once"


async def test_half_of_the_room_is_for_other_tenants(bodies: Bodies) -> None:
    bodies.most_bytes = 2400
    first, second = await arrived(bodies, "a", 1), await arrived(bodies, "a", 1)
    with pytest.raises(Refusal):
        await arrived(bodies, "a", 1)
    other = await arrived(bodies, "b", 2)
    first.end()
    await arrived(bodies, "a", 1)
    second.end()
    other.end()
    assert bodies.bytes == 500


async def test_a_client_that_leaves_before_its_body_was_read_is_gone(bodies: Bodies) -> None:
    client = Client()
    client.leaves()
    with pytest.raises(ClientGone):
        await client.request(bodies).body("acme", None)


async def test_a_client_that_leaves_cancels_its_request(bodies: Bodies) -> None:
    client = Client()
    client.says(b"{}")

    async def request() -> Incoming:
        incoming = client.request(bodies)
        await incoming.body("acme", None)
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


async def test_a_request_that_has_ended_is_cancelled_by_nobody(bodies: Bodies) -> None:
    client = Client()
    client.says(b"{}")
    incoming = client.request(bodies)
    await incoming.body("acme", None)
    assert client.leaving is not None
    incoming.end()
    assert client.leaving is None
    client.leaves()
    await asyncio.sleep(0)
    assert not incoming.gone


def test_the_largest_body_has_room_in_a_tenants_half() -> None:
    dataclasses.replace(SETTINGS, body_max_bytes=2048, bodies_max_bytes=4096)
    with pytest.raises(SettingsError, match="TOLLHOUSE_EDGE_BODIES_MAX_BYTES: less than twice"):
        dataclasses.replace(SETTINGS, body_max_bytes=2048, bodies_max_bytes=4095)
