"""Who is there: replicas of a service say so over NATS, and whoever needs them listens.

A replica says its name and address every `EVERY_S`, at once when somebody asks, and when it leaves. Nothing is kept
anywhere: who listens for `EVERY_S` knows everybody, and NATS being away takes nobody's replicas from them.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.shared import bus
from services.shared.telemetry import logger

EVERY_S: Final = 1.0

_log = logger("discovery")


class Announcement(msgspec.Struct, frozen=True):
    """What a replica says of itself."""

    replica: str
    """Its name, unique among the replicas of its service."""
    address: str
    """host:port of its gRPC, as its callers reach it."""
    leaving: bool = False
    figures: dict[str, float] = {}
    """What it says of its work, by name: counts, and milliseconds where the name ends in `_ms`. For people to look at;
    nothing is decided by it."""


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Announcement).decode


class Presence:
    """Says that this replica is there.

    Args:
        figures: asked each time for what to say of the work; must not wait.
    """

    def __init__(
        self,
        nc: Client,
        service: str,
        replica: str,
        address: str,
        figures: Callable[[], Mapping[str, float]] | None = None,
    ) -> None:
        self._nc = nc
        self._service = service
        self._here = Announcement(replica, address)
        self._figures = figures

    async def run(self) -> None:
        """Says so until cancelled."""
        asked = asyncio.Event()

        async def roll_call(_: Msg) -> None:
            asked.set()

        await self._nc.subscribe(f"{bus.ROLL_CALL}.{self._service}", cb=roll_call)
        while True:
            await self._say(self._here)
            try:
                async with asyncio.timeout(EVERY_S):
                    await asked.wait()
            except TimeoutError:
                pass
            asked.clear()

    async def leave(self) -> None:
        """Says that it takes no more work, now and as long as `run` runs."""
        self._here = Announcement(self._here.replica, self._here.address, leaving=True)
        await self._say(self._here)

    async def _say(self, announcement: Announcement) -> None:
        if self._figures is not None:
            announcement = msgspec.structs.replace(announcement, figures=dict(self._figures()))
        await bus.announce(self._nc, f"{bus.PRESENCE}.{self._service}", _encode(announcement))


async def listen(nc: Client, service: str, heard: Callable[[Announcement], None]) -> None:
    """Calls `heard` with all that replicas of a service say from now on, and asks them to say it now."""

    async def said(message: Msg) -> None:
        try:
            announcement = _decode(message.data)
        except msgspec.DecodeError as error:
            _log.warning("announcement_unreadable", service=service, error=str(error))
            return
        heard(announcement)

    await nc.subscribe(f"{bus.PRESENCE}.{service}", cb=said)
    await bus.announce(nc, f"{bus.ROLL_CALL}.{service}", b"")
