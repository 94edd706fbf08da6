"""HTTP servers of our own: uvicorn as all of them run it, their sockets, and the operations port."""

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, cast

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.shared import lifecycle
from services.shared.connections import Connection, Gate, Limits
from services.shared.metrics import READY, Exposition

_KEEP_ALIVE_S: Final = 75  # longer than load balancers keep idle connections, so that they close them first
_BACKLOG: Final = 4096
_TICK_S: Final = 1.0
_USUAL: Final = Limits()


class Server(uvicorn.Server):
    """uvicorn without its own idea of signals: the process decides when to stop; and with an eye on its clients."""

    def __init__(self, config: uvicorn.Config, gate: Gate) -> None:
        self._stopping = asyncio.Event()
        super().__init__(config)
        self._gate = gate

    @property
    def should_exit(self) -> bool:
        """Set it to stop the server."""
        return self._stopping.is_set()

    @should_exit.setter
    def should_exit(self, wanted: bool) -> None:
        if wanted:
            self._stopping.set()

    async def main_loop(self) -> None:
        """Once a second looks after what uvicorn does ten times a second, so that an idle process sleeps."""
        while not await self.on_tick(0):  # its counter is of tenths: 0 is a whole second
            self._gate.look(self.server_state.connections, asyncio.get_running_loop().time())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._stopping.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Remembers what it listens on."""
        self._doors = sockets or []
        await super().startup(sockets)

    def say_farewell(self) -> None:
        """From now on every answer ends its connection, so that clients come back by another one: to an idle connection
        that is closed a request may be on its way just then. Connections are accepted on."""
        farewell = (b"connection", b"close")
        if farewell not in self.config.encoded_headers:
            self.config.encoded_headers.append(farewell)
            self.server_state.default_headers.append(farewell)

    async def close_doors(self) -> None:
        """Accepts no more connections but those that the kernel has accepted already: it would reset them, even where
        other processes listen on the same port (https://lwn.net/Articles/542629/)."""
        if not self.started:
            return
        rest = [door.dup() for door in self._doors]
        for server in self.servers:
            server.close()
        loop = asyncio.get_running_loop()
        for connection in [connection for door in rest for connection in _accepted(door)]:
            with contextlib.suppress(OSError):  # the client is gone
                await loop.connect_accepted_socket(self._protocol, connection, ssl=self.config.ssl)

    def _protocol(self) -> asyncio.Protocol:
        """What speaks HTTP on one connection, made as uvicorn makes it."""
        protocol: Any = self.config.http_protocol_class
        made: asyncio.Protocol = protocol(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


def _accepted(door: socket.socket) -> list[socket.socket]:
    """The connections that wait on a listening socket, which is closed. Nothing comes between the last look and the
    closing but what takes microseconds."""
    door.setblocking(False)
    found: list[socket.socket] = []
    with contextlib.suppress(OSError), door:
        while True:
            try:
                connection, _ = door.accept()
            except ConnectionAbortedError:
                continue
            found.append(connection)
    for connection in found:
        connection.setblocking(False)
    return found


def server(app: Any, drain_s: float, limits: Limits = _USUAL, *, lines: bool = False) -> Server:
    """A server of an ASGI application; requests under way get `drain_s` to end when it stops. `lines`: whether each
    request's scope holds its Line."""
    gate = Gate(limits)
    connection = functools.partial(Connection, gate=gate, lines=lines)
    return Server(
        uvicorn.Config(
            app,
            http=cast(type[asyncio.Protocol], connection),  # called like a class
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(drain_s),
            backlog=_BACKLOG,
        ),
        gate,
    )


def listen(host: str, port: int, *, shared: bool) -> socket.socket:
    """A listening socket; with `shared`, several processes may listen on it and the kernel spreads connections."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(address)
    sock.listen(_BACKLOG)
    sock.setblocking(False)
    return sock


def ops_routes(ready: Callable[[], bool], exposition: Exposition) -> Starlette:
    """What the operations port serves: /healthz while the process lives, /readyz while it takes requests, /metrics for
    Prometheus."""

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        return PlainTextResponse("ready\n") if ready() else PlainTextResponse("not ready\n", 503)

    async def metrics(request: Request) -> Response:
        text, content_type = exposition.text(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": content_type})

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)])


@contextlib.asynccontextmanager
async def operations(host: str, port: int, ready: Callable[[], bool], exposition: Exposition) -> AsyncIterator[None]:
    """Serves the operations port as long as the body runs, and watches the event loop. Raises OSError when the address
    is taken."""
    exposition.show_here(READY, ready)
    server_ = server(ops_routes(ready, exposition), drain_s=0)
    serving = asyncio.create_task(server_.serve([listen(host, port, shared=False)]))
    watching = asyncio.create_task(exposition.watch_loop())
    try:
        yield
    finally:
        server_.should_exit = True
        await lifecycle.end(watching)
        await serving
