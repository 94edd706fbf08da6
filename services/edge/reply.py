"""The client's side of a request: what it has been sent so far."""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from typing import Any, Final

from services.edge import browsers
from services.edge.brand import Brand
from services.edge.dialects.speech import Speech
from services.edge.head import Headers
from services.shared import clock
from services.shared.connections import Line
from services.shared.errors import Refusal

Send = Callable[[dict[str, Any]], Coroutine[Any, Any, None]]

_EVENT_STREAM: Final = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))


class Reply:
    """An answer under way to the client. `status` and `first_byte_s` are None until it begins; the digest and size are
    of the body's bytes as they were sent."""

    __slots__ = (
        "_brand",
        "_digest",
        "_from_browser",
        "_last",
        "_line",
        "_pinging",
        "_send",
        "_sending",
        "_speech",
        "error",
        "first_byte_s",
        "limits",
        "request_id",
        "sent_s",
        "size_bytes",
        "status",
        "upstream_account_id",
    )

    def __init__(
        self, send: Send, line: Line, request_id: str, speech: Speech, brand: Brand, *, from_browser: bool = False
    ) -> None:
        self._send = send
        self._line = line
        self._speech = speech
        self._brand = brand
        self._from_browser = from_browser
        self._last = b""
        """The end of what was sent last: an empty line, where no event is under way."""
        self._digest = hashlib.sha256()
        self._sending = False
        self._pinging: asyncio.Task[None] | None = None
        self.size_bytes = 0
        self.request_id = request_id
        self.status: int | None = None
        self.first_byte_s: float | None = None
        self.sent_s = clock.monotonic_s()
        """When the client was last sent something; at first, when the request came."""
        self.error: str | None = None
        self.upstream_account_id = ""
        """Who answers; shown by the brands that do so."""
        self.limits: Headers = []
        """Headers that tell how the caller's limits stand."""

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Sends a whole answer; in the form of an event where the client has seen pings already, for then it can only
        be an error."""
        if self._pinging is not None:
            await self._pinging
        if self.only_pings:
            event = self._speech.event_of_error(body)
            self._note(event)
            await self._send({"type": "http.response.body", "body": event})
            return
        self.first_byte_s = clock.monotonic_s()
        self._note(body)
        headers.append((b"content-length", b"%d" % len(body)))
        self._begin(status, headers)
        if not self._line.answer(status, headers, body):
            await self._send({"type": "http.response.start", "status": status, "headers": headers})
            await self._send({"type": "http.response.body", "body": body})

    async def start(self, status: int, headers: Headers) -> None:
        """Begins an answer, unless a ping has done so; pieces and an end follow."""
        if self._pinging is not None:
            await self._pinging
        self.first_byte_s = clock.monotonic_s()
        if self.status is None:
            await self._send_head(status, headers)

    async def piece(self, chunk: bytes) -> None:
        """Sends bytes as they came from the upstream; waits while the client reads slower than they come."""
        if self._pinging is not None:
            await self._pinging
        self._last = chunk[-2:]
        self._note(chunk)
        self._sending = True
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        self._sending = False
        self.sent_s = clock.monotonic_s()

    def piece_now(self, chunk: bytes) -> bool:
        """The same outside of any task; false where the client has to be waited for: then it takes `piece`."""
        if self._pinging is not None or not self._line.write(chunk):
            return False
        self._last = chunk[-2:]
        self._note(chunk)
        self.sent_s = clock.monotonic_s()
        return True

    async def end(self) -> None:
        """Ends a stream."""
        await self._send({"type": "http.response.body", "body": b""})

    async def break_off(self, refusal: Refusal) -> None:
        """Ends a stream that broke, with the API's own error event."""
        self.error = refusal.kind.label
        if self._pinging is not None:
            await self._pinging
        mid_event = bool(self._last) and not self._last.endswith(b"\n\n")
        event = self._speech.error_event(refusal, self._brand, self.request_id, mid_event)
        self._note(event)
        await self._send({"type": "http.response.body", "body": event})

    async def refuse(self, refusal: Refusal) -> None:
        """Answers with an error of ours: as an event where the client has seen pings already. An answer that began
        otherwise ends without its proper end."""
        self.error = refusal.kind.label
        if self._pinging is not None:
            await self._pinging
        if self.status is None:
            status, headers, body = self._speech.error_answer(refusal, self._brand, self.request_id)
            await self.whole(status, headers, body)
        elif self.only_pings:
            await self.break_off(refusal)

    def ping_soon(self) -> None:
        """Tells the client that its answer is still awaited, between two events only, and not while it is slow to read
        what it was sent."""
        if self._pinging is None and not self._sending and (not self._last or self._last.endswith(b"\n\n")):
            self.sent_s = clock.monotonic_s()
            self._pinging = asyncio.create_task(self._ping())

    @property
    def only_pings(self) -> bool:
        """Whether all that the client has seen is pings."""
        return self.status is not None and self.first_byte_s is None

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the body: 32 bytes."""
        return self._digest.digest()

    async def _ping(self) -> None:
        try:
            if self.status is None:
                await self._send_head(200, list(_EVENT_STREAM))
            self._note(self._speech.ping)
            await self._send({"type": "http.response.body", "body": self._speech.ping, "more_body": True})
        finally:
            self._pinging = None

    async def _send_head(self, status: int, headers: Headers) -> None:
        self._begin(status, headers)
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    def _begin(self, status: int, headers: Headers) -> None:
        """Notes the status, and puts our own headers to an answer's."""
        headers += self._brand.request_id_headers(self.request_id)
        if self._brand.upstream_account_id_header and self.upstream_account_id:
            name = self._brand.upstream_account_id_header.lower().encode()
            headers.append((name, self.upstream_account_id.encode()))
        headers += self.limits
        if self._from_browser:
            headers += browsers.answer_headers(self._brand)
        self.status = status

    def _note(self, sent: bytes) -> None:
        self._digest.update(sent)
        self.size_bytes += len(sent)
