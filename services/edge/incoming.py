"""The client's side of a request: its body, and that it may leave."""

import asyncio
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any, Final

from services.edge.settings import EdgeSettings
from services.shared import clock
from services.shared.connections import Line
from services.shared.errors import Kind, Refusal

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]

_LOOK_S: Final = 0.25


class ClientGone(Exception):
    """The client left before its request was read."""


class Incoming:
    """One request as it comes in. The client is watched once the body is read."""

    __slots__ = (
        "_began_s",
        "_bodies",
        "_late",
        "_line",
        "_receive",
        "_relaying",
        "_settings",
        "_size_bytes",
        "_taken_bytes",
        "_tenant_id",
        "_waits_since_s",
        "gone",
    )

    def __init__(self, receive: Receive, line: Line, settings: EdgeSettings, bodies: "Bodies") -> None:
        self._receive = receive
        self._line = line
        self._settings = settings
        self._bodies = bodies
        self._relaying = asyncio.current_task()
        self._began_s = self._waits_since_s = 0.0
        self._tenant_id = ""
        self._size_bytes = self._taken_bytes = 0
        self._late = False
        self.gone = False
        """The client left: the cancellation of the request's coroutine was ours."""

    async def body(self, tenant_id: str, content_length: int | None) -> bytes:
        """The whole body, which takes of the tenant's share of the room; from then on the request's coroutine is
        cancelled when the client leaves. Raises Refusal and ClientGone."""
        self._tenant_id = tenant_id
        if content_length is not None:
            self._check_size(content_length)
        self._bodies.enter(self)
        try:
            body, more = await self._piece()
            if more:
                self._began_s = self._waits_since_s
                whole = BytesIO()  # grows in place and gives its bytes away: joined pieces would be there twice
                whole.write(body)
                while more:
                    body, more = await self._piece()
                    whole.write(body)
                body = whole.getvalue()
        finally:
            self._bodies.leave(self)
        self._line.watch(self._leave)
        return body

    def forget_body(self) -> None:
        """The body is not in memory any more."""
        if self._taken_bytes:
            self._bodies.give_back(self._tenant_id, self._taken_bytes)
            self._taken_bytes = 0

    def absorb_cancellation(self) -> None:
        """The cancellation was ours, and is dealt with."""
        if self._relaying is not None:
            self._relaying.uncancel()

    def give_up_late(self, now_s: float) -> None:
        """Ends the wait for a piece of the body that is not there in time, or for a body that comes in drops."""
        patience_s = self._settings.body_timeout_s
        late = now_s - self._waits_since_s > patience_s
        if self._began_s:
            took_s = now_s - self._began_s - patience_s
            late = late or took_s * self._settings.body_bytes_per_s > self._size_bytes
        if late and not self._late and self._relaying is not None:
            self._late = True
            self._relaying.cancel()

    def end(self) -> None:
        """Watches no more, and gives back the body's room."""
        self._relaying = None
        self._line.unwatch()
        self.forget_body()

    async def _piece(self) -> tuple[bytes, bool]:
        self._waits_since_s = clock.monotonic_s()
        try:
            message = await self._receive()
        except asyncio.CancelledError:
            if not self._late:
                raise
            self.absorb_cancellation()
            waited_s = self._settings.body_timeout_s
            slow = clock.monotonic_s() - self._waits_since_s <= waited_s
            what = "the body comes too slowly" if slow else f"nothing of the body came for {waited_s:g} s"
            raise Refusal(Kind.REQUEST_TIMEOUT, what) from None
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece: bytes = message.get("body", b"")
        self._size_bytes += len(piece)
        self._check_size(self._size_bytes)
        self._bodies.take(self._tenant_id, len(piece))
        self._taken_bytes = self._size_bytes
        return piece, message.get("more_body", False)

    def _check_size(self, size_bytes: int) -> None:
        limit = self._settings.body_max_bytes
        if size_bytes > limit:
            raise Refusal(Kind.REQUEST_TOO_LARGE, f"the body is over the limit of {limit} bytes")

    def _leave(self) -> None:
        if self._relaying is not None:
            self.gone = True
            self._relaying.cancel()


class Bodies:
    """The bodies that this edge has in memory, and those that are on their way. At these there is one look every
    quarter of a second while there are any, instead of a timer for each, for most requests bring theirs along."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        """In memory now; at most `most_bytes`."""
        self._of: dict[str, int] = {}
        """By tenant."""
        self.on_their_way: set[Incoming] = set()
        self._looking: asyncio.TimerHandle | None = None

    def take(self, tenant_id: str, piece_bytes: int) -> None:
        """Notes a piece. Raises Refusal where there is no room for it, half of which is for other tenants."""
        of_tenant = self._of.get(tenant_id, 0) + piece_bytes
        if self.bytes + piece_bytes > self.most_bytes or of_tenant > self.most_bytes // 2:
            raise Refusal(Kind.BODIES_FULL, "too many large requests are under way here; please try again")
        self.bytes += piece_bytes
        self._of[tenant_id] = of_tenant

    def give_back(self, tenant_id: str, body_bytes: int) -> None:
        """Notes that so much is not in memory any more."""
        self.bytes -= body_bytes
        self._of[tenant_id] -= body_bytes
        if not self._of[tenant_id]:
            del self._of[tenant_id]

    def enter(self, incoming: Incoming) -> None:
        """Its body is on its way."""
        self.on_their_way.add(incoming)
        if self._looking is None:
            self._looking = asyncio.get_running_loop().call_later(_LOOK_S, self._look)

    def leave(self, incoming: Incoming) -> None:
        """Its body is there, or is not waited for any more."""
        self.on_their_way.discard(incoming)

    def _look(self) -> None:
        self._looking = None
        now_s = clock.monotonic_s()
        for incoming in self.on_their_way:
            incoming.give_up_late(now_s)
        if self.on_their_way:
            self._looking = asyncio.get_running_loop().call_later(_LOOK_S, self._look)
