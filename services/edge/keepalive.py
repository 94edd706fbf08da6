"""Keep-alive: while an upstream thinks in silence, its client gets that API's own ping, so that nobody between takes
the connection for dead.

One look at all streams a second, instead of a timer for each; a stream that flows costs nothing.
"""

import asyncio
from typing import Final

from services.edge.reply import Reply
from services.shared import clock

_LOOK_S: Final = 1.0


class KeepAlive:
    """The streams whose answers are awaited. A ping begins an answer, but does not end the attempts for it: as long as
    a client has seen nothing but pings another account may be tried."""

    def __init__(self, silent_s: float) -> None:
        self._silent_s = silent_s
        self._look_s = min(_LOOK_S, silent_s / 2)
        self._streams: set[Reply] = set()

    def __len__(self) -> int:
        """Streams under way."""
        return len(self._streams)

    def add(self, reply: Reply) -> None:
        """Its request asks for a stream."""
        self._streams.add(reply)

    def remove(self, reply: Reply) -> None:
        """Its answer has ended."""
        self._streams.discard(reply)

    async def run(self) -> None:
        """Pings until cancelled."""
        while True:
            await asyncio.sleep(self._look_s)
            before_s = clock.monotonic_s() - self._silent_s
            for reply in [reply for reply in self._streams if reply.sent_s <= before_s]:
                reply.ping_soon()
