"""Takes usage events from JetStream, books them, and acknowledges after the commit (I1).

What cannot be booked whatever one does is parked in the dead-letter stream with the reason, and never lost.
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec
import psycopg
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeoutError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError
from psycopg_pool import PoolTimeout

from services.ledger.price_rows import PriceRows
from services.ledger.settlement import Poison, UsageRow, decode, settle, unix_ms
from services.ledger.store.booking import BookingStore
from services.shared import bus, clock
from services.shared.metrics import Distribution
from services.shared.telemetry import logger
from services.shared.tracing import Span, Tracer
from tollhouse.v1 import events_pb2

_log = logger("consumer")

_DURABLE = "ledger"
_NEXT_SUBJECT = f"$JS.API.CONSUMER.MSG.NEXT.{bus.USAGE_STREAM}.{_DURABLE}"
_PULL_MESSAGES = 256
_PULL_EXPIRES_S = 1.0
_PULL_PAUSE_S = 0.1
_APART_S = 0.04
_PAUSE_S = 0.5
_DUPLICATE_WINDOW_S = 120
_TRACES_MOST = 64
DELAYS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0)
_STREAMS_WITHIN_S = 30.0


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """How much each stream takes, on how many servers of NATS, and when what nobody confirmed is sent anew."""

    max_bytes: int
    replicas: int = 1
    redelivered_after_s: float = 30


async def streams_ready(js: JetStreamContext, limits: StreamLimits) -> None:
    """Ensures the streams, again and again while a cluster that starts has no leader yet. Raises OSError."""
    deadline_s = clock.monotonic_s() + _STREAMS_WITHIN_S
    while True:
        try:
            return await ensure_streams(js, limits)
        except (NatsError, TimeoutError) as error:
            if clock.monotonic_s() > deadline_s:
                raise OSError(f"JetStream did not take the streams for {_STREAMS_WITHIN_S:g} s: {error!r}") from error
            _log.warning("streams_not_ready", error=repr(error))
            await asyncio.sleep(_PAUSE_S)


async def ensure_streams(js: JetStreamContext, limits: StreamLimits) -> None:
    """Makes the usage stream, its durable consumer and the dead-letter stream, or brings them to this configuration.
    A full stream refuses new events, which then wait in the edges, until those take no more work (I8)."""
    streams = [
        StreamConfig(
            name=bus.USAGE_STREAM,
            subjects=[bus.USAGE_SUBJECT],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            duplicate_window=_DUPLICATE_WINDOW_S,
            discard=DiscardPolicy.NEW,
            max_bytes=limits.max_bytes,
            num_replicas=limits.replicas,
        ),
        StreamConfig(
            name=bus.DEAD_STREAM,
            subjects=[bus.DEAD_SUBJECT],
            storage=StorageType.FILE,
            discard=DiscardPolicy.NEW,
            max_bytes=limits.max_bytes,
            num_replicas=limits.replicas,
        ),
    ]
    for config in streams:
        try:
            await js.stream_info(str(config.name))
            await js.update_stream(config)
        except NotFoundError:
            await js.add_stream(config)
    await js.add_consumer(
        bus.USAGE_STREAM,
        ConsumerConfig(
            durable_name=_DURABLE,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=limits.redelivered_after_s,
            max_ack_pending=10_000,
        ),
    )


async def progress(js: JetStreamContext) -> tuple[int, int]:
    """The usage stream's newest message, and up to which everything is booked, by their sequences. Raises NatsError."""
    stream = await js.stream_info(bus.USAGE_STREAM)
    consumer = await js.consumer_info(bus.USAGE_STREAM, _DURABLE)
    last = stream.state.last_seq
    idle = not consumer.num_pending and not consumer.num_ack_pending
    return last, last if idle or consumer.ack_floor is None else consumer.ack_floor.stream_seq


class _Pull:
    """The durable consumer's messages as they come. One pull request is open at a time and lives for a second: so an
    idle ledger asks once a second, and one that was cut off asks again as soon. (The client library's own fetch holds
    back the first message of a quiet stream until its batch is full or its time is over.)"""

    def __init__(self, nc: Client, subscription: Subscription) -> None:
        self._nc = nc
        self._subscription = subscription
        self._open = 0
        self._not_before_s = 0.0

    @classmethod
    async def begin(cls, nc: Client) -> "_Pull":
        return cls(nc, await nc.subscribe(nc.new_inbox(), pending_msgs_limit=-1, pending_bytes_limit=-1))

    async def end(self) -> None:
        """Takes no more messages; what came and was not taken is delivered again."""
        await self._subscription.unsubscribe()

    async def take(self, limit: int) -> list[Msg]:
        """Waits for a message and answers all that are there, at most `limit`; none when it was quiet for a second. The
        first message after a quiet moment is answered at once, the next ones `_APART_S` later, many together: a
        transaction costs the same whether it books one event or a hundred."""
        if self._open <= 0:
            asked = {"batch": _PULL_MESSAGES, "expires": int(_PULL_EXPIRES_S * 1e9)}
            await self._nc.publish(_NEXT_SUBJECT, msgspec.json.encode(asked), self._subscription.subject)
            self._open = _PULL_MESSAGES
        messages: list[Msg] = []
        try:
            while not messages or (self._subscription.pending_msgs and len(messages) < limit):
                message = await self._subscription.next_msg(timeout=_PULL_EXPIRES_S + 0.5)
                status = message.headers.get("Status") if message.headers else None
                if status is None:
                    if not messages:
                        await asyncio.sleep(max(0.0, self._not_before_s - clock.monotonic_s()))
                    messages.append(message)
                    self._open -= 1
                    continue
                self._open = 0
                if status not in ("404", "408"):  # 503: JetStream is not up yet; 409: the consumer was changed
                    await asyncio.sleep(_PULL_PAUSE_S)
                break
        except NatsTimeoutError:
            self._open = 0
        self._not_before_s = clock.monotonic_s() + _APART_S
        return messages


class Consumer:
    """One replica's booking loop.

    Args:
        announce: called after a booking with its transaction id, and the request ids whose last attempt it booked.
    """

    def __init__(
        self,
        nc: Client,
        bookings: BookingStore,
        price_rows: PriceRows,
        fetch_messages: int,
        limits: StreamLimits,
        announce: Callable[[int, list[str]], Awaitable[None]],
        tracer: Tracer,
    ) -> None:
        self._nc = nc
        self._js = nc.jetstream()
        self._bookings = bookings
        self._price_rows = price_rows
        self._fetch_messages = fetch_messages
        self._limits = limits
        self._announce = announce
        self._tracer = tracer
        self.delays = Distribution(DELAYS_S)
        """How old the oldest message of each booking was, in seconds."""
        self.parked = 0
        """What was put among the dead letters."""

    async def run(self) -> None:
        """Books until cancelled; rides out restarts of NATS and Postgres."""
        while True:
            try:
                await ensure_streams(self._js, self._limits)
                pull = await _Pull.begin(self._nc)
                try:
                    while True:
                        messages = await pull.take(self._fetch_messages)
                        if messages:
                            await self._book(messages)
                finally:
                    await pull.end()
            except (NatsError, OSError, TimeoutError, psycopg.Error, PoolTimeout) as error:
                _log.warning("booking_paused", error=repr(error))
                await asyncio.sleep(_PAUSE_S)

    async def _book(self, messages: list[Msg]) -> None:
        """Books messages in one transaction; when it fails, each alone, so that one bad message holds up none."""
        spans = [span for message in messages for span in self._spans(message)]
        rows = [row for message in messages for row in await self._rows(message)]
        booked = 0
        if rows:
            try:
                booked = (await self._bookings.book(rows)).transaction_id
            except psycopg.DataError as error:
                if len(messages) > 1:
                    for message in messages:
                        await self._book([message])
                    return
                await self._park(messages[0], messages[0].data, f"Postgres refused it: {error}")
                rows = []
        for message in messages:
            await message.ack()
        for span in spans:
            span.end({"tollhouse.booking.transaction_id": booked})
        self.delays.observe(max(0, clock.now_ms() - unix_ms(messages[0].metadata.timestamp)) / clock.MS_PER_S)
        await self._announce(booked, [row.request_id for row in rows if row.final])

    def _spans(self, message: Msg) -> list[Span]:
        """Of the requests of a message that are traced: their booking. They wait in it for a while."""
        said = message.headers.get(bus.TRACES) if message.headers else None
        if not said:
            return []
        parents = (traced.rpartition("=")[2] for traced in said.split(",")[:_TRACES_MOST])
        begun = (self._tracer.begin("book", parent, role="consumer") for parent in parents)
        return [span for span in begun if span is not None]

    async def _rows(self, message: Msg) -> list[UsageRow]:
        """A message's events as rows; those that can never be booked are parked, each alone."""
        try:
            events = decode(message.data)
        except Poison as poison:
            await self._park(message, message.data, str(poison))
            return []
        rates = await self._price_rows.rates({event.price_version for event in events})
        rows = []
        for event in events:
            try:
                rows.append(settle(event, rates, self._price_rows.costs))
            except Poison as poison:
                alone = events_pb2.UsageEventBatch(events=[event])
                await self._park(message, alone.SerializeToString(), str(poison), event.event_id)
        return rows

    async def _park(self, message: Msg, data: bytes, reason: str, event_id: str = "") -> None:
        """Keeps what cannot be booked, with the reason. After a redelivery of the message it is kept once all the same;
        replayed, it is another message, and parked anew."""
        _log.error("usage_parked", reason=reason)
        self.parked += 1
        digest = hashlib.sha256(event_id.encode()).hexdigest() if event_id else "all"
        headers = {
            "Tollhouse-Reason": reason.replace("\n", " ")[:1000],
            "Nats-Msg-Id": f"parked-{message.metadata.sequence.stream}-{digest}",
        }
        await self._js.publish(bus.DEAD_SUBJECT, data, headers=headers)
