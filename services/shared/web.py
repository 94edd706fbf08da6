"""HTTP servers of our own: uvicorn as all of them run it, their sockets, and the operations port."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from services.shared import lifecycle
from services.shared.metrics import READY, Exposition

_KEEP_ALIVE_S: Final = 75  # longer than load balancers keep idle connections, so that they close them first
_BACKLOG: Final = 4096


class Server(uvicorn.Server):
    """uvicorn without its own idea of signals: the process decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


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
