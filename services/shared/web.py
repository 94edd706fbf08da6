"""HTTP servers of our own: uvicorn as all of them run it, their sockets, and the operations port."""

import asyncio
import contextlib
import functools
import socket
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.shared.connections import Connection, Gate, Limits

_KEEP_ALIVE_S: Final = 75  # longer than load balancers keep idle connections, so that they close them first
_BACKLOG: Final = 4096
_TICKS_A_LOOK: Final = 10  # a tenth of a second each
_USUAL: Final = Limits()


class Server(uvicorn.Server):
    """uvicorn without its own idea of signals: the process decides when to stop; and with an eye on its clients."""

    def __init__(self, config: uvicorn.Config, gate: Gate) -> None:
        super().__init__(config)
        self._gate = gate

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second: whether to stop."""
        if counter % _TICKS_A_LOOK == 0:
            self._gate.look(self.server_state.connections, asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def server(app: Any, drain_s: float, limits: Limits = _USUAL) -> Server:
    """A server of an ASGI application; requests under way get `drain_s` to end when it stops."""
    gate = Gate(limits)
    connection = cast(type[asyncio.Protocol], functools.partial(Connection, gate=gate))  # called like a class
    return Server(
        uvicorn.Config(
            app,
            http=connection,
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


def ops_routes(ready: Callable[[], bool]) -> Starlette:
    """What the operations port serves: /healthz while the process lives, /readyz while it takes requests."""

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        return PlainTextResponse("ready\n") if ready() else PlainTextResponse("not ready\n", 503)

    return Starlette(routes=[Route("/healthz", healthz), Route("/readyz", readyz)])
