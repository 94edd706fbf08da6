"""The replicas of one service, as they announce themselves, and which of them owns what.

Everything that is decided in one place has one owner among the replicas that answer: the same for every edge, and
another one only when replicas come or go (rendezvous hashing). A replica that announced itself and then falls silent
stays a candidate as long as its stream answers: NATS being away takes nobody's replicas from them.
"""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Final, Generic, TypeVar

from services.shared import clock
from services.shared.batching import Decisions
from services.shared.discovery import Announcement
from services.shared.errors import Kind, Refusal
from services.shared.telemetry import logger

_log = logger("replicas")

_SILENT_S: Final = 10.0
_LOOK_S: Final = 1.0
_LINGER_S: Final = 60.0
_ORDERS_MAX: Final = 10_000


class Replica(Decisions):
    """One replica: its conversation, and what it said of itself."""

    name: str
    address: str
    leaving = False
    """It takes no more work; what it holds should move to others."""
    heard_s = 0.0
    """When it was last heard of, on the monotonic clock."""

    def look(self) -> None:
        """Goes on under a new certificate, if there is one: a conversation makes no calls that would find it."""


R = TypeVar("R", bound=Replica)


class Replicas(Generic[R]):
    """The replicas of a service.

    Args:
        make: makes the conversation with a replica, given its name and address.
        unavailable: the kind that whoever needs one gets while there is none.
        moved: called when a replica leaves.
    """

    def __init__(self, make: Callable[[str, str], R], unavailable: Kind, moved: Callable[[], None]) -> None:
        self._make = make
        self._unavailable = unavailable
        self._moved = moved
        self._left: list[R] = []
        self._orders: dict[str, list[R]] = {}
        """By what is decided about: the members in the order in which they would own it. Forgotten when they change."""
        self.members: list[R] = []
        """Those that take work."""

    @property
    def answering(self) -> bool:
        """Whether there is one to ask instead of one that is lost. Where all are, their callers wait for a moment: one
        comes back."""
        return any(member.up for member in self.members)

    def heard(self, announcement: Announcement) -> None:
        """A replica said something of itself."""
        known = next((member for member in self.members if member.name == announcement.replica), None)
        if known is not None and (announcement.leaving or announcement.address != known.address):
            self._leave(known)
            known = None
        if known is None and not announcement.leaving:
            known = self._make(announcement.replica, announcement.address)
            known.start()
            self.members.append(known)
            self._orders.clear()
            _log.info("replica_joined", replica=known.name, address=known.address)
        if known is not None:
            known.heard_s = clock.monotonic_s()

    def owner(self, key: str, other_than: Decisions | None = None) -> R:
        """Who decides about `key`. Raises Refusal when there is nobody."""
        members = self.members
        if len(members) == 1:
            return members[0]
        order = self._orders.get(key) or self._order(key)
        for member in order:
            if member.up and member is not other_than:
                return member
        return next((member for member in order if member is not other_than), order[0])

    def any(self) -> R:
        """A replica that can be asked what all of them know. Raises Refusal when there is nobody."""
        members = self.members or self._leaving()
        return next((member for member in members if member.up), members[0])

    async def keep(self) -> None:
        """Lets go of replicas that are gone, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_S)
            now_s = clock.monotonic_s()
            for member in (*self.members, *self._left):
                member.look()
            for member in [m for m in self.members if not m.up and now_s - m.heard_s > _SILENT_S]:
                self._leave(member)
            gone = [left for left in self._left if not left.up or now_s - left.heard_s > _LINGER_S]
            for left in gone:
                self._left.remove(left)
                await left.close(flush_s=0)

    async def close(self) -> None:
        """Lets what was told arrive, then closes."""
        await asyncio.gather(*(replica.close() for replica in (*self.members, *self._left)))

    def _leave(self, member: R) -> None:
        member.leaving = True
        self.members.remove(member)
        self._orders.clear()
        self._left.append(member)
        _log.info("replica_left", replica=member.name, address=member.address)
        self._moved()

    def _order(self, key: str) -> list[R]:
        def weight(member: R) -> bytes:
            return hashlib.blake2b(f"{member.name}\0{key}".encode(), digest_size=8).digest()

        if not self.members:
            return sorted(self._leaving(), key=weight, reverse=True)
        if len(self._orders) >= _ORDERS_MAX:
            self._orders.clear()
        order = self._orders[key] = sorted(self.members, key=weight, reverse=True)
        return order

    def _leaving(self) -> list[R]:
        """Those that leave still answer for a moment, while the next ones start. Raises Refusal when there are none."""
        leaving = [left for left in self._left if left.up]
        if not leaving:
            raise Refusal(self._unavailable, self._unavailable.meaning)
        return leaving
