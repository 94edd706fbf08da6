"""The outbox: usage events on their way to JetStream. In memory and bounded.

Events are sent a batch a message, up to a window of unconfirmed messages, and repeated until JetStream has confirmed
them; repeats do no harm, for the ledger books an event id once. While NATS is away they wait here, and when the
outbox is full the edge takes no more work (I8).
"""

import asyncio
import itertools
import json
from collections import deque
from dataclasses import dataclass
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from services.shared import bus, clock, ids
from services.shared.telemetry import logger
from tollhouse.v1 import events_pb2

_log = logger("outbox")

_BATCH_EVENTS: Final = 64
_GATHER_S: Final = 0.01
_WINDOW_MESSAGES: Final = 256
_CONFIRM_WITHIN_S: Final = 2.0


@dataclass(slots=True)
class _Message:
    id: str
    payload: bytes
    events: int
    sent_s: float


class Outbox:
    """Usage events that JetStream has not confirmed yet."""

    def __init__(self, nc: Client, edge_id: str, limit_events: int) -> None:
        self._nc = nc
        self._prefix = f"{edge_id}-{ids.ulid()}"
        self._limit_events = limit_events
        self._events: deque[events_pb2.UsageEvent] = deque()
        self._unconfirmed: dict[str, _Message] = {}
        self._unconfirmed_events = 0
        self._numbers = itertools.count(1)
        self._inbox = nc.new_inbox()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()

    @property
    def depth(self) -> int:
        """Events that are not confirmed."""
        return len(self._events) + self._unconfirmed_events

    @property
    def full(self) -> bool:
        """Whether to take no more work."""
        return self.depth >= self._limit_events

    def begin(self, request_id: str, so_far: list[events_pb2.UsageEvent]) -> None:
        """A request is about to reach an upstream."""

    def progress(self, request_id: str, so_far: list[events_pb2.UsageEvent]) -> None:
        """A request goes on."""

    def end(self, request_id: str, events: list[events_pb2.UsageEvent]) -> None:
        """A request has ended."""
        if events:
            self.add(events)

    def add(self, events: list[events_pb2.UsageEvent]) -> None:
        """Takes events. Never waits and never refuses: the work is done, and must be paid."""
        self._events.extend(events)
        self._wake.set()

    async def run(self) -> None:
        """Sends until cancelled."""
        await self._nc.subscribe(f"{self._inbox}.*", cb=self._confirmed)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send())
            group.create_task(self._repeat())

    async def flush(self, within_s: float) -> None:
        """Waits until everything is confirmed, or says what is not."""
        deadline = clock.monotonic_s() + within_s
        while self.depth and clock.monotonic_s() < deadline:
            await asyncio.sleep(0.01)
        if self.depth:
            _log.error("usage_unconfirmed", events=self.depth)

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if len(self._events) < _BATCH_EVENTS:
                await asyncio.sleep(_GATHER_S)
            while self._events:
                while len(self._unconfirmed) >= _WINDOW_MESSAGES:
                    self._room.clear()
                    await self._room.wait()
                count = min(_BATCH_EVENTS, len(self._events))
                batch = events_pb2.UsageEventBatch(events=[self._events.popleft() for _ in range(count)])
                number = str(next(self._numbers))
                message = _Message(f"{self._prefix}-{number}", batch.SerializeToString(), count, 0.0)
                self._unconfirmed[number] = message
                self._unconfirmed_events += count
                await self._publish(number, message)

    async def _publish(self, number: str, message: _Message) -> None:
        message.sent_s = clock.monotonic_s()
        if not self._nc.is_connected:
            return
        try:
            await self._nc.publish(
                bus.USAGE_SUBJECT, message.payload, f"{self._inbox}.{number}", {"Nats-Msg-Id": message.id}
            )
        except (NatsError, OSError) as error:
            _log.warning("usage_not_sent", error=repr(error))

    async def _confirmed(self, reply: Msg) -> None:
        if reply.headers and reply.headers.get("Status"):
            return  # 503: nobody keeps the stream yet; it is repeated
        if "error" in json.loads(reply.data):
            _log.error("usage_refused_by_jetstream", reply=reply.data.decode(errors="replace"))
            return
        message = self._unconfirmed.pop(reply.subject.rpartition(".")[2], None)
        if message is not None:
            self._unconfirmed_events -= message.events
            self._room.set()

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(_CONFIRM_WITHIN_S / 4)
            before = clock.monotonic_s() - _CONFIRM_WITHIN_S
            for number, message in list(self._unconfirmed.items()):
                if message.sent_s < before:
                    await self._publish(number, message)
