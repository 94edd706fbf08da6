"""Credit for tenants: grants from the ledger, and admission into them.

The ledger is asked ahead of need, so that admission is a decision in memory; only a tenant whose grant runs short
waits for it. One raise a tenant is under way at a time, on behalf of all who wait.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field

import grpc

from services.auth.holds import Credit, Hold, Reserve
from services.auth.prices import PriceBook
from services.auth.settings import AuthSettings
from services.shared import clock, ids, rpc
from services.shared.errors import Kind, Refusal
from services.shared.money import dollars
from services.shared.pricing import Rates, Tokens
from services.shared.telemetry import logger
from tollhouse.v1 import auth_pb2, ledger_pb2, ledger_pb2_grpc

_log = logger("grants")

_DRY_S = 1.0
_MOST_NANO = (1 << 63) - 1
"""What fits into the ledger's messages."""


@dataclass(slots=True)
class _Waiter:
    item: auth_pb2.AdmitItem
    rates: Rates
    amount_nano: int
    future: asyncio.Future[Hold]


@dataclass(slots=True)
class _Tenant:
    credit: Credit
    reserve: Reserve = field(default_factory=Reserve)
    waiters: list[_Waiter] = field(default_factory=list)
    """Who wait for the ledger; those it is being asked for just now included."""
    raising: asyncio.Task[None] | None = None
    dry_until_s: float = 0.0
    """The ledger gave all that there is: until then only a hold that does not fit asks again."""


class Grants:
    """The credit of the tenants that this replica owns."""

    def __init__(
        self, ledger: "ledger_pb2_grpc.LedgerServiceAsyncStub", prices: PriceBook, settings: AuthSettings
    ) -> None:
        self._ledger = ledger
        self._prices = prices
        self._settings = settings
        self._tenants: dict[str, _Tenant] = {}
        self._unpriced: set[str] = set()
        """Hold ids whose model's price is being looked for."""

    def admit(self, item: auth_pb2.AdmitItem) -> Hold | Awaitable[Hold]:
        """Places the hold that `item` asks for: at once, or when the ledger has answered. Raises Refusal, as the
        awaitable does."""
        rates = self._prices.in_force(item.model)
        if rates is None:
            self._unpriced.add(item.hold_id)
            return self._admit_unpriced(item)
        return self._admit(item, rates)

    def _admit(self, item: auth_pb2.AdmitItem, rates: Rates) -> Hold | Awaitable[Hold]:
        tenant = self._tenants.get(item.tenant_id)
        if tenant is None:
            tenant = self._tenants[item.tenant_id] = _Tenant(Credit(item.tenant_id, _new_grant_id()))
        credit = tenant.credit
        amount_nano = rates.hold_nano(item.input_tokens, item.output_tokens)
        hold = None if tenant.waiters else credit.place(item.hold_id, amount_nano, rates, self._expiry_s())
        if hold is not None:
            low = credit.available_nano < amount_nano * tenant.reserve.factor // 2
            if low and clock.monotonic_s() >= tenant.dry_until_s:
                self._raise_soon(tenant, amount_nano)
            return hold
        waiter = _Waiter(item, rates, amount_nano, asyncio.get_running_loop().create_future())
        tenant.waiters.append(waiter)
        self._raise_soon(tenant, amount_nano)
        return waiter.future

    async def _admit_unpriced(self, item: auth_pb2.AdmitItem) -> Hold:
        """The price may be newer than what this replica has heard of."""
        try:
            await self._prices.refresh_now()
            if item.hold_id not in self._unpriced:
                raise Refusal(Kind.INTERNAL, "settled before it was admitted")
        finally:
            self._unpriced.discard(item.hold_id)
        rates = self._prices.in_force(item.model)
        if rates is None:
            raise Refusal(Kind.MODEL_UNPRICED, f"the model {item.model!r} has no price")
        admitted = self._admit(item, rates)
        return admitted if isinstance(admitted, Hold) else await admitted

    def settle(self, item: auth_pb2.SettleItem) -> bool:
        """Ends a hold with what was used. False when there is no such hold, nor anybody who waits for it."""
        if item.hold_id in self._unpriced:
            self._unpriced.discard(item.hold_id)
            return True
        tenant = self._tenants.get(item.tenant_id)
        if tenant is None:
            return False
        charged = [
            Tokens(counts.input, counts.output, counts.cache_read, counts.cache_write_5m, counts.cache_write_1h)
            for counts in item.charged
        ]
        if tenant.credit.settle(item.hold_id, charged, clock.monotonic_s()) is not None:
            return True
        # A question that came twice, over a stream that broke and the call after it, waits twice.
        left = [waiter.future.cancel() for waiter in tenant.waiters if waiter.item.hold_id == item.hold_id]
        return any(left)

    def _expiry_s(self) -> float:
        return clock.monotonic_s() + self._settings.hold_ttl_s

    def _raise_soon(self, tenant: _Tenant, hold_nano: int) -> None:
        if tenant.raising is None:
            tenant.raising = asyncio.create_task(self._raise(tenant, hold_nano))

    async def _raise(self, tenant: _Tenant, hold_nano: int) -> None:
        """Asks the ledger for what is needed and a reserve, until nobody waits."""
        credit = tenant.credit
        try:
            while True:
                reserve_nano = tenant.reserve.next_nano(hold_nano, clock.monotonic_s())
                waiting = list(tenant.waiters)
                needed_nano = sum(waiter.amount_nano for waiter in waiting)
                try:
                    left_nano = await self._raise_to(credit, credit.committed_nano + needed_nano + reserve_nano)
                except grpc.aio.AioRpcError as error:
                    self._serve(tenant, waiting, rpc.refusal_of(error, Kind.LEDGER_UNAVAILABLE))
                    tenant.reserve.raised_s = float("-inf")
                except Exception:
                    _log.exception("raise_failed", tenant_id=credit.tenant_id)
                    self._serve(tenant, waiting, Refusal(Kind.INTERNAL, Kind.INTERNAL.meaning))
                else:
                    tenant.dry_until_s = 0.0 if left_nano else clock.monotonic_s() + _DRY_S
                    self._serve(tenant, waiting, None)
                if not tenant.waiters:
                    return
        finally:
            tenant.raising = None

    async def _raise_to(self, credit: Credit, total_nano: int) -> int:
        """Asks for a total; answers what the balance has left outside grants."""
        grant_id = credit.grant_id
        response = await self._ledger.RaiseGrant(
            ledger_pb2.RaiseGrantRequest(
                grant_id=grant_id,
                tenant_id=credit.tenant_id,
                holder=self._settings.replica,
                want_nano=min(total_nano, _MOST_NANO),
            ),
            timeout=self._settings.ledger_timeout_s,
            wait_for_ready=True,
        )
        if credit.grant_id == grant_id:
            credit.granted_nano = max(credit.granted_nano, response.granted_nano)
        return response.available_nano

    def _serve(self, tenant: _Tenant, waiting: list[_Waiter], ledger_fault: Refusal | None) -> None:
        """Places what fits now, in order; the others are refused. Whoever left meanwhile takes nothing."""
        credit, tenant.waiters = tenant.credit, tenant.waiters[len(waiting) :]
        for waiter in waiting:
            if waiter.future.done():
                continue
            hold = credit.place(waiter.item.hold_id, waiter.amount_nano, waiter.rates, self._expiry_s())
            if hold is not None:
                waiter.future.set_result(hold)
            else:
                waiter.future.set_exception(ledger_fault or _exhausted(credit, waiter))

    async def keep(self) -> None:
        """Renews grants, gives back those of idle tenants, releases holds whose time is over; until cancelled."""
        while True:
            await asyncio.sleep(self._settings.grant_renew_s)
            now_s = clock.monotonic_s()
            try:
                await self._renew()
                for tenant in list(self._tenants.values()):
                    for hold in tenant.credit.expire(now_s):
                        _log.warning("hold_expired", hold_id=hold.hold_id, amount_nano=hold.amount_nano)
                    await self._give_back_if_idle(tenant, now_s)
            except grpc.aio.AioRpcError as error:
                _log.warning("grants_not_renewed", error=error.code().name)

    async def _renew(self) -> None:
        # A grant that is being opened just now may be unknown to the ledger yet, and is not lost for that.
        every = [tenant.credit for tenant in self._tenants.values()]
        by_grant = {credit.grant_id: credit for credit in every if credit.granted_nano}
        if not by_grant:
            return
        response = await self._ledger.RenewGrants(
            ledger_pb2.RenewGrantsRequest(holder=self._settings.replica, grant_ids=list(by_grant)),
            timeout=self._settings.ledger_timeout_s,
        )
        for grant_id in by_grant.keys() - set(response.grant_ids):
            credit = by_grant[grant_id]
            _log.warning("grant_lost", grant_id=grant_id, tenant_id=credit.tenant_id)
            credit.start_over(_new_grant_id())

    async def _give_back_if_idle(self, tenant: _Tenant, now_s: float) -> None:
        credit = tenant.credit
        idle_s = now_s - credit.idle_since_s
        if credit.holds or tenant.raising or tenant.waiters or idle_s < self._settings.grant_idle_s:
            return
        del self._tenants[credit.tenant_id]  # first: whoever comes now starts with a grant of its own
        await self._close(credit)

    async def give_back_all(self) -> None:
        """Closes every grant at shutdown. Holds that stand still keep their share until their events are booked."""
        for tenant in list(self._tenants.values()):
            try:
                await self._close(tenant.credit)
            except grpc.aio.AioRpcError as error:
                _log.warning("grant_not_given_back", grant_id=tenant.credit.grant_id, error=error.code().name)

    async def _close(self, credit: Credit) -> None:
        await self._ledger.LowerGrant(
            ledger_pb2.LowerGrantRequest(grant_id=credit.grant_id, committed_nano=credit.committed_nano),
            timeout=self._settings.ledger_timeout_s,
        )


def _new_grant_id() -> str:
    return f"grant_{ids.ulid()}"


def _exhausted(credit: Credit, waiter: _Waiter) -> Refusal:
    left_nano = max(0, credit.available_nano)
    affordable = waiter.rates.affordable_output_tokens(waiter.item.input_tokens, left_nano)
    if affordable:
        advice = f"it could afford max_tokens of at most {affordable} for this prompt"
    else:
        advice = "it cannot afford this prompt"
    return Refusal(
        Kind.BALANCE_EXHAUSTED,
        f"the balance cannot cover this request: it may cost {dollars(waiter.amount_nano)}"
        f" and {dollars(left_nano)} is available; {advice}",
        affordable_output_tokens=str(affordable),
        available_nano=str(left_nano),
        needed_nano=str(waiter.amount_nano),
    )
