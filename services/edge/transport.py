"""The transport: a pooled HTTP/1.1 client that does as little as it can for a request and for a chunk.

One asyncio.Protocol a connection and llhttp behind it. A chunk costs one callback: no task, no timer, no queue. A
future is made only where a reader has to wait, and one sweep over the open connections ends every wait that is too
long. A stream's chunks go to their taker from the very callback that read them: its task sleeps meanwhile, and the loop
need not turn for it. `transport_aiohttp` is what it is compared with.
"""

import asyncio
import math
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from services.edge.upstream import Answer, Failure, Headers, Patience, UpstreamFailed
from services.shared.addresses import is_public

_HEAD_MAX_BYTES: Final = 64 * 1024
_UNREAD_MAX_BYTES: Final = 64 * 1024
"""With more received than its reader took, a connection is not read any more."""
_STALE_WITHIN_S: Final = 1.0
"""A used connection that closes without a byte later than this was worked on: sent again, it might be paid twice."""
_WRITTEN_AT_ONCE_BYTES: Final = 64 * 1024
_SLICE_BYTES: Final = 256 * 1024
_URLS_MAX: Final = 1024
_SWEEPS_PER_WAIT: Final = 10
_VISIBLE: Final = re.compile(r"[!-~]*")


class PooledTransport:
    """Keep-alive connections to each origin, the last used first. Made where an event loop runs.

    Args:
        sweep_s: how often waits are looked at; none ends later than this after its time.
        idle_s: how long a connection is kept without work.
        rest_s: how long at most a stream that was just read is left unread, so that what comes meanwhile comes at once.
        private: whether upstreams may be on this machine or in a private network; what a name leads to is looked at
            once it is connected to, so that no answer of DNS in between can change it.
    """

    def __init__(
        self,
        connect_timeout_s: float,
        sweep_s: float = 1.0,
        idle_s: float = 30,
        ssl_context: ssl.SSLContext | None = None,
        *,
        rest_s: Callable[[], float] = lambda: 0.0,
        private: bool = False,
    ) -> None:
        self.rest_s = rest_s
        self._resting: list[_Connection] = []
        self.loop = asyncio.get_running_loop()
        self.idle_s = idle_s
        self.connections: set[_Connection] = set()
        self.closed = False
        self._connect_timeout_s = connect_timeout_s
        self._private = private
        self._ssl_context = ssl_context or ssl.create_default_context()
        self.targets: dict[str, _Target] = {}
        self.origins: dict[tuple[bool, str, int], _Origin] = {}
        self._sweep_every_s = min(sweep_s, idle_s / _SWEEPS_PER_WAIT)
        self._sweeping: asyncio.TimerHandle | None = None

    async def send(self, url: str, headers: Headers, body: bytes, patience: Patience) -> Answer:
        """See Transport. Host, Content-Length and the framing are the transport's. ValueError: our own fault."""
        base, mark, query = url.partition("?")
        target = self.targets.get(base) or self.target(base)
        head = b"%b%b HTTP/1.1\r\nHost: %b\r\n%bContent-Length: %d\r\n\r\n" % (
            target.line,
            (mark + query).encode("ascii"),
            target.origin.host_field,
            b"".join([b"%b: %b\r\n" % pair for pair in headers]),
            len(body),
        )
        lines = len(headers) + 4
        if head.count(b"\n") != lines or head.count(b"\r") != lines or not _VISIBLE.fullmatch(query):
            raise ValueError("a line break in a header of a request to an upstream, or a space in its URL")
        if target.origin.idle:
            answer = await target.origin.idle.popitem()[0].ask(head, body, patience)
            if answer is not None:
                return answer
        connection = await self._connect(target.origin)
        answer = await connection.ask(head, body, patience)
        assert answer is not None, "only a connection that was used before can be stale"
        return answer

    async def close(self) -> None:
        """See Transport. Exchanges under way break off."""
        self.closed = True
        for connection in list(self.connections):
            connection.leave()
        if self._sweeping is not None:
            self._sweeping.cancel()
        await asyncio.sleep(0)  # the loop closes them at its next turn

    def target(self, base: str) -> "_Target":
        """What a URL without its query says. Raises ValueError."""
        if len(self.targets) >= _URLS_MAX:
            self.targets.clear()
            used = {connection.origin for connection in self.connections}
            self.origins = {key: origin for key, origin in self.origins.items() if origin in used}
        parts = urlsplit(base)
        host, tls = parts.hostname, parts.scheme == "https"
        plain = _VISIBLE.fullmatch(base) and "@" not in parts.netloc and "#" not in base
        if not plain or not host or parts.scheme not in ("http", "https"):
            raise ValueError("the URL of an upstream is not http(s)://host[:port][/path]")
        usual = 443 if tls else 80
        port = parts.port or usual
        origin = self.origins.get((tls, host, port))
        if origin is None:
            name = f"[{host}]" if ":" in host else host
            host_field = (name if port == usual else f"{name}:{port}").encode()
            origin = self.origins[tls, host, port] = _Origin(host, port, tls, host_field)
        target = self.targets[base] = _Target(origin, b"POST " + (parts.path or "/").encode())
        return target

    async def _connect(self, origin: "_Origin") -> "_Connection":
        connection = _Connection(self, origin)
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                transport, _ = await self.loop.create_connection(
                    lambda: connection, origin.host, origin.port, ssl=self._ssl_context if origin.tls else None
                )
            peer = transport.get_extra_info("peername") or ("",)  # none when the connection is lost already
            if self.closed or not (self._private or is_public(peer[0])):
                raise ConnectionAbortedError
        except (OSError, UnicodeError):  # of which TimeoutError and what TLS and DNS raise are
            connection.abort()
            raise UpstreamFailed(Failure.CONNECT, reached=False) from None
        except BaseException:
            connection.abort()
            raise
        return connection

    def opened(self, connection: "_Connection") -> None:
        """Notes an open connection."""
        self.connections.add(connection)
        if self._sweeping is None:
            self._sweeping = self.loop.call_later(self._sweep_every_s, self._sweep)

    def rest(self, connection: "_Connection", rest_s: float) -> None:
        """Has a connection read again soon, together with the others that rest."""
        if not self._resting:
            self.loop.call_later(rest_s, self._end_rest)
        self._resting.append(connection)

    def _end_rest(self) -> None:
        rested, self._resting = self._resting, []
        for connection in rested:
            connection.read_on()

    def _sweep(self) -> None:
        now_s = self.loop.time()
        for connection in [connection for connection in self.connections if connection.deadline_s <= now_s]:
            connection.expire()
        again = bool(self.connections)
        self._sweeping = self.loop.call_later(self._sweep_every_s, self._sweep) if again else None


@dataclass(eq=False, slots=True)
class _Origin:
    """A server, and the connections to it that wait for work."""

    host: str
    port: int
    tls: bool
    host_field: bytes
    idle: "dict[_Connection, None]" = field(default_factory=dict)


class _Target(NamedTuple):
    """What a URL says, but for its query."""

    origin: _Origin
    line: bytes


class _Connection(asyncio.Protocol):
    """One connection: fresh, then by turns in an exchange and idle, then gone."""

    def __init__(self, pool: PooledTransport, origin: _Origin) -> None:
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

    async def ask(self, head: bytes, body: bytes, patience: Patience) -> "_Answer | None":
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
            return _Answer(self.status, self.headers, self)
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
        self._used = self._idle = True
        self.deadline_s = self._pool.loop.time() + self._pool.idle_s
        self.origin.idle[self] = None

    def expire(self) -> None:
        """What was waited for did not come in time."""
        if self._idle and self._transport is not None:
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


class _Answer:
    """See Answer. It lets go of its connection as soon as it has all of it, so that it cannot touch the next one."""

    __slots__ = ("_connection", "_failure", "headers", "status")

    def __init__(self, status: int, headers: Headers, connection: _Connection) -> None:
        self.status = status
        self.headers = headers
        self._connection: _Connection | None = connection
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
