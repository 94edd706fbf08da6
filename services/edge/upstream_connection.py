"""A connection to an upstream, and an answer that comes over it.

One asyncio.Protocol a connection and llhttp behind it. A chunk costs one callback: no task, no timer, no queue. A
future is made only where a reader has to wait. A stream's chunks go to their taker from the very callback that read
them: its task sleeps meanwhile, and the loop need not turn for it.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, cast

import httptools

from services.edge.upstream import Failure, Headers, Patience, UpstreamFailed

_HEAD_MAX_BYTES: Final = 64 * 1024
_UNREAD_MAX_BYTES: Final = 64 * 1024
"""With more received than its reader took, a connection is not read any more."""
_STALE_WITHIN_S: Final = 1.0
"""A used connection that closes without a byte later than this was worked on: sent again, it might be paid twice."""
_WRITTEN_AT_ONCE_BYTES: Final = 64 * 1024
_SLICE_BYTES: Final = 256 * 1024


class Pool(Protocol):
    """What a connection needs of the pool that it belongs to."""

    loop: asyncio.AbstractEventLoop
    idle_s: float
    rest_s: Callable[[], float]
    connections: "set[Connection]"
    closed: bool

    def opened(self, connection: "Connection") -> None:
        """Notes an open connection."""

    def rest(self, connection: "Connection", rest_s: float) -> None:
        """Has a connection read again soon."""

    def is_warm(self, origin: "Origin") -> bool:
        """Whether one connection to it should stay."""


@dataclass(eq=False, slots=True)
class Origin:
    """A server, and the connections to it that wait for work."""

    host: str
    port: int
    tls: bool
    host_field: bytes
    idle: "dict[Connection, None]" = field(default_factory=dict)
    opening: bool = False
    """A connection is being opened ahead of need."""
    used_s: float = -math.inf
    """When an exchange with it ended last, on the loop's clock."""


class Connection(asyncio.Protocol):
    """One connection: fresh, then by turns in an exchange and idle, then gone."""

    def __init__(self, pool: Pool, origin: Origin) -> None:
        self.origin = origin
        self.deadline_s = math.inf
        self.failure: Failure | None = None
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self.taker: Callable[[bytes], bool] | None = None
        """Takes what arrives, while it answers True."""
        self.taker_fault: Exception | None = None
        self._silence_s = math.inf
        self._unsent: memoryview | None = None
        self._writable = True
        self._paused = False
        self._idle = True
        self._used = False
        self._expect()

    def _expect(self) -> None:
        """Makes ready for the next answer."""
        self._fields: list[tuple[bytes, bytes]] = []
        self.headers: list[tuple[bytes, bytes]] | None = None
        self.status = 0
        self.complete = False
        self._reusable = False
        self._news = False
        self._unread_bytes = 0

    # ---- the exchange ----

    async def ask(self, head: bytes, body: bytes, patience: Patience) -> "ReceivedAnswer | None":
        """Sends a request and reads the head of its answer. None when this connection was used before and closed
        without a byte: the server had not waited for us. Raises UpstreamFailed."""
        transport = self._transport
        if transport is None or self.failure is not None:
            raise UpstreamFailed(Failure.DROPPED, reached=False)  # closed as soon as it was open: nothing was sent
        self._idle = False
        self._silence_s, idle_s = patience
        asked_s = self._pool.loop.time()
        try:
            if len(body) <= _WRITTEN_AT_ONCE_BYTES:
                transport.write(head + body)
            else:
                transport.write(head)
                self._unsent = memoryview(body)
                self._write_on()
            if self.headers is None and self.failure is None:
                await self.news()
        except BaseException:
            self.abort()
            raise
        self._news = False
        self._silence_s = idle_s
        if self.headers is not None:
            return ReceivedAnswer(self.status, self.headers, self)
        stale = self._used and not self._unread_bytes and self.failure is Failure.DROPPED
        if stale and self._pool.loop.time() - asked_s < _STALE_WITHIN_S:
            return None
        raise UpstreamFailed(self.failure or Failure.DROPPED, reached=True)

    def news(self) -> asyncio.Future[None]:
        """Done when a head, a piece, the end or a failure is there."""
        loop = self._pool.loop
        self.deadline_s = loop.time() + self._silence_s
        self._waiter = waiter = loop.create_future()
        return waiter

    def take(self) -> bytes:
        """All that arrived of the body."""
        pieces = self.pieces
        data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._unread_bytes = 0
        self._news = False
        if self._paused:
            self.read_on()
        return data

    def leave(self) -> None:
        """Ends the exchange: waits for the next one if this one ended well, closes otherwise."""
        if not self._reusable or self._pool.closed:
            if not self.complete:
                self._fail(Failure.CUT)
            self.abort()
            return
        self.take()
        self._expect()
        self.origin.used_s = self._pool.loop.time()
        self.wait()

    def wait(self) -> None:
        """Waits for the next exchange."""
        if self._transport is None or self._pool.closed:
            self.abort()
            return
        self._used = self._idle = True
        self.deadline_s = self._pool.loop.time() + self._pool.idle_s
        self.origin.idle[self] = None

    def expire(self) -> None:
        """What was waited for did not come in time. The last connection to a server that was asked not long ago is
        kept, until the server closes it."""
        if self._idle and len(self.origin.idle) == 1 and self._pool.is_warm(self.origin):
            self.deadline_s = self._pool.loop.time() + self._pool.idle_s
        elif self._idle and self._transport is not None:
            self._forget()
            self._transport.close()
        else:
            self._fail(Failure.SILENT)

    def abort(self) -> None:
        """Closes at once. Nothing more comes from it."""
        self._forget()
        if self._transport is not None:
            self._transport.abort()

    def _forget(self) -> None:
        self.deadline_s = math.inf
        self._reusable = self._paused = False
        self._unsent = None
        self.origin.idle.pop(self, None)
        self._pool.connections.discard(self)

    def _fail(self, failure: Failure) -> None:
        if self.failure is None and not self.complete:
            self.failure = failure
        self.abort()
        self._wake()

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        self.deadline_s = math.inf
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # ---- called by the loop ----

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by inheritance
        self._pool.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._idle or self._parser is None:  # nobody asked: it must never be taken for the next answer
            self._fail(Failure.DROPPED)
            return
        self._unread_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail(Failure.DROPPED if self.headers is None else Failure.CUT)
            return
        if self.taker is not None and self.pieces:
            self._give(self.taker)
        elif (self.pieces or self._news) and self._waiter is not None:
            self._wake()
        if self._unread_bytes > _HEAD_MAX_BYTES:
            self._hold_back()

    def _give(self, taker: Callable[[bytes], bool]) -> None:
        self.deadline_s = self._pool.loop.time() + self._silence_s
        try:
            if taker(self.take()) and not self.complete:
                self._rest()
                return
        except Exception as fault:  # it is the stream's, not the loop's
            self.taker_fault = fault
        self.taker = None
        self._wake()

    def _rest(self) -> None:
        rest_s = self._pool.rest_s()
        if rest_s and self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()
            self._pool.rest(self, rest_s)

    def read_on(self) -> None:
        """Reads again, unless it does."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _hold_back(self) -> None:
        if self.headers is None:
            self._fail(Failure.DROPPED)
        elif self.complete:
            return
        elif not self.pieces and not self._news:
            self._fail(Failure.CUT)  # trailers or chunk extensions without end
        elif self._unread_bytes > _UNREAD_MAX_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> None:
        self._gone(cleanly=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._gone(cleanly=exc is None)
        self._transport = self._parser = None  # the parser refers to us

    def _gone(self, *, cleanly: bool) -> None:
        if self.headers is None:
            self._fail(Failure.DROPPED)
        elif cleanly and self.failure is None and _lasts_until_closed(self.headers):
            self.complete = True
        self._fail(Failure.CUT)

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        if self._waiter is not None:
            self.deadline_s = self._pool.loop.time() + self._silence_s  # it takes what we send
        self._write_on()

    def _write_on(self) -> None:
        while self._unsent is not None and self._writable and self._transport is not None:
            piece = self._unsent[:_SLICE_BYTES]
            self._unsent = self._unsent[_SLICE_BYTES:] if len(self._unsent) > _SLICE_BYTES else None
            self._transport.write(piece)

    # ---- called by the parser; `on_body` is `pieces.append` ----

    def on_message_begin(self) -> None:
        """A status line begins."""
        if self.complete:
            raise ValueError("bytes after the end of the answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which nobody reads."""
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """A head ended: the answer's, or an informational one before it."""
        assert self._parser is not None
        status = self._parser.get_status_code()
        if self._unread_bytes > _HEAD_MAX_BYTES:
            size = sum(len(name) + len(value) + 4 for name, value in self._fields)
            if size > _HEAD_MAX_BYTES:
                raise ValueError("a head over the limit")
        if status >= 200:
            self.status = status
            self.headers, self._fields = self._fields, []
            self._news = True

    def on_message_complete(self) -> None:
        """An answer ended."""
        assert self._parser is not None
        if self.headers is None:
            self._fields = []
            return
        self.complete = self._news = True
        sent = self._unsent is None and self._writable
        self._reusable = sent and self._parser.should_keep_alive()


class ReceivedAnswer:
    """See Answer. It lets go of its connection as soon as it has all of it, so that it cannot touch the next one."""

    __slots__ = ("_connection", "_failure", "headers", "status")

    def __init__(self, status: int, headers: Headers, connection: Connection) -> None:
        self.status = status
        self.headers = headers
        self._connection: Connection | None = connection
        self._failure: Failure | None = None

    async def read(self, max_bytes: int) -> bytes:
        body = await self.chunk()
        if self._connection is not None:
            pieces, size = [body], len(body)
            while size <= max_bytes and (piece := await self.chunk()):
                pieces.append(piece)
                size += len(piece)
            body = b"".join(pieces)
        if len(body) > max_bytes:
            raise UpstreamFailed(Failure.TOO_LARGE, reached=True)
        return body

    async def chunk(self) -> bytes:
        connection = self._connection
        if connection is None:
            if self._failure is not None:
                raise UpstreamFailed(self._failure, reached=True)
            return b""
        if not (connection.pieces or connection.complete or connection.failure):
            await connection.news()
        data = connection.take()
        if connection.complete:
            self._connection = None
            connection.leave()
        elif not data:
            self._connection = None
            self._failure = connection.failure or Failure.CUT
            raise UpstreamFailed(self._failure, reached=True)
        return data

    async def flow(self, take: Callable[[bytes], bool]) -> bool:
        while (connection := self._connection) is not None:
            if connection.pieces or connection.complete or connection.failure:
                chunk = await self.chunk()  # is there already
                if chunk and not take(chunk):
                    return False
                continue
            connection.taker = take
            try:
                await connection.news()
                stopped = connection.taker is None and not connection.complete
            finally:
                connection.taker = None
                fault, connection.taker_fault = connection.taker_fault, None
            if fault is not None:
                raise fault
            if stopped:
                return False
        if self._failure is not None:
            raise UpstreamFailed(self._failure, reached=True)
        return True

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._failure = Failure.CUT
            connection.leave()


def _lasts_until_closed(headers: Headers) -> bool:
    """Whether an answer with this head ends where the connection does (RFC 9112, 6.3)."""
    fields = {name.lower(): value.lower() for name, value in headers}
    coding = fields.get(b"transfer-encoding")
    return b"content-length" not in fields if coding is None else not coding.rstrip().endswith(b"chunked")
