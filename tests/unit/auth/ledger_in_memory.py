"""A ledger that keeps its promises in memory, and what tests of auth say to the grants beside it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import grpc
import pytest

from services.auth.grants import Grants
from services.auth.holds import Hold
from services.auth.prices import PriceBook
from services.auth.settings import AuthSettings
from services.shared.errors import Refusal
from services.shared.pricing import Rates
from services.shared.settings import Secret
from tollhouse.v1 import auth_pb2, billing_pb2, events_pb2, ledger_pb2, types_pb2

if TYPE_CHECKING:
    from tollhouse.v1 import billing_pb2_grpc, ledger_pb2_grpc

RATES = Rates(7, input=1_000, output=1_000, cache_read=100, cache_write_5m=1_000, cache_write_1h=1_000)
"""A nano-dollar a token."""

SETTINGS = AuthSettings(
    database_url=Secret("unused"),
    nats_url=Secret("unused"),
    key_pepper=Secret("unused"),
    ledger_token=Secret("unused"),
    replica="auth-7",
    grant_renew_s=0.02,
    grant_idle_s=3600,
    hold_ttl_s=3600,
)


@dataclass
class Grant:
    """A slice of a balance or, with a `key_id`, of that key's spend cap."""

    tenant_id: str
    key_id: str
    holder: str
    amount_nano: int = 0
    abandoned: bool = False
    sequence: int = 0


@dataclass
class Ledger:
    """The ledger's port as auth sees it: balances, grants as totals, prices, orphans. Nothing is ever booked, so that
    what is spent stays in its grant."""

    balances: dict[str, int] = field(default_factory=lambda: {"acme": 0})
    prices: dict[str, Rates] = field(default_factory=lambda: {"opus": RATES})
    multipliers: list[billing_pb2.Multiplier] = field(default_factory=list)
    grants: dict[str, Grant] = field(default_factory=dict)
    raises: list[ledger_pb2.RaiseGrantRequest] = field(default_factory=list)
    lowered: list[ledger_pb2.LowerGrantRequest] = field(default_factory=list)
    renewed: list[ledger_pb2.RenewGrantsRequest] = field(default_factory=list)
    orphans: dict[str, events_pb2.UsageEvent] = field(default_factory=dict)
    asked_for_orphans: int = 0
    stuck_with: tuple[str, grpc.StatusCode] | None = None
    """A hold id whose orphan it fails to book, and how."""
    open_for_raises: asyncio.Event = field(default_factory=asyncio.Event)
    open_for_renewals: asyncio.Event = field(default_factory=asyncio.Event)
    open_for_lowering: asyncio.Event = field(default_factory=asyncio.Event)
    open_for_orphans: asyncio.Event = field(default_factory=asyncio.Event)
    ttl_ms: int = 0
    """How long it says that grants live; 0 for a ledger that does not say."""
    down: bool = False
    cut_off: bool = False
    """Renewals do not reach it."""
    hangs: int = 0
    """So many of the next raises are not answered in time."""
    unheard: int = 0
    """So many of the next raises are made, and not answered in time."""
    broken: bool = False
    raising: Counter[str] = field(default_factory=Counter)
    raising_most: int = 0

    def __post_init__(self) -> None:
        for event in (self.open_for_raises, self.open_for_renewals, self.open_for_lowering, self.open_for_orphans):
            event.set()

    def amounts(self) -> dict[str, int]:
        """Grant id to total, of the grants of balances."""
        return {grant_id: grant.amount_nano for grant_id, grant in self.grants.items() if not grant.key_id}

    async def AbandonGrants(  # noqa: N802
        self, request: ledger_pb2.AbandonGrantsRequest, *, timeout: float, wait_for_ready: bool
    ) -> ledger_pb2.AbandonGrantsResponse:
        self._be_up()
        for grant_id, grant in self.grants.items():
            grant.abandoned |= grant.holder == request.holder and grant_id < request.before_grant_id
        return ledger_pb2.AbandonGrantsResponse()

    async def BookOrphans(  # noqa: N802
        self, request: ledger_pb2.BookOrphansRequest, *, timeout: float
    ) -> ledger_pb2.BookOrphansResponse:
        self.asked_for_orphans += 1
        await self.open_for_orphans.wait()
        self._be_up()
        if self.stuck_with and self.stuck_with[0] in {event.request_id for event in request.events}:
            raise grpc.aio.AioRpcError(self.stuck_with[1], grpc.aio.Metadata(), grpc.aio.Metadata(), "stuck")
        before = len(self.orphans)
        for event in request.events:
            self.orphans.setdefault(event.event_id, event)
        return ledger_pb2.BookOrphansResponse(booked=len(self.orphans) - before)

    async def RaiseGrant(  # noqa: N802
        self, request: ledger_pb2.RaiseGrantRequest, *, timeout: float, wait_for_ready: bool = False
    ) -> ledger_pb2.RaiseGrantResponse:
        self.raises.append(request)
        self.raising[request.tenant_id + request.key_id] += 1
        self.raising_most = max(self.raising_most, self.raising[request.tenant_id + request.key_id])
        try:
            await asyncio.sleep(0)
            await self.open_for_raises.wait()
            self._be_up()
            if self.hangs:
                self.hangs -= 1
                raise grpc.aio.AioRpcError(
                    grpc.StatusCode.DEADLINE_EXCEEDED, grpc.aio.Metadata(), grpc.aio.Metadata(), "hangs"
                )
            if self.broken:
                raise ValueError("nobody foresaw this")
            raised = self._raise(request)
            if self.unheard:
                self.unheard -= 1
                raise grpc.aio.AioRpcError(
                    grpc.StatusCode.DEADLINE_EXCEEDED, grpc.aio.Metadata(), grpc.aio.Metadata(), "unheard"
                )
            return raised
        finally:
            self.raising[request.tenant_id + request.key_id] -= 1

    def _raise(self, request: ledger_pb2.RaiseGrantRequest) -> ledger_pb2.RaiseGrantResponse:
        whole = request.key_cap_nano if request.key_id else self.balances.get(request.tenant_id, 0)
        siblings = [
            grant
            for grant in self.grants.values()
            if (grant.tenant_id, grant.key_id) == (request.tenant_id, request.key_id)
        ]
        available = max(0, whole - sum(grant.amount_nano for grant in siblings))
        if request.granted_nano and request.grant_id not in self.grants:
            return ledger_pb2.RaiseGrantResponse(available_nano=available, lost=True)
        mine = self.grants.setdefault(request.grant_id, Grant(request.tenant_id, request.key_id, request.holder))
        growth = max(0, min(request.want_nano - mine.amount_nano, available))
        assert request.sequence >= mine.sequence, "asked out of order"
        mine.sequence = request.sequence
        mine.amount_nano += growth
        return ledger_pb2.RaiseGrantResponse(
            granted_nano=mine.amount_nano,
            available_nano=available - growth,
            elsewhere_nano=sum(grant.amount_nano for grant in siblings if grant is not mine and not grant.abandoned),
            abandoned_nano=sum(grant.amount_nano for grant in siblings if grant.abandoned),
        )

    async def RenewGrants(  # noqa: N802
        self, request: ledger_pb2.RenewGrantsRequest, *, timeout: float
    ) -> ledger_pb2.RenewGrantsResponse:
        self.renewed.append(request)
        alive = [grant_id for grant_id in request.grant_ids if grant_id in self.grants]
        await self.open_for_renewals.wait()
        self._be_up()
        if self.cut_off:
            raise grpc.aio.AioRpcError(
                grpc.StatusCode.DEADLINE_EXCEEDED, grpc.aio.Metadata(), grpc.aio.Metadata(), "cut off"
            )
        return ledger_pb2.RenewGrantsResponse(grant_ids=alive, ttl_ms=self.ttl_ms)

    async def LowerGrant(  # noqa: N802
        self, request: ledger_pb2.LowerGrantRequest, *, timeout: float
    ) -> ledger_pb2.LowerGrantResponse:
        await self.open_for_lowering.wait()
        self._be_up()
        self.lowered.append(request)
        grant = self.grants.get(request.grant_id)
        if grant is not None:
            assert request.sequence > grant.sequence, "asked out of order"
            grant.sequence = request.sequence
            grant.amount_nano = min(grant.amount_nano, request.committed_nano)
        return ledger_pb2.LowerGrantResponse()

    async def ListPrices(  # noqa: N802
        self, request: billing_pb2.ListPricesRequest, *, timeout: float, wait_for_ready: bool
    ) -> billing_pb2.ListPricesResponse:
        self._be_up()
        prices = [
            billing_pb2.Price(
                price_version=rates.price_version,
                model=model,
                input_pico=rates.input,
                output_pico=rates.output,
                cache_read_pico=rates.cache_read,
                cache_write_5m_pico=rates.cache_write_5m,
                cache_write_1h_pico=rates.cache_write_1h,
            )
            for model, rates in self.prices.items()
        ]
        return billing_pb2.ListPricesResponse(prices=prices, multipliers=self.multipliers)

    def _be_up(self) -> None:
        if self.down:
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "gone")


class Replicas:
    """Auth replicas that hear each other's recalls."""

    def __init__(self) -> None:
        self.all: list[Grants] = []

    async def join(self, ledger: Ledger, settings: AuthSettings = SETTINGS, *, begun: bool = True) -> Grants:
        """One more replica, which has looked at the prices. Lives that follow each other are a millisecond apart."""
        await asyncio.sleep(0.002)

        async def recall(tenant_id: str) -> None:
            for other in self.all:
                if other is not grants:
                    other.give_back_spare(tenant_id)

        stub = cast("ledger_pb2_grpc.LedgerServiceAsyncStub", ledger)
        prices = PriceBook(cast("billing_pb2_grpc.BillingServiceAsyncStub", ledger), 1.0)
        await prices.refresh_now()
        grants = Grants(stub, prices, settings, recall)
        self.all.append(grants)
        if begun:
            await grants.begin()
        return grants


async def grants_of(ledger: Ledger, settings: AuthSettings = SETTINGS) -> Grants:
    return await Replicas().join(ledger, settings)


async def unread(ledger: Ledger) -> Grants:
    """A replica that has not looked at the prices yet."""

    async def nobody(_: str) -> None:
        """There is no other replica."""

    stub = cast("ledger_pb2_grpc.LedgerServiceAsyncStub", ledger)
    grants = Grants(stub, PriceBook(cast("billing_pb2_grpc.BillingServiceAsyncStub", ledger), 1.0), SETTINGS, nobody)
    await grants.begin()
    return grants


def asks(
    hold_id: str, output_tokens: int, input_tokens: int = 0, model: str = "opus", cap_nano: int | None = None
) -> auth_pb2.AdmitItem:
    return auth_pb2.AdmitItem(
        hold_id=hold_id,
        tenant_id="acme",
        key_id="key_1",
        model=model,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        key_cap_nano=cap_nano,
    )


def grows(hold_id: str, output_tokens: int) -> auth_pb2.ExtendItem:
    return auth_pb2.ExtendItem(hold_id=hold_id, tenant_id="acme", output_tokens=output_tokens)


def lives(
    hold_id: str,
    output_tokens: int,
    *so_far: events_pb2.UsageEvent,
    model: str = "opus",
    cap_nano: int | None = None,
) -> auth_pb2.RenewItem:
    return auth_pb2.RenewItem(
        hold_id=hold_id,
        tenant_id="acme",
        key_id="key_1",
        model=model,
        output_tokens=output_tokens,
        so_far=so_far,
        key_cap_nano=cap_nano,
    )


def produced(hold_id: str, output_tokens: int) -> events_pb2.UsageEvent:
    """What an edge says of an attempt under way."""
    return events_pb2.UsageEvent(
        event_id=f"{hold_id}:1",
        request_id=hold_id,
        attempt=1,
        tokens=types_pb2.TokenCounts(output=output_tokens),
        estimated=True,
        final=True,
    )


def used(hold_id: str, output_tokens: int = 0) -> auth_pb2.SettleItem:
    charged = [types_pb2.TokenCounts(output=output_tokens)] if output_tokens else []
    return auth_pb2.SettleItem(hold_id=hold_id, tenant_id="acme", charged=charged)


async def admit(grants: Grants, item: auth_pb2.AdmitItem) -> Hold:
    admitted = grants.admit(item)
    return admitted if isinstance(admitted, Hold) else await admitted


async def grow(grants: Grants, item: auth_pb2.ExtendItem) -> Hold | Refusal:
    try:
        grown = grants.extend(item)
        return grown if isinstance(grown, Hold) else await grown
    except Refusal as refusal:
        return refusal


async def outcome(grants: Grants, item: auth_pb2.AdmitItem) -> Hold | Refusal:
    try:
        return await admit(grants, item)
    except Refusal as refusal:
        return refusal


@asynccontextmanager
async def kept(grants: Grants) -> AsyncIterator[None]:
    keeping = asyncio.create_task(grants.keep())
    yield
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping


async def until(condition: Callable[[], bool]) -> None:
    """Waits until something has come about that nobody tells of."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def settled_down() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
