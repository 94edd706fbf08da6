"""Takes usage events from JetStream, books them, and acknowledges after the commit (I1).

What was pulled and is not booked is given back: at once by a ledger that stops, and a moment later when a booking
failed. What cannot be booked whatever one does is parked in the dead-letter stream with the reason, and never lost;
while it cannot be parked either, it stays in the usage stream and comes again, ever more seldom.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import psycopg
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
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
_APART_S = 0.08
_PAUSE_S = 0.5
_AGAIN_S = 1.0
_END_WITHIN_S = 0.5
_PARKED_WITHIN_S = 1.0
_UNPARKED_AGAIN_S = 1.0
_UNPARKED_AGAIN_MOST_S = 300.0
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

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self._inbox = nc.new_inbox()
        self._came: asyncio.Queue[Msg] = asyncio.Queue()
        self._taken: list[Msg] = []
        self._open = 0
        self._not_before_s = 0.0
        self._messages = 1

    @classmethod
    @contextlib.asynccontextmanager
    async def begun(cls, nc: Client) -> AsyncIterator["_Pull"]:
        """Messages until the block ends; those that came and were not acknowledged are given back then."""
        pull = cls(nc)
        subscription = await nc.subscribe(pull._inbox, cb=pull._came.put, pending_msgs_limit=-1, pending_bytes_limit=-1)
        again_s = _AGAIN_S
        try:
            yield pull
        except asyncio.CancelledError:
            again_s = 0.0  # other replicas are well
            raise
        finally:
            try:
                # What the server had sent before it heard of the end is here after that; while it is away nothing is.
                async with asyncio.timeout(_END_WITHIN_S):
                    if nc.is_connected:
                        await subscription.drain()  # type: ignore[no-untyped-call]
                    else:
                        await subscription.unsubscribe()
            except (NatsError, TimeoutError) as error:
                _log.warning("pull_not_ended", error=repr(error))
            await pull._give_back(again_s)

    async def take(self, limit: int) -> list[Msg]:
        """Waits for a message and answers all that are there, at most `limit`; none when it was quiet for a second. The
        first message after a quiet moment is answered at once, the next ones `_APART_S` later, many together: a
        transaction costs the same whether it books one event or a hundred."""
        if self._open <= 0:
            asked = {"batch": self._messages, "expires": int(_PULL_EXPIRES_S * 1e9)}
            await self._nc.publish(_NEXT_SUBJECT, msgspec.json.encode(asked), self._inbox)
            self._open = self._messages
        self._taken = []
        try:
            while not self._taken or (not self._came.empty() and len(self._taken) < limit):
                async with asyncio.timeout(_PULL_EXPIRES_S + 0.5):
                    message = await self._came.get()
                status = message.headers.get("Status") if message.headers else None
                if status is None:
                    self._taken.append(message)
                    self._open -= 1
                    if len(self._taken) == 1:
                        await asyncio.sleep(max(0.0, self._not_before_s - clock.monotonic_s()))
                    continue
                self._open = 0
                if status not in ("404", "408"):  # 503: JetStream is not up yet; 409: the consumer was changed
                    await asyncio.sleep(_PULL_PAUSE_S)
                break
        except TimeoutError:
            self._open = 0
        self._not_before_s = clock.monotonic_s() + _APART_S
        return self._taken

    def widen(self) -> None:
        """Call after a booking. Before there was one, a single message is pulled to try it: a ledger that cannot book
        keeps no more than that from those that can."""
        self._messages = _PULL_MESSAGES

    async def _give_back(self, again_s: float) -> None:
        """Has everything delivered again, to whoever asks, that came here and was not acknowledged."""
        held = [*self._taken, *(self._came.get_nowait() for _ in range(self._came.qsize()))]
        held = [message for message in held if message.reply and not message.is_acked]
        if held:
            _log.info("usage_given_back", messages=len(held), again_s=again_s)
        with contextlib.suppress(NatsError):  # then it comes after the ack wait
            for message in held:
                await message.nak(again_s)


@dataclass(slots=True)
class _Read:
    """A message, the rows that its events are booked by, and those of its events that can never be booked."""

    message: Msg
    rows: list[UsageRow] = field(default_factory=list)
    unbookable: bytes = b""
    reason: str = ""
    """Why; empty when all is well."""

    def refuse(self, reason: str) -> None:
        """Nothing of it can be booked."""
        self.rows, self.unbookable, self.reason = [], self.message.data, reason


def unparked_again_s(deliveries: int) -> float:
    """After how long a message comes again that could not be parked either, after so many deliveries."""
    return min(_UNPARKED_AGAIN_S * 2.0 ** min(deliveries - 1, 20), _UNPARKED_AGAIN_MOST_S)


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
        self.unparked = 0
        """What could not be put there, each time it was tried."""

    async def run(self) -> None:
        """Books until cancelled; rides out restarts of NATS and Postgres."""
        while True:
            try:
                await ensure_streams(self._js, self._limits)
                async with _Pull.begun(self._nc) as pull:
                    while True:
                        messages = await pull.take(self._fetch_messages)
                        if messages:
                            await self._book(messages)
                            pull.widen()
            except (NatsError, OSError, TimeoutError, psycopg.Error, PoolTimeout) as error:
                _log.warning("booking_paused", error=repr(error))
                await asyncio.sleep(_PAUSE_S)

    async def _book(self, messages: Sequence[Msg]) -> None:
        """Books what messages say, then sees to those that say what can never be booked: that holds up no booking."""
        spans = [span for message in messages for span in self._spans(message)]
        read = [await self._read(message) for message in messages]
        booked = await self._book_rows(read)
        for one in read:
            if not one.reason:
                await one.message.ack()
        for span in spans:
            span.end({"tollhouse.booking.transaction_id": booked})
        self.delays.observe(max(0, clock.now_ms() - unix_ms(messages[0].metadata.timestamp)) / clock.MS_PER_S)
        await self._announce(booked, [row.request_id for one in read for row in one.rows if row.final])
        await asyncio.gather(*(self._park(one) for one in read if one.reason))

    async def _book_rows(self, read: Sequence[_Read]) -> int:
        """Books in one transaction, or when Postgres refuses what is in it each message alone, so that a bad one holds
        up none. Answers the last transaction's id, 0 without any."""
        rows = [row for one in read for row in one.rows]
        if not rows:
            return 0
        try:
            return (await self._bookings.book(rows)).transaction_id
        except psycopg.DataError as error:
            if len(read) > 1:
                return max([await self._book_rows([one]) for one in read])
            read[0].refuse(f"Postgres refused it: {error}")
            return 0

    def _spans(self, message: Msg) -> list[Span]:
        """Of the requests of a message that are traced: their booking. They wait in it for a while."""
        said = message.headers.get(bus.TRACES) if message.headers else None
        if not said:
            return []
        parents = (traced.rpartition("=")[2] for traced in said.split(",")[:_TRACES_MOST])
        begun = (self._tracer.begin("book", parent, role="consumer") for parent in parents)
        return [span for span in begun if span is not None]

    async def _read(self, message: Msg) -> _Read:
        """What a message says. Raises psycopg.Error when the prices cannot be looked up."""
        read = _Read(message)
        try:
            events = decode(message.data)
        except Poison as poison:
            read.refuse(str(poison))
            return read
        rates = await self._price_rows.rates({event.price_version for event in events})
        unbookable = events_pb2.UsageEventBatch()
        reasons = []
        for event in events:
            try:
                read.rows.append(settle(event, rates, self._price_rows.costs))
            except Poison as poison:
                unbookable.events.append(event)
                reasons.append(str(poison))
        read.unbookable, read.reason = unbookable.SerializeToString(), "; ".join(reasons)
        return read

    async def _park(self, read: _Read) -> None:
        """Keeps what cannot be booked, with the reason, as one dead letter. After a redelivery of the message it is
        kept once all the same; replayed, it is another message, and parked anew. While it cannot be kept, say because
        the stream of dead letters is full, its message comes again."""
        metadata = read.message.metadata
        headers = {
            "Tollhouse-Reason": read.reason.replace("\n", " ")[:1000],
            "Nats-Msg-Id": f"parked-{metadata.sequence.stream}",
        }
        try:
            await self._js.publish(bus.DEAD_SUBJECT, read.unbookable, timeout=_PARKED_WITHIN_S, headers=headers)
        except (NatsError, TimeoutError) as error:
            self.unparked += 1
            again_s = unparked_again_s(metadata.num_delivered)
            _log.error("usage_not_parked", reason=read.reason, error=repr(error), again_s=again_s)
            await read.message.nak(again_s)
            return
        _log.error("usage_parked", reason=read.reason)
        self.parked += 1
        await read.message.ack()
