"""The client's side of a request: its body, and that it may leave."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from services.edge.settings import EdgeSettings
from services.shared.errors import Kind, Refusal

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]


class ClientGone(Exception):
    """The client left before its request was read."""


class Incoming:
    """One request as it comes in. Watches the client once the body is read."""

    __slots__ = ("_receive", "_relaying", "_settings", "_watching", "gone")

    def __init__(self, receive: Receive, settings: EdgeSettings) -> None:
        self._receive = receive
        self._settings = settings
        self._relaying = asyncio.current_task()
        self._watching: asyncio.Task[None] | None = None
        self.gone = False
        """The client left: the cancellation of the request's coroutine was ours."""

    async def body(self, content_length: int | None) -> bytes:
        """The whole body; from then on the request's coroutine is cancelled when the client leaves. Raises Refusal and
        ClientGone."""
        limit = self._settings.body_max_bytes
        if content_length is not None and content_length > limit:
            raise _too_large(limit)
        body, more = await self._piece()
        if more:
            pieces, size = [body], len(body)
            while more:
                body, more = await self._piece()
                pieces.append(body)
                size += len(body)
                if size > limit:
                    raise _too_large(limit)
            body = b"".join(pieces)
        if len(body) > limit:
            raise _too_large(limit)
        self._watching = asyncio.create_task(self._watch())
        return body

    def absorb_cancellation(self) -> None:
        """The cancellation was ours, and is dealt with."""
        if self._relaying is not None:
            self._relaying.uncancel()

    def end(self) -> None:
        """Watches no more."""
        if self._watching is not None:
            self._watching.cancel()

    async def _piece(self) -> tuple[bytes, bool]:
        timeout_s = self._settings.body_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                message = await self._receive()
        except TimeoutError:
            raise Refusal(Kind.REQUEST_TIMEOUT, f"nothing of the body came for {timeout_s:g} s") from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        return message.get("body", b""), message.get("more_body", False)

    async def _watch(self) -> None:
        """The body is read, so all that can still come is the client's disconnect."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if self._relaying is not None:
            self._relaying.cancel()


def _too_large(limit: int) -> Refusal:
    return Refusal(Kind.REQUEST_TOO_LARGE, f"the body is over the limit of {limit} bytes")
