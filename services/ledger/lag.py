"""How far booking is behind: usage messages that wait in JetStream, and how long the oldest has."""

import asyncio
from dataclasses import dataclass
from typing import Final

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError

from services.ledger.consumer import progress
from services.ledger.settlement import unix_ms
from services.shared import bus, clock
from services.shared.telemetry import logger

_EVERY_S: Final = 1.0
_log = logger("lag")


@dataclass(frozen=True, slots=True)
class Behind:
    """What is not booked yet, and what could not be."""

    messages: int = 0
    oldest_ms: int = 0
    dead_letters: int = 0


class Lag:
    """Looks once a second. While NATS is away, `behind` is what was seen last."""

    def __init__(self, nc: Client) -> None:
        self._js = nc.jetstream()
        self.behind = Behind()

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            try:
                self.behind = await self.look()
            except (NatsError, OSError, TimeoutError) as error:
                _log.warning("lag_unknown", error=repr(error))
            await asyncio.sleep(_EVERY_S)

    async def look(self) -> Behind:
        """Asks JetStream now. Raises NatsError, TimeoutError."""
        last, booked = await progress(self._js)
        dead = await self._js.stream_info(bus.DEAD_STREAM)
        oldest_ms = 0
        if last > booked:
            try:
                message = await self._js.get_msg(bus.USAGE_STREAM, seq=booked + 1, subject=bus.USAGE_SUBJECT, next=True)
                oldest_ms = max(0, clock.now_ms() - unix_ms(message.time)) if message.time else 0
            except NotFoundError:
                pass  # booked meanwhile
        return Behind(max(0, last - booked), oldest_ms, dead.state.messages)
