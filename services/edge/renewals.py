"""Requests under way: auth is told of them now and then, so that their holds live on, and so is the journal.

What is told is what to book should this process be lost. A replica of auth that does not know a hold, for it started
anew or has just become the tenant's owner, takes it over.
"""

import asyncio
import contextlib
from typing import Final

from services.edge.clients import Auth
from services.edge.exchange import Exchange
from services.edge.outbox import Outbox
from services.shared import clock
from services.shared.errors import Refusal
from tollhouse.v1 import auth_pb2

_TOGETHER: Final = 32
"""Renewals made in one turn of the event loop."""


class Renewals:
    """The requests that hold credit."""

    def __init__(self, outbox: Outbox, every_s: float) -> None:
        self._outbox = outbox
        self._every_s = every_s
        self._under_way: dict[str, Exchange] = {}
        self._now = asyncio.Event()

    def add(self, exchange: Exchange) -> None:
        """Its hold is placed."""
        self._under_way[exchange.request_id] = exchange

    def remove(self, exchange: Exchange) -> None:
        """Its hold is to be settled."""
        self._under_way.pop(exchange.request_id, None)

    def soon(self) -> None:
        """A replica of auth answers again: it may have lost its memory."""
        self._now.set()

    async def run(self, auth: Auth) -> None:
        """Renews until cancelled."""
        while True:
            young_s = 0.0
            try:
                async with asyncio.timeout(self._every_s):
                    await self._now.wait()
            except TimeoutError:
                young_s = self._every_s / 2  # most requests have ended before anybody would need to be told
            self._now.clear()
            await self._renew(auth, clock.monotonic_s() - young_s)

    async def _renew(self, auth: Auth, began_before_s: float) -> None:
        for number, exchange in enumerate(list(self._under_way.values()), 1):
            if exchange.began_s > began_before_s:
                break  # they stand in the order in which they began
            if exchange.request_id in self._under_way:
                self._renew_one(auth, exchange)
            if number % _TOGETHER == 0:
                await asyncio.sleep(0)

    def _renew_one(self, auth: Auth, exchange: Exchange) -> None:
        hold, item = exchange.hold, exchange.renewal()
        if exchange.meter is not None:
            self._outbox.progress(exchange.request_id, item.so_far)
        before = hold.auth
        if not before.up or before.leaving:
            with contextlib.suppress(Refusal):  # nobody is there: this one may come back
                hold.auth = auth.owner(exchange.principal.tenant_id)

        def renewed(done: asyncio.Future[auth_pb2.RenewResult]) -> None:
            if done.cancelled() or done.exception() is not None:
                return
            hold.moved(done.result())
            if before is not hold.auth:  # only now: credit that nobody holds might be given to somebody else
                before.tell("settle", auth_pb2.SettleItem(hold_id=hold.hold_id, tenant_id=hold.tenant_id))

        hold.auth.ask("renew", item).add_done_callback(renewed)
