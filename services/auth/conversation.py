"""The conversation with the ledger about a tenant's grants: one a tenant at a time, on behalf of all who wait."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import grpc

from services.auth.holds import Credit, Reserve
from services.auth.settings import AuthSettings
from services.auth.tenants import Account, Tenant, Waiter, exhausted, is_free, lacking, within_reach
from services.shared import clock, ids, rpc
from services.shared.errors import Kind, Refusal
from services.shared.metrics import Tally
from services.shared.telemetry import logger
from tollhouse.v1 import ledger_pb2, ledger_pb2_grpc

_log = logger("conversation")

_DRY_S = 1.0
_MOST_NANO = (1 << 63) - 1
"""What fits into the ledger's messages."""
_LOST_AT_MOST = 3
_TRIES = 4
_RECALL_S = 0.1
_SHARE = 4
"""The part of what is free, at most, that is put aside in one go."""


def new_grant_id() -> str:
    return f"grant_{ids.ulid()}"


def first_grant_id() -> str:
    """What stands before every id that is made from this millisecond on, and after all that were made earlier."""
    return f"grant_{ids.ulid()[: ids.TIME_LENGTH]}"


def start_over(credit: Credit, lost_grant_id: str) -> bool:
    """Goes on in a new grant, unless that was done already: both a renewal and a raise may find that one is lost.
    Answers whether it was done now."""
    if credit.grant_id != lost_grant_id:
        return False
    _log.warning("grant_lost", grant_id=lost_grant_id)
    credit.start_over(new_grant_id())
    return True


class Conversation:
    """Raises and lowers grants, and answers those who wait for that.

    A raise and a lowering of one grant never cross, for they come from one task a tenant: an answer to a raise that was
    overtaken by a lowering would let holds be placed in what was given back.
    """

    def __init__(
        self,
        ledger: "ledger_pb2_grpc.LedgerServiceAsyncStub",
        settings: AuthSettings,
        recall: Callable[[str], Awaitable[None]],
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._recall = recall
        self.began = asyncio.Event()
        """Set when this replica's grants of an earlier life are abandoned."""
        self.raises = Tally()
        """By `ok`, or by the kind of what failed."""
        self.lost = 0
        """Grants that the ledger had ended."""

    def soon(self, tenant: Tenant, account: Account, hold_nano: int) -> None:
        """Has a grant raised on behalf of a hold of `hold_nano`; 0 to have those who wait answered."""
        account.asked_nano = max(account.asked_nano, hold_nano)
        if tenant.conversing is None:
            tenant.conversing = asyncio.create_task(self._converse(tenant))

    def give_back_spare_soon(self, tenant: Tenant) -> None:
        """Lowers a tenant's grants to what is committed, when nobody waits here any more."""
        tenant.spare_wanted = True
        if tenant.conversing is None:
            tenant.conversing = asyncio.create_task(self._converse(tenant))

    async def lower(self, credit: Credit) -> None:
        """Gives back what a grant has beyond what is committed. Raises AioRpcError."""
        credit.asked += 1
        await self._ledger.LowerGrant(
            ledger_pb2.LowerGrantRequest(
                grant_id=credit.grant_id,
                committed_nano=credit.committed_nano,
                settled_nano=credit.settled_nano,
                sequence=credit.asked,
            ),
            timeout=self._settings.ledger_timeout_s,
        )

    async def _converse(self, tenant: Tenant) -> None:
        """Asks the ledger for what is needed and a reserve, until nobody waits nor asks."""
        tries = 0
        try:
            while True:
                waiting = list(tenant.waiters)
                fault = await self._raise_those_asked(tenant, waiting)
                if self._serve(tenant, waiting, fault, may_wait=tries < _TRIES):
                    tries += 1
                    if not is_free(tenant, tenant.waiters):
                        await self._recall(tenant.tenant_id)
                        await asyncio.sleep(_RECALL_S)
                    continue
                tries = 0
                if not tenant.waiters and tenant.spare_wanted:
                    await self._give_back_spare(tenant)
                if not tenant.waiters and not any(account.asked_nano for account in tenant.accounts()):
                    return
        finally:
            tenant.conversing = None

    async def _raise_those_asked(self, tenant: Tenant, waiting: Sequence[Waiter]) -> Refusal | None:
        """Raises every grant that somebody asks for. Answers why that was not possible."""
        asked = [
            account
            for account in tenant.accounts()
            if account.asked_nano or lacking(account, tenant, waiting) > account.credit.available_nano
        ]
        hold_nanos = [account.asked_nano for account in asked]
        for account in asked:
            account.asked_nano = 0
        try:
            async with asyncio.timeout(self._settings.ledger_timeout_s):
                await self.began.wait()
        except TimeoutError:
            self.raises[Kind.LEDGER_UNAVAILABLE.label,] += len(asked)
            return Refusal(Kind.LEDGER_UNAVAILABLE, Kind.LEDGER_UNAVAILABLE.meaning)
        raises = map(self._raise, [tenant] * len(asked), asked, hold_nanos, [waiting] * len(asked))
        # All of them to their end: none may be under way still when the next conversation begins.
        faults = [fault for fault in await asyncio.gather(*raises, return_exceptions=True) if fault is not None]
        self.raises["ok",] += len(asked) - len(faults)
        if not faults:
            return None
        for account in asked:
            account.reserve.raised_s = float("-inf")
        refusals = [_refusal_of(tenant, fault) for fault in faults]
        for refusal in refusals:
            self.raises[refusal.kind.label,] += 1
        return refusals[0]

    async def _raise(self, tenant: Tenant, account: Account, hold_nano: int, waiting: Sequence[Waiter]) -> None:
        """Raises a grant; one that was lost, or given up meanwhile for a new one, is no answer to those who wait."""
        for _ in range(_LOST_AT_MOST):
            grant_id = account.credit.grant_id
            if account.cap_lowered:
                await self.lower(account.credit)
                account.cap_lowered = False
            try:
                response = await self._ask(tenant, account, hold_nano, waiting)
            except grpc.aio.AioRpcError:
                account.forgone = True  # the ledger may have raised it all the same
                raise
            if response.lost:
                self.lost += start_over(account.credit, grant_id)
            if account.credit.grant_id != grant_id:
                continue
            if not account.cap_lowered:
                account.credit.granted_nano = response.granted_nano
                account.credit.lapsed = account.forgone = False
            account.free_nano = response.available_nano
            account.elsewhere_nano, account.abandoned_nano = response.elsewhere_nano, response.abandoned_nano
            account.dry_until_s = 0.0 if response.available_nano else clock.monotonic_s() + _DRY_S
            return
        raise Refusal(Kind.LEDGER_UNAVAILABLE, Kind.LEDGER_UNAVAILABLE.meaning)

    async def _ask(
        self, tenant: Tenant, account: Account, hold_nano: int, waiting: Sequence[Waiter]
    ) -> ledger_pb2.RaiseGrantResponse:
        credit = account.credit
        needed_nano = lacking(account, tenant, waiting)
        hold_nano = hold_nano or max((waiter.more_nano for waiter in waiting), default=0)
        now_s = clock.monotonic_s()
        # Of the last that there is nothing is put aside: others may need it now.
        reserve_nano = account.reserve.next_nano(hold_nano, now_s) if now_s >= account.dry_until_s else 0
        # Of a small balance a part only: another replica may need it, and it is locked for a while if this one dies.
        reserve_nano = min(reserve_nano, max(hold_nano * Reserve.SMALLEST, account.free_nano // _SHARE))
        account.reserve.aimed_nano = reserve_nano
        credit.asked += 1
        request = ledger_pb2.RaiseGrantRequest(
            grant_id=credit.grant_id,
            tenant_id=tenant.tenant_id,
            holder=self._settings.replica,
            want_nano=min(credit.committed_nano + needed_nano + reserve_nano, _MOST_NANO),
            key_id=credit.key_id,
            key_cap_nano=account.cap_nano,
            granted_nano=credit.granted_nano,
            sequence=credit.asked,
        )
        try:
            return await self._raised(request)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise
        return await self._raised(request)  # of another replica, where there is one: this one hangs

    async def _raised(self, request: ledger_pb2.RaiseGrantRequest) -> ledger_pb2.RaiseGrantResponse:
        return await self._ledger.RaiseGrant(request, timeout=self._settings.ledger_timeout_s / 2, wait_for_ready=True)

    def _serve(self, tenant: Tenant, waiting: Sequence[Waiter], fault: Refusal | None, *, may_wait: bool) -> bool:
        """Gives those who wait what fits now, in order; the others are refused, or wait on where more can be had.
        Answers whether they do. Whoever left meanwhile takes nothing."""
        come_since = tenant.waiters[len(waiting) :]
        left = [waiter for waiter in waiting if not waiter.future.done() and not tenant.seek(waiter)]
        again = may_wait and fault is None and within_reach(tenant, left)
        if not again:
            for waiter in left:
                waiter.future.set_exception(fault or exhausted(tenant, waiter))
            left = []
        tenant.waiters = left + come_since
        return again

    async def _give_back_spare(self, tenant: Tenant) -> None:
        tenant.spare_wanted = False
        for account in list(tenant.accounts()):
            if account.credit.available_nano > 0:
                account.forgo_spare()
            if not account.forgone:
                continue
            try:
                await self.lower(account.credit)
                account.forgone = False
            except grpc.aio.AioRpcError as error:
                _log.warning("grant_not_given_back", tenant_id=tenant.tenant_id, error=error.code().name)


def _refusal_of(tenant: Tenant, fault: BaseException) -> Refusal:
    """What those who wait are told when a raise failed."""
    if isinstance(fault, Refusal):
        return fault
    if isinstance(fault, grpc.aio.AioRpcError):
        return rpc.refusal_of(fault, Kind.LEDGER_UNAVAILABLE)
    _log.error("raise_failed", tenant_id=tenant.tenant_id, exc_info=fault)
    return Refusal(Kind.INTERNAL, Kind.INTERNAL.meaning)
