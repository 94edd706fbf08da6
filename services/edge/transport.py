"""The transport: a pooled HTTP/1.1 client that does as little as it can for a request and for a chunk.

One sweep over the open connections (`upstream_connection`) ends every wait that is too long. A server that speaks TLS
has a connection ahead of need: one is opened when the last idle one is taken, and one stays for minutes after the last
request. `transport_aiohttp` is what it is compared with.
"""

import asyncio
import re
import ssl
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from services.edge.upstream import Answer, Failure, Headers, Patience, UpstreamFailed
from services.edge.upstream_connection import Connection, Origin
from services.shared.addresses import is_public

_URLS_MAX: Final = 1024
_SWEEPS_PER_WAIT: Final = 10
_VISIBLE: Final = re.compile(r"[!-~]*")


class PooledTransport:
    """Keep-alive connections to each origin, the last used first. Made where an event loop runs.

    Args:
        sweep_s: how often waits are looked at; none ends later than this after its time.
        idle_s: how long a connection is kept without work.
        warm_s: how long one connection of those to a server that speaks TLS is kept.
        rest_s: how long at most a stream that was just read is left unread, so that what comes meanwhile comes at once.
        private: whether upstreams may be on this machine or in a private network; what a name leads to is looked at
            once it is connected to, so that no answer of DNS in between can change it.
    """

    def __init__(
        self,
        connect_timeout_s: float,
        sweep_s: float = 1.0,
        idle_s: float = 30,
        warm_s: float = 300,
        ssl_context: ssl.SSLContext | None = None,
        *,
        rest_s: Callable[[], float] = lambda: 0.0,
        private: bool = False,
    ) -> None:
        self.rest_s = rest_s
        self._resting: list[Connection] = []
        self.loop = asyncio.get_running_loop()
        self.idle_s = idle_s
        self._warm_s = warm_s
        self.connections: set[Connection] = set()
        self._ahead: set[asyncio.Task[None]] = set()
        self.closed = False
        self._connect_timeout_s = connect_timeout_s
        self._private = private
        self._ssl_context = ssl_context or ssl.create_default_context()
        self.targets: dict[str, _Target] = {}
        self.origins: dict[tuple[bool, str, int], Origin] = {}
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
        origin = target.origin
        if origin.idle:
            connection = origin.idle.popitem()[0]
            if origin.tls and not origin.idle:
                self._open_ahead(origin)
            answer = await connection.ask(head, body, patience)
            if answer is not None:
                return answer
        connection = await self._connect(origin)
        if origin.tls and not origin.idle:
            self._open_ahead(origin)
        answer = await connection.ask(head, body, patience)
        assert answer is not None, "only a connection that was used before can be stale"
        return answer

    async def close(self) -> None:
        """See Transport. Exchanges under way break off."""
        self.closed = True
        for opening in self._ahead:
            opening.cancel()
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
            origin = self.origins[tls, host, port] = Origin(host, port, tls, host_field)
        target = self.targets[base] = _Target(origin, b"POST " + (parts.path or "/").encode())
        return target

    async def _connect(self, origin: Origin) -> Connection:
        connection = Connection(self, origin)
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

    def _open_ahead(self, origin: Origin) -> None:
        """Opens a connection before somebody needs it: with TLS he would wait for two round trips or three."""
        if not origin.opening:
            origin.opening = True
            opening = self.loop.create_task(self._open(origin))
            self._ahead.add(opening)
            opening.add_done_callback(self._ahead.discard)

    async def _open(self, origin: Origin) -> None:
        try:
            (await self._connect(origin)).wait()
        except UpstreamFailed:
            pass  # whoever needs one finds out why
        finally:
            origin.opening = False

    def opened(self, connection: Connection) -> None:
        """Notes an open connection."""
        self.connections.add(connection)
        if self._sweeping is None:
            self._sweeping = self.loop.call_later(self._sweep_every_s, self._sweep)

    def rest(self, connection: Connection, rest_s: float) -> None:
        """Has a connection read again soon, together with the others that rest."""
        if not self._resting:
            self.loop.call_later(rest_s, self._end_rest)
        self._resting.append(connection)

    def _end_rest(self) -> None:
        rested, self._resting = self._resting, []
        for connection in rested:
            connection.read_on()

    def is_warm(self, origin: Origin) -> bool:
        """Whether a server was asked so lately that one connection to it should stay."""
        return origin.tls and self.loop.time() - origin.used_s < self._warm_s

    def _sweep(self) -> None:
        now_s = self.loop.time()
        for connection in [connection for connection in self.connections if connection.deadline_s <= now_s]:
            connection.expire()
        again = bool(self.connections)
        self._sweeping = self.loop.call_later(self._sweep_every_s, self._sweep) if again else None


class _Target(NamedTuple):
    """What a URL says, but for its query."""

    origin: Origin
    line: bytes
