"""The ledger's booking loop under adversity: a real NATS of its own, real books, one or two consumers on them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import psycopg
import pytest
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import ConsumerInfo
from nats.js.errors import APIError

from services.embedded import nats as embedded_nats
from services.embedded import ports
from services.embedded.state import StateFolder
from services.ledger.consumer import Consumer, StreamLimits, ensure_streams
from services.ledger.price_rows import PriceRows
from services.ledger.store.audit import Deed
from services.ledger.store.booking import BookingStore
from services.ledger.store.prices import PriceRow, PriceStore
from services.shared import bus, lifecycle
from services.shared.pricing import Rates
from services.shared.tracing import Tracer
from tests.books import Books, books_in
from tests.integration.test_books_commands import event
from tests.integration.test_embedded_infrastructure import PASSWORD, running, until
from tollhouse.v1 import events_pb2

MESSAGES = 30
PATIENCE_S = 20
"""Of a busy machine; well below the 30 s after which JetStream delivers again by itself."""
LIMITS = StreamLimits(max_bytes=256 * 1024)


@pytest.fixture
async def nats_url(tmp_path: Path) -> AsyncIterator[str]:
    folder = StateFolder(tmp_path / "state")
    folder.create()
    port = ports.free(1)[0]
    async with running(embedded_nats.program(folder, port, PASSWORD), folder):
        yield embedded_nats.client_url(port, PASSWORD)


@pytest.fixture
async def js(nats_url: str) -> AsyncIterator[JetStreamContext]:
    """The streams, empty."""
    nc = await nats.connect(nats_url)
    await ensure_streams(nc.jetstream(), LIMITS)
    yield nc.jetstream()
    await nc.close()


@asynccontextmanager
async def consuming(
    nats_url: str, books: Books, bookings: BookingStore | None = None
) -> AsyncIterator[tuple[Consumer, asyncio.Task[None]]]:
    """A ledger that books until it is stopped as its process stops: the loop is cancelled, the connection drained."""

    async def announce(transaction_id: int, request_ids: list[str]) -> None:
        pass

    nc: Client = await nats.connect(nats_url)
    prices = PriceRows(PriceStore(books.pool))
    consumer = Consumer(nc, bookings or books.bookings, prices, 8, LIMITS, announce, Tracer("ledger", "test"))
    booking = asyncio.create_task(consumer.run())
    try:
        yield consumer, booking
    finally:
        await lifecycle.end(booking)
        await nc.drain()


async def price(books: Books) -> int:
    """A price's version."""
    row = PriceRow("poison", Rates(0, 1_000_000, 1_000_000, 0, 0, 0), 0)
    return (await PriceStore(books.pool).set_price(row, Deed("test", "set_price", "poison", "-"))).rates.price_version


def batch(*events: events_pb2.UsageEvent) -> bytes:
    return events_pb2.UsageEventBatch(events=events).SerializeToString()


async def publish(js: JetStreamContext, price_version: int, count: int = MESSAGES) -> None:
    for _ in range(count):
        await js.publish(bus.USAGE_SUBJECT, batch(event("acme", price_version)))


async def state(js: JetStreamContext) -> ConsumerInfo:
    info: ConsumerInfo = await js.consumer_info(bus.USAGE_STREAM, "ledger")
    return info


async def held(js: JetStreamContext, messages: int) -> None:
    """Waits until consumers hold so many messages that they have not acknowledged."""
    async with asyncio.timeout(PATIENCE_S):
        while (await state(js)).num_ack_pending != messages:
            await asyncio.sleep(0.02)


async def fill(js: JetStreamContext) -> None:
    """Puts among the dead letters what there is room for."""

    async def without_end() -> None:
        while True:
            await js.publish(bus.DEAD_SUBJECT, bytes(4000))

    with pytest.raises(APIError, match="maximum bytes exceeded"):
        await without_end()


def booked(books: Books) -> int:
    count: int = books.one("SELECT count(*) FROM usage_records")
    return count


async def test_what_a_ledger_held_when_it_stopped_is_booked_by_another_at_once(
    books: Books, nats_url: str, js: JetStreamContext
) -> None:
    version = await price(books)
    await publish(js, version, 1)
    async with consuming(nats_url, books) as (_, stopped):
        await until(lambda: booked(books) == 1, PATIENCE_S)
        with psycopg.connect(books.url) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(hashtext('tollhouse.booking'))")
            await publish(js, version)
            await held(js, MESSAGES)  # a booking is under way, and waits for the lock
            await lifecycle.end(stopped)
    assert booked(books) == 1
    async with consuming(nats_url, books):
        await until(lambda: booked(books) == 1 + MESSAGES, PATIENCE_S)
        await held(js, 0)
    delivered = (await state(js)).delivered
    assert delivered is not None
    assert delivered.consumer_seq == 1 + 2 * MESSAGES
    assert await books.differences() == {}


async def test_what_one_ledger_cannot_book_another_does_while_the_first_tries_on(
    books: Books, nats_url: str, js: JetStreamContext
) -> None:
    async with books_in(books.url) as cut_off:
        bookings = BookingStore(cut_off.pool)
    await publish(js, await price(books))
    async with consuming(nats_url, books, bookings) as (_, failing):
        await held(js, 1)  # it tries one only
        async with consuming(nats_url, books):
            await until(lambda: booked(books) == MESSAGES, PATIENCE_S)
            await held(js, 0)
        assert not failing.done()
    assert await books.differences() == {}


async def test_poison_that_cannot_be_parked_holds_up_no_booking_and_is_parked_once_there_is_room(
    books: Books, nats_url: str, js: JetStreamContext
) -> None:
    version = await price(books)
    await fill(js)
    unreadable = b"\xff" * 5000
    unpriced = event("acme", version + 1)
    unpriced.upstream_model = "x" * 5000
    await js.publish(bus.USAGE_SUBJECT, unreadable)
    await js.publish(bus.USAGE_SUBJECT, batch(event("acme", version), unpriced, unpriced))
    await publish(js, version)
    async with consuming(nats_url, books) as (consumer, _):
        await until(lambda: booked(books) == MESSAGES + 1, PATIENCE_S)
        await held(js, 2)
        await until(lambda: consumer.unparked > 2, PATIENCE_S)  # they come again, and are refused again
        assert consumer.parked == 0
        await js.purge_stream(bus.DEAD_STREAM)
        await held(js, 0)
    assert consumer.parked == 2
    dead = [await js.get_msg(bus.DEAD_STREAM, subject=bus.DEAD_SUBJECT, seq=1, next=True)]
    dead.append(await js.get_msg(bus.DEAD_STREAM, subject=bus.DEAD_SUBJECT, seq=(dead[0].seq or 0) + 1, next=True))
    assert {message.data for message in dead} == {unreadable, batch(unpriced, unpriced)}
    assert (await js.stream_info(bus.USAGE_STREAM)).state.messages == 0
    assert booked(books) == MESSAGES + 1
