"""The bare relay: the edge's server and loop, aiohttp towards the upstream, and nothing of ours. No keys, no holds, no
limits, no metering, no journal, no retries. What Tollhouse costs is told as a multiple of what this costs.

    .venv/bin/python bench/bare.py --upstream http://127.0.0.1:9100 --port 18091
"""

import argparse
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import uvicorn
import uvloop

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

HOP_BY_HOP = frozenset((b"host", b"connection", b"keep-alive", b"content-length", b"transfer-encoding"))
OF_THE_ANSWER = frozenset((b"connection", b"keep-alive", b"transfer-encoding"))


class Bare:
    """An ASGI application that hands each request on, and its answer back piece by piece."""

    def __init__(self, session: aiohttp.ClientSession, upstream: str) -> None:
        self._session = session
        self._upstream = upstream

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pieces, more = [], True
        while more:
            message = await receive()
            pieces.append(message.get("body", b""))
            more = message.get("more_body", False)
        headers = [(name.decode(), value.decode()) for name, value in scope["headers"] if name not in HOP_BY_HOP]
        url = self._upstream + scope["path"]
        async with self._session.request(scope["method"], url, headers=headers, data=b"".join(pieces)) as answer:
            passed_back = [pair for pair in answer.raw_headers if pair[0].lower() not in OF_THE_ANSWER]
            await send({"type": "http.response.start", "status": answer.status, "headers": passed_back})
            async for piece in answer.content.iter_any():
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body"})


async def serve(upstream: str, port: int) -> None:
    """Serves until SIGTERM."""
    connector, patience = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=patience, auto_decompress=False) as session:
        config = uvicorn.Config(
            Bare(session, upstream),
            host="127.0.0.1",
            port=port,
            http="httptools",
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=1,
            backlog=4096,
        )
        await uvicorn.Server(config).serve()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--upstream", required=True, help="the base URL to hand requests on to")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    uvloop.run(serve(options.upstream, options.port))


if __name__ == "__main__":
    main()
