"""HTTP servers of our own: uvicorn as all of them run it, their sockets, and the operations port."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

_KEEP_ALIVE_S: Final = 75  # longer than load balancers keep idle connections, so that they close them first
_BACKLOG: Final = 4096


class Server(uvicorn.Server):
    """uvicorn without its own idea of signals: the process decides when to stop."""

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


def server(app: Any, drain_s: float) -> Server:
    """A server of an ASGI application; requests under way get `drain_s` to end when it stops."""
    return Server(
        uvicorn.Config(
            app,
            http="httptools",
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
        )
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


def ops_routes(ready: Callable[[], bool]) -> Starlette:
    """What the operations port serves: /healthz while the process lives, /readyz while it takes requests."""

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        return PlainTextResponse("ready\n") if ready() else PlainTextResponse("not ready\n", 503)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz)])
