"""One answer on its way to the client: written and broken off as its script says, and noted as served."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from services.shared import clock
from services.simulator.connection import Connection, Headers
from services.simulator.script import Script
from services.simulator.served import Served
from services.simulator.sse import Event
from services.simulator.tokens import Counts

_WRITE_BYTES: Final = 64 * 1024
_JSON: Final = ("content-type", "application/json")
_EVENTS: Final = [("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")]


class Reply:
    """Sends one answer; `served` knows at every moment how much of it was.

    Args:
        headers: what the API's answers carry beside their type, at a moment in Unix seconds.
    """

    def __init__(
        self, connection: Connection, served: Served, script: Script, headers: Callable[[int], Headers]
    ) -> None:
        self._headers = headers
        self._connection = connection
        self._served = served
        self._script = script

    async def plain(self, status: int, body: bytes, counts: Counts) -> None:
        """A whole body, which used `counts`, or half of it if the script breaks it off: then nothing was used."""
        self._served.status = status
        self._connection.head(status, [_JSON, *self._headers(clock.now_ms() // clock.MS_PER_S)], len(body))
        if self._script.cut_after is None:
            self._served.tokens = counts
            self._send(body)
            await self._connection.drain()
        else:
            self._send(body[: len(body) // 2] if self._script.cut_after else b"")
            await self._break_off()

    async def stream(self, events: Iterable[Event], counts: Counts, gap_ms: float) -> None:
        """Server-sent events `gap_ms` apart, on a schedule that does not drift; without a gap in one write."""
        self._served.status, self._served.stream = 200, True
        self._connection.head(200, [*_EVENTS, *self._headers(clock.now_ms() // clock.MS_PER_S)], None)
        due_s = clock.monotonic_s()
        number, batch, batch_bytes = 0, list[Event](), 0
        for number, event in enumerate(itertools.islice(events, self._script.cut_after), 1):
            if gap_ms and number > 1:
                due_s += gap_ms / clock.MS_PER_S
                await asyncio.sleep(due_s - clock.monotonic_s())
            batch.append(event)
            batch_bytes += len(event.data)
            pause_ms = self._script.first_content_ms if event.starts else 0
            if gap_ms or pause_ms or batch_bytes >= _WRITE_BYTES:
                await self._send_events(batch, counts)
                batch, batch_bytes = [], 0
            if pause_ms:
                await asyncio.sleep(pause_ms / clock.MS_PER_S)
                due_s = clock.monotonic_s()
        if batch:
            await self._send_events(batch, counts)
        if number == self._script.cut_after:
            await self._break_off()
        else:
            self._connection.end_chunks()

    async def _break_off(self) -> None:
        if self._script.hang:
            await silence()
        self._connection.cut()

    async def _send_events(self, events: list[Event], counts: Counts) -> None:
        pieces = [event.data.replace(b"\n", b"\r\n") if self._script.crlf else event.data for event in events]
        if self._script.chunk:
            await self._send_chopped(pieces, events, counts)
            return
        self._connection.write_chunks(pieces)
        self._served.sent(b"".join(pieces))
        self._note(events, counts)
        await self._connection.drain()

    async def _send_chopped(self, pieces: list[bytes], events: list[Event], counts: Counts) -> None:
        data, size = b"".join(pieces), self._script.chunk
        ends = deque(zip(itertools.accumulate(map(len, pieces)), events, strict=True))
        for begin in range(0, len(data), size):
            piece = data[begin : begin + size]
            self._connection.write_chunks([piece])
            self._served.sent(piece)
            while ends and ends[0][0] <= begin + size:
                self._note([ends.popleft()[1]], counts)
            await asyncio.sleep(0)  # what is written in one turn of the loop may leave in one packet
            await self._connection.drain()

    def _note(self, events: list[Event], counts: Counts) -> None:
        """Events were sent: `message_start` tells all but the output, each text delta is a token of it."""
        tokens = self._served.tokens
        if any(event.starts for event in events):
            tokens = replace(counts, output=0)
        output = sum(event.output for event in events)
        self._served.tokens = replace(tokens, output=tokens.output + output)

    def _send(self, body: bytes) -> None:
        self._served.sent(body)
        self._connection.write(body)


async def silence() -> None:
    """Says nothing until the client leaves."""
    await asyncio.Event().wait()
