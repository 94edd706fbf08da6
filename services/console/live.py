"""What is sent again and again while somebody looks, as server-sent events: pieces of a page, which console.js puts in
their place, and objects for programs.

https://html.spec.whatwg.org/multipage/server-sent-events.html: a browser asks again by itself when a stream ends, so
each ends after half a minute, and whoever was signed out meanwhile gets no other.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from services.console.failures import sentence
from services.console.problems import Problem
from services.shared import clock
from services.shared.errors import Refusal

MEDIA: Final = "text/event-stream"
EVERY_S: Final = 2.0
_LINE: Final = re.compile(r"\r\n|\n|\r")
_LASTS_S: Final = 30.0
_AGAIN_MS: Final = 500


def stream(request: Request, piece: Callable[[], Awaitable[str]], name: str = "piece") -> Response:
    """Sends a piece at once and every two seconds, in events of this name; where a service is away, why."""

    async def events() -> AsyncIterator[str]:
        yield f"retry: {_AGAIN_MS}\n\n"
        ends_s = clock.monotonic_s() + _LASTS_S
        while clock.monotonic_s() < ends_s and not await request.is_disconnected():
            try:
                yield event(name, await piece())
            except Refusal as refusal:
                yield event("away", sentence(refusal))
            except Problem as problem:  # what was watched is gone
                yield event("away", problem.detail)
                return
            await asyncio.sleep(EVERY_S)

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(events(), media_type=MEDIA, headers=headers)


def event(name: str, text: str) -> str:
    """One event: every line of its text is a line of data. What ends a line is what ends one of an event: an object may
    hold what else Unicode calls a line."""
    lines = _LINE.split(text.removesuffix("\n"))
    return f"event: {name}\n" + "".join(f"data: {line}\n" for line in lines) + "\n"
