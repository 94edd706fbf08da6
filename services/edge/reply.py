"""The client's side of a request: what it has been sent so far."""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

from services.edge.dialects import anthropic
from services.edge.head import Headers
from services.shared import clock
from services.shared.errors import Refusal

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Reply:
    """An answer under way to the client. `status` and `first_byte_s` are None until it begins; the digest and size are
    of the body's bytes as they were sent."""

    __slots__ = ("_digest", "_last", "_send", "error", "first_byte_s", "request_id", "size_bytes", "status")

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._last = b""
        self._digest = hashlib.sha256()
        self.size_bytes = 0
        self.request_id = request_id
        self.status: int | None = None
        self.first_byte_s: float | None = None
        self.error: str | None = None

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Sends a whole answer."""
        headers.append((b"content-length", b"%d" % len(body)))
        await self.start(status, headers)
        self._note(body)
        await self._send({"type": "http.response.body", "body": body})

    async def start(self, status: int, headers: Headers) -> None:
        """Begins an answer; pieces and an end follow."""
        headers.append((b"x-request-id", self.request_id.encode()))
        self.status, self.first_byte_s = status, clock.monotonic_s()
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def piece(self, chunk: bytes) -> None:
        """Sends bytes as they came from the upstream; waits while the client reads slower than they come."""
        self._last = chunk
        self._note(chunk)
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self) -> None:
        """Ends a stream."""
        await self._send({"type": "http.response.body", "body": b""})

    async def break_off(self, refusal: Refusal) -> None:
        """Ends a stream that broke, with the API's own error event."""
        self.error = refusal.kind.label
        event = anthropic.error_event(refusal, self.request_id, mid_event=not self._last.endswith(b"\n\n"))
        self._note(event)
        await self._send({"type": "http.response.body", "body": event})

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the body: 32 bytes."""
        return self._digest.digest()

    def _note(self, sent: bytes) -> None:
        self._digest.update(sent)
        self.size_bytes += len(sent)

    async def refuse(self, refusal: Refusal) -> None:
        """Answers with an error of ours, unless an answer began: then the connection ends without its proper end."""
        self.error = refusal.kind.label
        if self.status is None:
            status, headers, body = anthropic.error_answer(refusal, self.request_id)
            await self.whole(status, headers, body)
