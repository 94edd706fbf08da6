"""The outbox: usage events on their way to JetStream, each in the journal until it is confirmed.

Events are sent a batch a message, up to a window of unconfirmed messages, and repeated until JetStream has confirmed
them; repeats do no harm, for the ledger books an event id once. While NATS is away they wait here, and when the
outbox or the journal is full the edge takes no more work (I8).
"""

import asyncio
import itertools
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from services.edge.journal import Journal, Left, Segment
from services.shared import bus, clock, ids
from services.shared.telemetry import logger
from services.shared.tracing import Trace
from tollhouse.v1 import events_pb2

_log = logger("outbox")

_BATCH_REQUESTS: Final = 64
_GATHER_S: Final = 0.02
_WINDOW_MESSAGES: Final = 256
_CONFIRM_WITHIN_S: Final = 2.0
_REFUSED_PAUSE_S: Final = 0.5

_EVENTS_TAG: Final = b"\x0a"
"""Of UsageEventBatch.events: field 1, delimited by its length."""
_TWO_BYTES: Final = 1 << 14
"""Lengths below this are written in two bytes, of seven bits each."""

_Ended = tuple[bytes, Segment | None, str]
"""What a request ended with: its events, what keeps them, its trace."""


@dataclass(slots=True)
class _Message:
    """A published batch: its payload, and the journal's segments that keep its requests."""

    payload: bytes
    segments: list[Segment | None]
    headers: dict[str, str]
    sent_s: float


class Outbox:
    """Requests under way and usage events that JetStream has not confirmed yet."""

    def __init__(self, nc: Client, journal: Journal, edge_id: str, limit_requests: int) -> None:
        self._nc = nc
        self._journal = journal
        self._prefix = f"{edge_id}-{ids.ulid()}"
        self._limit_requests = limit_requests
        self._waiting: deque[_Ended] = deque()
        self._unconfirmed: dict[str, _Message] = {}
        self._unconfirmed_requests = 0
        self._numbers = itertools.count(1)
        self._inbox = nc.new_inbox()
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._refused_s = float("-inf")

    @property
    def depth(self) -> int:
        """Ended requests that are not confirmed."""
        return len(self._waiting) + self._unconfirmed_requests

    @property
    def full(self) -> bool:
        """Whether to take no more work."""
        return self.depth >= self._limit_requests or self._journal.full

    def progress(self, request_id: str, so_far: Sequence[events_pb2.UsageEvent]) -> None:
        """A request is about to reach an upstream, or goes on: what to book should this process be lost."""
        self._journal.progress(request_id, _serialised(so_far))

    def end(self, request_id: str, events: Sequence[events_pb2.UsageEvent], trace: Trace | None = None) -> None:
        """A request has ended. Never waits and never refuses: the work is done, and must be paid. Its trace goes along
        in the message's header, if it is sampled."""
        payload = _serialised(events)
        segment = self._journal.end(request_id, payload)
        if payload:
            sampled = trace is not None and trace.sampled
            self._add(payload, segment, f"{request_id}={trace.traceparent}" if trace and sampled else "")

    def _add(self, payload: bytes, segment: Segment | None, traced: str = "") -> None:
        self._waiting.append((payload, segment, traced))
        self._wake.set()

    async def replay(self, left: Sequence[Left]) -> None:
        """Sends what an earlier process left behind, a part at a time, beside the events of now."""
        for item in left:
            while self.depth > self._limit_requests // 2:
                await asyncio.sleep(_GATHER_S)
            self._add(item.payload, item.segment)

    async def run(self) -> None:
        """Sends until cancelled."""
        await self._nc.subscribe(f"{self._inbox}.*", cb=self._confirmed)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send())
            group.create_task(self._repeat())

    async def flush(self, within_s: float) -> None:
        """Waits until everything is confirmed, or says what is not: the next process on this journal sends it."""
        deadline = clock.monotonic_s() + within_s
        while self.depth and clock.monotonic_s() < deadline:
            await asyncio.sleep(0.01)
        if self.depth:
            _log.error("usage_unconfirmed", requests=self.depth)

    async def _send(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if len(self._waiting) < _BATCH_REQUESTS:
                await asyncio.sleep(_GATHER_S)
            while self._waiting:
                while len(self._unconfirmed) >= _WINDOW_MESSAGES:
                    self._room.clear()
                    await self._room.wait()
                taken = [self._waiting.popleft() for _ in range(min(_BATCH_REQUESTS, len(self._waiting)))]
                number = str(next(self._numbers))
                # Serialised batches, one after the other, are one batch: a repeated field goes on.
                payload = b"".join([payload for payload, _, _ in taken])
                headers = {"Nats-Msg-Id": f"{self._prefix}-{number}"}
                if traces := ",".join([traced for _, _, traced in taken if traced]):
                    headers[bus.TRACES] = traces
                message = _Message(payload, [segment for _, segment, _ in taken], headers, 0.0)
                self._unconfirmed[number] = message
                self._unconfirmed_requests += len(taken)
                await self._publish(number, message)

    async def _publish(self, number: str, message: _Message) -> None:
        message.sent_s = clock.monotonic_s()
        if not self._nc.is_connected:
            return
        try:
            await self._nc.publish(bus.USAGE_SUBJECT, message.payload, f"{self._inbox}.{number}", message.headers)
        except (NatsError, OSError) as error:
            _log.warning("usage_not_sent", error=repr(error))

    async def _confirmed(self, reply: Msg) -> None:
        if reply.headers and reply.headers.get("Status"):
            return  # 503: nobody keeps the stream yet; it is repeated
        if "error" in json.loads(reply.data):
            self._refused(reply.data)
            return
        message = self._unconfirmed.pop(reply.subject.rpartition(".")[2], None)
        if message is not None:
            self._unconfirmed_requests -= len(message.segments)
            self._room.set()
            for segment in message.segments:
                if segment is not None:
                    self._journal.confirm(segment)

    def _refused(self, reply: bytes) -> None:
        """JetStream has no room: what it refused is repeated. Said now and then, not for each message."""
        now_s = clock.monotonic_s()
        if now_s - self._refused_s > _REFUSED_PAUSE_S:
            _log.error("usage_refused_by_jetstream", reply=reply.decode(errors="replace"), waiting=self.depth)
            self._refused_s = now_s

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(_CONFIRM_WITHIN_S / 4)
            before = clock.monotonic_s() - _CONFIRM_WITHIN_S
            for number, message in list(self._unconfirmed.items()):
                if message.sent_s < before:
                    await self._publish(number, message)


def _serialised(events: Sequence[events_pb2.UsageEvent]) -> bytes:
    """A UsageEventBatch of them. One event is all that most requests have: the batch is written around its bytes, for
    the message of a batch would hold a copy of it (https://protobuf.dev/programming-guides/encoding/#structure)."""
    if len(events) == 1:
        event = events[0].SerializeToString()
        if len(event) < _TWO_BYTES:
            return _EVENTS_TAG + bytes((len(event) & 0x7F | 0x80, len(event) >> 7)) + event
    return events_pb2.UsageEventBatch(events=events).SerializeToString()
