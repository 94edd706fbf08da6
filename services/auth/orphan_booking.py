"""Has the ledger book what lost edges left behind, and settles it."""

from collections.abc import Sequence
from typing import Final

import grpc

from services.auth.holds import Hold
from services.auth.orphans import orphaned_usage
from services.auth.tenants import Tenant
from services.shared.pricing import Tokens
from services.shared.telemetry import logger
from tollhouse.v1 import ledger_pb2, ledger_pb2_grpc, types_pb2

_log = logger("orphan_booking")

AWAY: Final = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
"""How a call fails while the ledger cannot be asked."""
_AT_ONCE: Final = 100


class Orphans:
    """A tenant's holds that nobody renewed: booked in as few calls as may be, for a lost edge leaves many."""

    def __init__(self, ledger: "ledger_pb2_grpc.LedgerServiceAsyncStub", timeout_s: float) -> None:
        self._ledger = ledger
        self._timeout_s = timeout_s
        self.booked = 0
        """Holds that were settled so."""

    async def book(self, tenant: Tenant, now_s: float) -> None:
        """Settles what lost edges left behind by what they last said. A hold stays until its usage is booked (I3)."""
        overdue = tenant.holds.overdue(now_s)
        for begin in range(0, len(overdue), _AT_ONCE):
            some = overdue[begin : begin + _AT_ONCE]
            try:
                await self._book_some(tenant, some, now_s)
            except grpc.aio.AioRpcError as error:
                if error.code() in AWAY or len(some) == 1:
                    raise
                for hold in some:  # one that the ledger refuses stands in the way of no other
                    await self._book_alone(tenant, hold, now_s)

    async def _book_alone(self, tenant: Tenant, hold: Hold, now_s: float) -> None:
        try:
            await self._book_some(tenant, [hold], now_s)
        except grpc.aio.AioRpcError as error:
            if error.code() in AWAY:
                raise
            _log.warning("orphan_not_booked", hold_id=hold.hold_id, error=error.code().name)

    async def _book_some(self, tenant: Tenant, holds: Sequence[Hold], now_s: float) -> None:
        usage = [(hold, orphaned_usage(tenant.tenant_id, hold)) for hold in holds if hold.expires_s <= now_s]
        for hold, events in usage:
            _log.warning("hold_orphaned", hold_id=hold.hold_id, amount_nano=hold.amount_nano, attempts=len(events))
        if told := [event for _, events in usage for event in events]:
            await self._ledger.BookOrphans(ledger_pb2.BookOrphansRequest(events=told), timeout=self._timeout_s)
        for hold, events in usage:
            if hold.expires_s <= now_s:  # not renewed or settled meanwhile
                self.booked += 1
                tenant.settle(hold.hold_id, [tokens_of(event.tokens) for event in events], now_s)


def tokens_of(counts: types_pb2.TokenCounts) -> Tokens:
    """What was used, for pricing."""
    return Tokens(
        counts.input,
        counts.output,
        counts.cache_read,
        counts.cache_write_5m,
        counts.cache_write_1h,
        counts.requests,
    )
