"""Connections of HTTP clients: uvicorn's, with limits, and stricter about what frames a message.

uvicorn bounds neither a head nor how long one takes, nor bytes that are no body, nor a client that reads nothing.
It also lets a few things pass that two servers in a row may read differently, which is what request smuggling lives on
(RFC 9112, 11.2): trailers among the headers, several Host fields, codings that nobody undoes, and a body that is cut
off by an Upgrade which nobody grants. Nothing here waits, and no request has a timer of its own: `Gate.look` goes over
all connections once a second. A request's `Line` is what it may ask of its connection beside ASGI.
"""

import functools
import http
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

_PIPELINED_MOST: Final = 16
_LINGER_S: Final = 30.0
"""A connection that is closed has so long to take what it was sent."""
_HOST: Final = re.compile(rb"[A-Za-z0-9\-._~!$&'()*+,;=%:\[\]]*")
"""RFC 3986, 3.2.2 and 3.2.3."""
_VERSIONS: Final = ("1.1", "1.0")
_OF_UPGRADES: Final = frozenset((b"upgrade", b"http2-settings"))
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""RFC 9110, 5.1."""
_NO_TEXT: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Beside line breaks, what no line of a head may have: RFC 9110, 5.5."""
_MALFORMED: Final = "Invalid HTTP request received."
_CLOSE: Final = b"\nconnection: close\r"
LINE: Final = "tollhouse.line"
"""Under this name a request's scope holds its Line, for applications that want it: they take it out, for it refers back
to the scope."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may take up."""

    head_timeout_s: float = 30.0
    """Until a head is complete; also for what still comes of a body that was answered already."""
    send_timeout_s: float = 300.0
    """For a client that is slow to take the next 48 KiB of what it is sent."""
    head_max_bytes: int = 64 * 1024
    """Of a head; and of trailers, chunk extensions and whatever else comes between two pieces of a body."""
    head_max_fields: int = 256
    connections: int = 16_384
    """Altogether, in this process."""
    connections_per_address: int = 4_096
    trusted: Callable[[str], bool] = lambda address: False
    """Whether many clients share an address, as those behind a proxy do."""


class Gate:
    """Who may connect: counts the connections of one server, and looks after them."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._connections = 0
        self._of: Counter[str] = Counter()

    def enter(self, address: str) -> int:
        """Notes a connection: 0, or the HTTP status that refuses it."""
        if self._connections >= self.limits.connections:
            return 503
        if self._of[address] >= self.limits.connections_per_address and not self.limits.trusted(address):
            return 429
        self._connections += 1
        self._of[address] += 1
        return 0

    def leave(self, address: str) -> None:
        """Notes the end of a connection that was let in."""
        self._connections -= 1
        self._of[address] -= 1
        if not self._of[address]:
            del self._of[address]

    def look(self, connections: Iterable[Any], now_s: float) -> None:
        """Ends what takes too long; `now_s` is the time of the loop."""
        for connection in [*connections]:
            connection.look(now_s)


class _Malformed(Exception):
    """A request that is answered here; ends the parser."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


class Connection(HttpToolsProtocol):
    """One connection of a client."""

    def __init__(self, *, gate: Gate, lines: bool, **of_uvicorn: Any) -> None:
        super().__init__(**of_uvicorn)
        self._gate = gate
        self._lines = lines
        self._limits = gate.limits
        self._address = ""
        self._admitted = False
        self._deaf = False
        """Nothing that comes is read any more."""
        self._upgrading = False
        self._fault: _Malformed | None = None
        self._unframed_bytes = 0
        """Received since the last piece of a body, or the last message."""
        self._waits_since_s = math.inf
        """For a head; on the loop's clock, as the others."""
        self._stuck_since_s = math.inf
        self._closing_since_s = math.inf
        self.line: Line | None = None
        """Of the request that is being answered, where it is watched."""

    def look(self, now_s: float) -> None:
        """Ends the connection where its client takes too long."""
        if self.transport.is_closing():
            self._closing_since_s = min(self._closing_since_s, now_s)
            if now_s - self._closing_since_s > _LINGER_S:
                self.transport.abort()
        elif now_s - self._stuck_since_s > self._limits.send_timeout_s:
            self.transport.abort()
        elif now_s - self._waits_since_s > self._limits.head_timeout_s:
            if self._unframed_bytes:
                self._refuse(_Malformed(408, "The request's head did not arrive in time."))
            else:
                self.transport.close()

    # ---- called by the loop ----

    def connection_made(self, transport: Any) -> None:
        """A client connected."""
        super().connection_made(transport)
        self._waits_since_s = self.loop.time()
        self._address = self.client[0] if self.client else ""
        refused = self._gate.enter(self._address)
        self._admitted = not refused
        if refused:
            self._refuse(_Malformed(refused, "Too many connections."))

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        if self._admitted:
            self._gate.leave(self._address)
        super().connection_lost(exc)
        if self.line is not None:
            self.line.lost()

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._deaf:
            return
        if self.timeout_keep_alive_task is not None:  # it was idle
            self._unset_keepalive_if_required()
            self._waits_since_s = self.loop.time()
        self._unframed_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._read_on(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(self._fault or _Malformed(400, _MALFORMED))
        if self._unframed_bytes > self._limits.head_max_bytes:
            self._refuse(_Malformed(431, "The request's head is too large."))

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        self._stuck_since_s = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """It took most of it."""
        self._stuck_since_s = math.inf
        super().resume_writing()

    # ---- called by the parser ----

    def on_headers_complete(self) -> None:
        """A head is complete."""
        self._waits_since_s = math.inf
        headers, version = self.headers, self.parser.get_http_version()
        try:
            self._check_size(headers)
            if version not in _VERSIONS:
                raise _Malformed(505, "HTTP/1.1 and HTTP/1.0 are understood.")
            self._check_fields(headers, version)
            if self.parser.should_upgrade():
                if self.parser.get_method() == b"CONNECT":
                    raise _Malformed(405, "This is no proxy.")
                self._upgrading = True
                return
            if not self.url.startswith(b"/"):
                self._name_host(headers)
            if len(self.pipeline) >= _PIPELINED_MOST:
                raise _Malformed(400, "Too many requests wait for their answers.")
        except _Malformed as fault:
            self._fault = fault
            raise
        super().on_headers_complete()
        if self._lines:
            self.scope[LINE] = Line(self, self.cycle)  # type: ignore[typeddict-unknown-key]
        if (
            self.expect_100_continue
        ):  # refused before it was told to go on, it may send the body or not: RFC 9110, 10.1.1
            self.cycle.keep_alive = False
        self.headers = []  # trailers are no headers (RFC 9110, 6.5.1), and the request has the list that was

    def on_body(self, body: bytes) -> None:
        """A piece of a body came."""
        self._unframed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request is complete."""
        self._unframed_bytes = 0
        if not self._upgrading:
            super().on_message_complete()

    # ---- what is checked ----

    def _check_size(self, headers: list[tuple[bytes, bytes]]) -> None:
        most = self._limits.head_max_bytes
        if len(headers) > self._limits.head_max_fields:
            raise _Malformed(431, "The request has too many header fields.")
        if self._unframed_bytes > most:  # of which some may be a body
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in headers)
            if size > most:
                raise _Malformed(431, "The request's head is too large.")

    def _check_fields(self, headers: list[tuple[bytes, bytes]], version: str) -> None:
        names = [name for name, _ in headers]
        hosts = names.count(b"host")
        if hosts > 1 or (not hosts and version == "1.1"):  # RFC 9112, 3.2
            raise _Malformed(400, "A request has one Host field.")
        if hosts and not _HOST.fullmatch(headers[names.index(b"host")][1]):
            raise _Malformed(400, "The Host field names no host.")
        if b"transfer-encoding" in names:  # RFC 9112, 6.1
            if version != "1.1":
                raise _Malformed(400, "HTTP/1.0 has no transfer codings.")
            if headers[names.index(b"transfer-encoding")][1].lower() != b"chunked":
                raise _Malformed(501, "Of the transfer codings chunked is understood.")

    def _name_host(self, headers: list[tuple[bytes, bytes]]) -> None:
        """A target in absolute form names the host, whatever the Host field says (RFC 9112, 3.2.2)."""
        if self.url == b"*":
            return
        target = httptools.parse_url(self.url)
        if target.schema not in (b"http", b"https") or not target.host or target.userinfo:
            raise _Malformed(400, "The request's target is no URL of ours.")
        host = target.host if target.port is None else b"%b:%d" % (target.host, target.port)
        headers[:] = [pair for pair in headers if pair[0] != b"host"]
        headers.append((b"host", host))

    def _read_on(self, rest: bytes) -> None:
        """A server may ignore Upgrade (RFC 9110, 7.8), and some clients ask for HTTP/2 so each time. But the parser
        ends such a request before its body, which then would be taken for the next one: it is read again without."""
        self._upgrading = False
        lines = [b"%b %b HTTP/%b" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())]
        for name, value in self.headers:
            if name == b"connection":
                tokens = [token.strip() for token in value.split(b",")]
                value = b", ".join(token for token in tokens if token.lower() not in _OF_UPGRADES)
            if name not in _OF_UPGRADES:
                lines.append(b"%b: %b" % (name, value))
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    def _refuse(self, fault: _Malformed) -> None:
        """Answers what is no request, and closes; but what was asked before it is answered first."""
        if self._deaf:
            return
        self._deaf = True
        cycle = self.cycle
        busy = cycle is not None and not cycle.response_complete
        if busy and not cycle.more_body:
            cycle.keep_alive = False
            return
        if not busy or not (cycle.response_started or self.pipeline):
            said = fault.why.encode()
            head = (
                b"HTTP/1.1 %d %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
                b"connection: close\r\n\r\n" % (fault.status, http.HTTPStatus(fault.status).phrase.encode(), len(said))
            )
            self.transport.write(head + said)
        self.transport.close()


class Line:
    """What a request may ask of its connection beside what ASGI offers, without a task and without a coroutine."""

    __slots__ = ("_connection", "_cycle", "_leaving")

    def __init__(self, connection: Connection, cycle: RequestResponseCycle) -> None:
        self._connection = connection
        self._cycle = cycle
        self._leaving: Callable[[], None] | None = None

    def watch(self, leaving: Callable[[], None]) -> None:
        """Calls `leaving` if the client leaves before `unwatch`. To be called with the whole body received: until then
        the request waits for the rest of that."""
        self._leaving = leaving
        self._connection.line = self
        self._connection.flow.resume_reading()  # that a connection has ended is something to read

    def unwatch(self) -> None:
        """The request has ended; the next one on its connection may be watched already."""
        self._leaving = None
        if self._connection.line is self:
            self._connection.line = None

    def lost(self) -> None:
        """The connection has ended. uvicorn tells it only to the last request that came over it, which may be one that
        waits for this one."""
        self._cycle.disconnected = True
        if self._leaving is not None:
            self._leaving()

    def answer(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bool:
        """Writes a whole answer, whose headers tell its length. False where that has to be left to ASGI's `send`: its
        client reads slowly, is gone or wants no body, the connection closes afterwards, or a header is none."""
        cycle = self._cycle
        if self._connection.flow.write_paused or cycle.disconnected or cycle.response_started:
            return False
        if not cycle.keep_alive or cycle.scope["method"] == "HEAD":
            return False
        lines = [b"%b%b\r\n" % (_beginning(name), value) for name, value in (*cycle.default_headers, *headers)]
        head = b"%b%b\r\n" % (STATUS_LINE[status], b"".join(lines))
        breaks = len(lines) + 2
        if head.count(b"\n") != breaks or head.count(b"\r") != breaks or _NO_TEXT.search(head):
            return False
        if head.find(_CLOSE) >= 0:
            return False
        self._connection.transport.writelines((head, body))
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        cycle.message_event.set()
        cycle.on_response()
        return True

    def write(self, piece: bytes) -> bool:
        """Writes a piece of a streamed answer that has begun. False where that has to be left to ASGI's `send`, which
        waits: its client reads slower than the answer comes, or is gone."""
        cycle = self._cycle
        if self._connection.flow.write_paused or cycle.disconnected or cycle.response_complete:
            return False
        if not cycle.chunked_encoding or not piece:  # None until the head is written; an empty chunk is the last
            return False
        self._connection.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        return True


@functools.lru_cache(maxsize=256)
def _beginning(name: bytes) -> bytes:
    """How the line of a field begins. That of a name that is none breaks the line, and so shows."""
    return name.lower() + b": " if _NAME.fullmatch(name) else b"\n"
