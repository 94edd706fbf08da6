"""Credit for tenants: holds are placed, grow, are renewed and end here, in grants from the ledger and within limits.

The ledger is asked ahead of need, so that admission is a decision in memory; only a tenant whose grant runs short
waits for it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import NamedTuple

import grpc

from services.auth.conversation import Conversation, first_grant_id, new_grant_id, start_over
from services.auth.holds import Credit, Hold
from services.auth.limits import Limits, Reservation
from services.auth.orphan_booking import AWAY, Orphans, tokens_of
from services.auth.policies import Terms, terms_of
from services.auth.prices import PriceBook
from services.auth.settings import AuthSettings
from services.auth.tenants import Account, Tenant, Waiter
from services.shared import clock
from services.shared.errors import Kind, Refusal
from services.shared.metrics import Tally
from services.shared.pricing import Rates
from services.shared.telemetry import logger
from tollhouse.v1 import auth_pb2, ledger_pb2, ledger_pb2_grpc

_log = logger("grants")

_AGAIN_S = 0.1
_RENEWALS = 3
"""A grant lives for so many intervals of renewal at least."""
_PLACED_IN = 0.75
"""For this part of a grant's life, counted from its last renewal, holds are placed in it; the rest is for what they
stand for to end and be settled."""
_KEPT_AT_ONCE = 4
"""Tenants that the ledger is asked about at a time, beside renewals: it has others to answer."""


class Totals(NamedTuple):
    """What grants of balances hold, and have left beside what was settled, in nano-dollars; who waits for more."""

    held_nano: int
    left_nano: int
    waiting: int


class Grants:
    """The credit of the tenants that this replica owns.

    Args:
        recall: called with a tenant id when other replicas should give back what they do not need of its credit.
    """

    def __init__(
        self,
        ledger: "ledger_pb2_grpc.LedgerServiceAsyncStub",
        prices: PriceBook,
        settings: AuthSettings,
        recall: Callable[[str], Awaitable[None]],
    ) -> None:
        self._ledger = ledger
        self._prices = prices
        self._settings = settings
        self._tenants: dict[str, Tenant] = {}
        self._unpriced: set[str] = set()
        """Hold ids whose model's price is being looked for."""
        self._limits = Limits()
        self._conversation = Conversation(ledger, settings, recall)
        self._orphans = Orphans(ledger, settings.ledger_timeout_s)
        self._first_grant_id = first_grant_id()
        """Before the ids of all grants of this life."""
        self._good_for_s = _RENEWALS * settings.grant_renew_s
        """How long after a renewal holds may be placed; as the ledger says, once it did."""
        self._good_until_s = float("inf")
        """Until when holds may be placed in what the ledger has granted, unless it is renewed; no end before anything
        was granted."""

    # ---- decisions ----

    def admit(self, item: auth_pb2.AdmitItem, edge: str = "") -> Hold | Awaitable[Hold]:
        """Places the hold that `item` asks for: at once, or when the ledger has answered. Raises Refusal, as the
        awaitable does. `edge` is who asks: its name, a slash, its life."""
        terms = terms_of(item.policy)
        rates = self._rates(item.model, terms)
        if rates is None:
            self._unpriced.add(item.hold_id)
            return self._admit_unpriced(item, terms, edge)
        return self._admit(item, terms, rates, edge)

    def _admit(self, item: auth_pb2.AdmitItem, terms: Terms, rates: Rates, edge: str) -> Hold | Awaitable[Hold]:
        self._forgo_unrenewed()
        tenant = self._tenant(item.tenant_id)
        standing = tenant.holds.standing.get(item.hold_id)
        if standing is not None:
            return standing
        # Limits first, and taken while the ledger is asked: of those who wait only so many may pass.
        reserved = self._limits.take(terms, item, clock.monotonic_s())
        hold = self._new_hold(tenant, item, rates, edge)
        hold.reserved = reserved
        placed = None if tenant.waiters else tenant.holds.place(hold)
        if placed is None:
            waiting = self._wait(tenant, hold, item.output_tokens)
            if reserved is not None:
                waiting.add_done_callback(partial(_give_back_unless_placed, hold, reserved))
            return waiting
        self._look_ahead(tenant, placed, placed.amount_nano)
        return placed

    async def _admit_unpriced(self, item: auth_pb2.AdmitItem, terms: Terms, edge: str) -> Hold:
        """The price may be newer than what this replica has heard of."""
        try:
            await self._prices.refresh_now()
            if item.hold_id not in self._unpriced:
                raise Refusal(Kind.INTERNAL, "settled before it was admitted")
        finally:
            self._unpriced.discard(item.hold_id)
        rates = self._rates(item.model, terms)
        if rates is None:
            raise Refusal(Kind.MODEL_UNPRICED, f"the model {item.model!r} has no price")
        admitted = self._admit(item, terms, rates, edge)
        return admitted if isinstance(admitted, Hold) else await admitted

    def limit_states(self, item: auth_pb2.AdmitItem) -> list[auth_pb2.LimitState]:
        """How the limits stand that an admission is up against; none when its policy is malformed."""
        try:
            terms = terms_of(item.policy)
        except Refusal:
            return []
        return self._limits.states(terms, item, clock.monotonic_s())

    def extend(self, item: auth_pb2.ExtendItem) -> Hold | Awaitable[Hold]:
        """Lets a hold grow: at once, or when the ledger has answered. Raises Refusal, as the awaitable does."""
        tenant = self._tenants.get(item.tenant_id)
        hold = tenant.holds.standing.get(item.hold_id) if tenant else None
        if tenant is None or hold is None:  # the next renewal brings it here
            raise Refusal(Kind.AUTH_UNAVAILABLE, "this replica does not know the hold yet")
        self._forgo_unrenewed()
        before_nano = hold.amount_nano
        if not tenant.waiters and tenant.holds.extend(hold, item.output_tokens):
            self._look_ahead(tenant, hold, hold.amount_nano - before_nano)
            return hold
        return self._wait(tenant, hold, item.output_tokens)

    def renew(self, item: auth_pb2.RenewItem, edge: str = "") -> Hold | None:
        """Puts off a hold's expiry, or takes it over from another replica or an earlier life of this one. None when it
        cannot be taken over: its model has no price here, or its policy is malformed."""
        tenant = self._tenant(item.tenant_id)
        hold = tenant.holds.standing.get(item.hold_id)
        if hold is None:
            try:
                terms = terms_of(item.policy)
            except Refusal:
                return None
            rates = self._rates(item.model, terms)
            if rates is None:
                return None
            hold = self._new_hold(tenant, item, rates, edge)
            hold.reserved = self._limits.take_over(terms, item, clock.monotonic_s())
            tenant.holds.take_over(hold)
            for account in tenant.accounts_of(hold):
                self._conversation.soon(tenant, account, hold.amount_nano)
        elif item.output_tokens > hold.output_tokens:  # another replica let it grow
            hold.output_tokens = item.output_tokens
            hold.grow(hold.wanted_nano)
        hold.expires_s = self._expiry_s()
        hold.so_far = item.so_far
        return hold

    def settle(self, item: auth_pb2.SettleItem) -> bool:
        """Ends a hold with what was used. False when there is no such hold, nor anybody who waits for it."""
        if item.hold_id in self._unpriced:
            self._unpriced.discard(item.hold_id)
            return True
        tenant = self._tenants.get(item.tenant_id)
        if tenant is None:
            return False
        charged = [tokens_of(counts) for counts in item.charged]
        return tenant.settle(item.hold_id, charged, clock.monotonic_s())

    def recover_edge(self, edge: str) -> int:
        """An edge is back and has settled all that the journal of its earlier lives knows of: what else is held for
        those never reached an upstream, and is released. Answers how many."""
        name, slash, _ = edge.partition("/")
        released = 0
        for tenant in self._tenants.values():
            for hold in list(tenant.holds.standing.values()):
                if hold.edge.startswith(name + slash) and hold.edge != edge and not hold.so_far:
                    tenant.settle(hold.hold_id, [], clock.monotonic_s())
                    released += 1
        return released

    def held(self, tenant_id: str) -> tuple[int, int]:
        """What is held for a tenant, in nano-dollars, and for how many requests."""
        tenant = self._tenants.get(tenant_id)
        return (tenant.balance.credit.held_nano, len(tenant.holds.standing)) if tenant else (0, 0)

    def figures(self) -> dict[str, float]:
        """For announcements: tenants whose credit is known here, and the requests that are held for."""
        return {
            "tenants": len(self._tenants),
            "holds": sum(len(tenant.holds.standing) for tenant in self._tenants.values()),
        }

    def totals(self) -> Totals:
        """Of all tenants here."""
        balances = [tenant.balance.credit for tenant in self._tenants.values()]
        return Totals(
            sum(credit.held_nano for credit in balances),
            sum(credit.granted_nano - credit.settled_nano for credit in balances),
            sum(len(tenant.waiters) for tenant in self._tenants.values()),
        )

    @property
    def raises(self) -> Tally:
        """Raises of grants: `ok`, or the kind of what failed."""
        return self._conversation.raises

    @property
    def lost(self) -> int:
        """Grants that the ledger had ended in the meantime."""
        return self._conversation.lost

    @property
    def orphaned(self) -> int:
        """Holds that were booked as their lost edges last told them."""
        return self._orphans.booked

    def _rates(self, model: str, terms: Terms) -> Rates | None:
        return self._prices.in_force(model, terms.brand, terms.plan, terms.group)

    def _tenant(self, tenant_id: str) -> Tenant:
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            tenant = self._tenants[tenant_id] = Tenant(tenant_id, Account(Credit(new_grant_id())))
            tenant.holds.idle_since_s = clock.monotonic_s()
        return tenant

    def _new_hold(self, tenant: Tenant, item: auth_pb2.AdmitItem | auth_pb2.RenewItem, rates: Rates, edge: str) -> Hold:
        lies_in: tuple[Credit, ...] = (tenant.balance.credit,)
        if item.HasField("key_cap_nano"):
            account = tenant.keys.get(item.key_id)
            if account is None:
                account = tenant.keys[item.key_id] = Account(Credit(new_grant_id(), item.key_id), item.key_cap_nano)
            account.set_cap(item.key_cap_nano)
            account.used_s = clock.monotonic_s()
            lies_in = (tenant.balance.credit, account.credit)
        return Hold(
            item.hold_id,
            item.key_id,
            item.model,
            rates,
            item.input_tokens,
            item.output_tokens,
            lies_in,
            self._expiry_s(),
            edge,
        )

    def _expiry_s(self) -> float:
        return clock.monotonic_s() + self._settings.hold_ttl_s

    def _look_ahead(self, tenant: Tenant, hold: Hold, amount_nano: int) -> None:
        """Asks the ledger for more before somebody has to wait for it."""
        for account in tenant.accounts_of(hold) if len(hold.credits) > 1 else (tenant.balance,):
            low = account.credit.available_nano < account.reserve.low_nano(amount_nano)
            if low and clock.monotonic_s() >= account.dry_until_s:
                self._conversation.soon(tenant, account, amount_nano)

    def _wait(self, tenant: Tenant, hold: Hold, output_tokens: int) -> asyncio.Future[Hold]:
        waiter = Waiter(hold, output_tokens, asyncio.get_running_loop().create_future())
        tenant.waiters.append(waiter)
        for account in tenant.accounts_of(hold):
            if account.credit.available_nano < waiter.more_nano:
                self._conversation.soon(tenant, account, waiter.more_nano)
        self._conversation.soon(tenant, tenant.balance, 0)
        return waiter.future

    # ---- keeping ----

    def give_back_spare(self, tenant_id: str) -> None:
        """Another replica is short of this tenant's credit: gives back what is not needed here."""
        tenant = self._tenants.get(tenant_id)
        if tenant is not None:
            self._conversation.give_back_spare_soon(tenant)

    async def keep(self) -> None:
        """Renews grants and raises those that do not cover what is held, gives back those of idle tenants, has orphaned
        holds booked; until cancelled. Begins first."""
        await self.begin()
        looked_s = clock.monotonic_s()
        self._good_until_s = looked_s + self._good_for_s
        tidying: asyncio.Task[None] | None = None
        async with asyncio.TaskGroup() as tasks:
            while True:
                await asyncio.sleep(self._settings.grant_renew_s)
                now_s = clock.monotonic_s()
                if now_s - looked_s > self._settings.hold_ttl_s / 2:
                    self._forgive(now_s + self._settings.hold_ttl_s)
                self._forgo_unrenewed()
                looked_s = now_s
                self._limits.forget_idle(now_s)
                try:
                    await self._renew_grants()
                except grpc.aio.AioRpcError as error:
                    _log.warning("grants_not_renewed", error=error.code().name)
                    continue
                # Never waited for: a lost edge leaves much to book, and no grant may end for that.
                if tidying is None or tidying.done():
                    tidying = tasks.create_task(self._keep_tenants(now_s))

    async def _keep_tenants(self, now_s: float) -> None:
        for tenant in self._tenants.values():
            self._cover(tenant)
        waiting = iter(list(self._tenants.values()))
        await asyncio.gather(*(self._keep_in_turn(waiting, now_s) for _ in range(_KEPT_AT_ONCE)))

    async def _keep_in_turn(self, waiting: Iterator[Tenant], now_s: float) -> None:
        for tenant in waiting:
            try:
                await self._orphans.book(tenant, now_s)
                await self._give_back_if_idle(tenant, now_s)
            except grpc.aio.AioRpcError as error:
                _log.warning("tenant_not_kept", tenant_id=tenant.tenant_id, error=error.code().name)
                if error.code() in AWAY:  # for the others too, most likely; they go first next time
                    if tenant.tenant_id in self._tenants:
                        self._tenants[tenant.tenant_id] = self._tenants.pop(tenant.tenant_id)
                    return

    def _cover(self, tenant: Tenant) -> None:
        """What was taken over, or held in a grant that was lost, is ours only when the ledger knows of it."""
        for account in tenant.accounts():
            if account.credit.available_nano < 0:
                self._conversation.soon(tenant, account, 1)

    def _forgo_unrenewed(self) -> None:
        """The ledger ends grants that were not renewed in time, because this process stood still or is cut off from it,
        and gives their credit to others: before that may be, nothing more is placed in them until the ledger has said
        anew what they are (I2)."""
        now_s = clock.monotonic_s()
        if now_s > self._good_until_s:
            self._good_until_s = now_s + self._good_for_s  # of what is granted from now on
            for tenant in self._tenants.values():
                for account in tenant.accounts():
                    account.forgo_spare()
                    account.credit.lapsed = True

    def _forgive(self, until_s: float) -> None:
        """It was this process that stood still: renewals wait to be read, and nobody is late."""
        for tenant in self._tenants.values():
            for hold in tenant.holds.standing.values():
                hold.expires_s = max(hold.expires_s, until_s)

    async def begin(self) -> None:
        """Ends the grants of this replica's earlier life, once. Before that is done nothing is asked of the ledger: it
        would be abandoned too."""
        while not self._conversation.began.is_set():
            try:
                await self._ledger.AbandonGrants(
                    ledger_pb2.AbandonGrantsRequest(
                        holder=self._settings.replica, before_grant_id=self._first_grant_id
                    ),
                    timeout=self._settings.ledger_timeout_s,
                    wait_for_ready=True,
                )
                self._conversation.began.set()
            except grpc.aio.AioRpcError as error:
                _log.warning("grants_not_abandoned", error=error.code().name)
                await asyncio.sleep(_AGAIN_S)

    async def _renew_grants(self) -> None:
        # A grant that is being opened just now may be unknown to the ledger yet, and is not lost for that.
        every = [account.credit for tenant in self._tenants.values() for account in tenant.accounts()]
        by_grant = {credit.grant_id: credit for credit in every if credit.granted_nano}
        asked_s = clock.monotonic_s()
        response = await self._ledger.RenewGrants(
            ledger_pb2.RenewGrantsRequest(
                holder=self._settings.replica,
                grant_ids=list(by_grant),
                held_nano=[credit.held_nano for credit in by_grant.values()],
            ),
            timeout=self._settings.ledger_timeout_s,
        )
        for grant_id in by_grant.keys() - set(response.grant_ids):
            self._conversation.lost += start_over(by_grant[grant_id], grant_id)
        if response.ttl_ms:
            self._good_for_s = _PLACED_IN * response.ttl_ms / clock.MS_PER_S
        else:  # a ledger of the release before; another replica may have said
            self._good_for_s = _RENEWALS * self._settings.grant_renew_s
        self._good_until_s = asked_s + self._good_for_s

    async def _give_back_if_idle(self, tenant: Tenant, now_s: float) -> None:
        # What is given back is forgotten first: whoever comes now starts with grants of its own.
        before_s = now_s - self._settings.grant_idle_s
        idle = [tenant.keys.pop(key_id) for key_id in tenant.idle_keys(before_s)]
        busy = tenant.holds.standing or tenant.conversing or tenant.waiters or tenant.holds.idle_since_s > before_s
        if not busy:
            del self._tenants[tenant.tenant_id]
            idle += tenant.accounts()
        for account in idle:
            await self._conversation.lower(account.credit)

    async def give_back_all(self) -> None:
        """Lowers every grant at shutdown to what must stay: what is held, and what was settled until it is booked."""
        if talks := [tenant.conversing for tenant in self._tenants.values() if tenant.conversing]:
            await asyncio.wait(talks, timeout=self._settings.ledger_timeout_s)  # or they would raise it again
        for credit in [account.credit for tenant in self._tenants.values() for account in tenant.accounts()]:
            try:
                await self._conversation.lower(credit)
            except grpc.aio.AioRpcError as error:
                _log.warning("grant_not_given_back", grant_id=credit.grant_id, error=error.code().name)


def _give_back_unless_placed(hold: Hold, reserved: Reservation, future: asyncio.Future[Hold]) -> None:
    if future.cancelled() or future.exception() is not None or future.result() is not hold:
        reserved.give_back(clock.monotonic_s())
