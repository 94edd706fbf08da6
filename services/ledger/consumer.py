"""Takes usage events from JetStream, books them, and acknowledges after the commit (I1).

What cannot be booked whatever one does is parked in the dead-letter stream with the reason, and never lost.
"""

import asyncio
from collections.abc import Callable, Iterable

import psycopg
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError
from psycopg_pool import PoolTimeout

from services.ledger.settlement import Poison, UsageRow, decode, settle
from services.ledger.store import Store
from services.shared import bus
from services.shared.pricing import Rates
from services.shared.telemetry import logger
from tollhouse.v1 import events_pb2

_log = logger("consumer")

_DURABLE = "ledger"
_ACK_WAIT_S = 30
_FETCH_WAIT_S = 5
_PAUSE_S = 0.5
_DUPLICATE_WINDOW_S = 120


async def ensure_streams(js: JetStreamContext) -> None:
    """Makes the usage stream, its durable consumer and the dead-letter stream, or brings them to this configuration."""
    streams = [
        StreamConfig(
            name=bus.USAGE_STREAM,
            subjects=[bus.USAGE_SUBJECT],
            retention=RetentionPolicy.WORK_QUEUE,
            storage=StorageType.FILE,
            duplicate_window=_DUPLICATE_WINDOW_S,
        ),
        StreamConfig(name=bus.DEAD_STREAM, subjects=[bus.DEAD_SUBJECT], storage=StorageType.FILE),
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
            durable_name=_DURABLE, ack_policy=AckPolicy.EXPLICIT, ack_wait=_ACK_WAIT_S, max_ack_pending=10_000
        ),
    )


class Consumer:
    """One replica's booking loop.

    Args:
        announce: called with the request ids whose last attempt was just booked.
    """

    def __init__(
        self, nc: Client, store: Store, fetch_messages: int, announce: Callable[[Iterable[str]], None]
    ) -> None:
        self._nc = nc
        self._js = nc.jetstream()
        self._store = store
        self._fetch_messages = fetch_messages
        self._announce = announce
        self._rates: dict[int, Rates] = {}

    async def run(self) -> None:
        """Books until cancelled; rides out restarts of NATS and Postgres."""
        while True:
            try:
                await ensure_streams(self._js)
                subscription = await self._js.pull_subscribe_bind(_DURABLE, bus.USAGE_STREAM)
                while True:
                    try:
                        messages = await subscription.fetch(self._fetch_messages, timeout=_FETCH_WAIT_S)
                    except TimeoutError:
                        continue
                    await self._book(messages)
            except (NatsError, OSError, TimeoutError, psycopg.Error, PoolTimeout) as error:
                _log.warning("booking_paused", error=repr(error))
                await asyncio.sleep(_PAUSE_S)

    async def _book(self, messages: list[Msg]) -> None:
        """Books messages in one transaction; when it fails, each alone, so that one bad message holds up none."""
        batches = [(message, await self._decode(message)) for message in messages]
        good = [(message, events) for message, events in batches if events is not None]
        rows = [row for message, events in good for row in self._settle(events)]
        if rows:
            try:
                await self._store.book(rows)
            except psycopg.DataError as error:
                if len(good) == 1:
                    await self._park(good[0][0], f"Postgres refused it: {error}")
                    return
                for message, _ in good:
                    await self._book([message])
                return
        for message, _ in good:
            await message.ack()
        self._announce([row.request_id for row in rows if row.final])

    async def _decode(self, message: Msg) -> list[events_pb2.UsageEvent] | None:
        try:
            events = decode(message.data)
            await self._learn_rates({event.price_version for event in events})
            self._settle(events)
        except Poison as poison:
            await self._park(message, str(poison))
            return None
        return events

    def _settle(self, events: list[events_pb2.UsageEvent]) -> list[UsageRow]:
        return [settle(event, self._rates) for event in events]

    async def _learn_rates(self, versions: set[int]) -> None:
        missing = versions - self._rates.keys()
        if missing:  # price rows never change, so what is known stays true
            self._rates.update({row.rates.price_version: row.rates for row in await self._store.prices(missing)})

    async def _park(self, message: Msg, reason: str) -> None:
        _log.error("usage_parked", reason=reason)
        headers = {"Tollhouse-Reason": reason.replace("\n", " ")[:1000]}
        await self._js.publish(bus.DEAD_SUBJECT, message.data, headers=headers)
        await message.ack()
