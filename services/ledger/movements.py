"""Money that moves by hand: what auth was granted ahead of need is called back before a balance is said to lack it."""

import asyncio
from typing import Final

from nats.aio.client import Client

from services.ledger.store.audit import Deed
from services.ledger.store.balances import BalanceStore, Moved, Movement, NotFree
from services.shared import bus
from services.shared.telemetry import logger

_log = logger("movements")

_WAITS_S: Final = (0.05, 0.1, 0.2, 0.4, 0.75)
"""Between the tries: one and a half seconds together. Replicas of auth answer a recall within milliseconds."""
_ASKER: Final = "ledger"


class Movements:
    """What changes balances beside usage and vouchers."""

    def __init__(self, balances: BalanceStore, nc: Client) -> None:
        self._balances = balances
        self._nc = nc

    async def make(self, tenant_id: str, movement: Movement, deed: Deed) -> Moved:
        """Moves money as `BalanceStore.move` does, which is asked again while grants are in the way: auth gives back
        what no request of the tenant needs. What is held for requests stays. Raises NotFree, which then says what
        could be taken now, NoSuchTransaction, KeyReused."""
        for wait_s in _WAITS_S:
            try:
                return await self._balances.move(tenant_id, movement, deed)
            except NotFree as short:
                if -movement.amount_nano > short.free_nano + short.granted_nano or not short.granted_nano:
                    raise  # nothing that could come back would do
                _log.info("credit_recalled", tenant_id=tenant_id, granted_nano=short.granted_nano)
            await bus.announce(self._nc, bus.CREDIT_WANTED, f"{_ASKER} {tenant_id}".encode())
            await asyncio.sleep(wait_s)
        return await self._balances.move(tenant_id, movement, deed)
