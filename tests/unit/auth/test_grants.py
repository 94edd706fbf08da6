"""Unit tests of services.auth.grants, beside a ledger that keeps its promises in memory."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, cast

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.auth.grants import Grants
from services.auth.holds import Hold
from services.auth.prices import PriceBook
from services.auth.settings import AuthSettings
from services.shared.errors import Kind, Refusal
from services.shared.pricing import Rates
from services.shared.settings import Secret
from tollhouse.v1 import auth_pb2, ledger_pb2, types_pb2

if TYPE_CHECKING:
    from tollhouse.v1 import ledger_pb2_grpc

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
class Ledger:
    """The ledger's port as auth sees it: balances, grants as totals, prices."""

    balances: dict[str, int] = field(default_factory=lambda: {"acme": 0})
    prices: dict[str, Rates] = field(default_factory=lambda: {"opus": RATES})
    grants: dict[str, int] = field(default_factory=dict)
    tenant_of: dict[str, str] = field(default_factory=dict)
    raises: list[ledger_pb2.RaiseGrantRequest] = field(default_factory=list)
    closed: list[ledger_pb2.LowerGrantRequest] = field(default_factory=list)
    renewed: list[ledger_pb2.RenewGrantsRequest] = field(default_factory=list)
    open_for_raises: asyncio.Event = field(default_factory=asyncio.Event)
    open_for_renewals: asyncio.Event = field(default_factory=asyncio.Event)
    down: bool = False
    broken: bool = False
    raising: Counter[str] = field(default_factory=Counter)
    raising_most: int = 0

    def __post_init__(self) -> None:
        self.open_for_raises.set()
        self.open_for_renewals.set()

    async def RaiseGrant(  # noqa: N802
        self, request: ledger_pb2.RaiseGrantRequest, *, timeout: float, wait_for_ready: bool = False
    ) -> ledger_pb2.RaiseGrantResponse:
        self.raises.append(request)
        self.raising[request.tenant_id] += 1
        self.raising_most = max(self.raising_most, self.raising[request.tenant_id])
        try:
            await asyncio.sleep(0)
            await self.open_for_raises.wait()
            self._be_up()
            if self.broken:
                raise ValueError("nobody foresaw this")
            outstanding = sum(
                amount for grant_id, amount in self.grants.items() if self.tenant_of[grant_id] == request.tenant_id
            )
            available = max(0, self.balances.get(request.tenant_id, 0) - outstanding)
            amount = self.grants.get(request.grant_id, 0)
            growth = max(0, min(request.want_nano - amount, available))
            self.grants[request.grant_id] = amount + growth
            self.tenant_of[request.grant_id] = request.tenant_id
            return ledger_pb2.RaiseGrantResponse(granted_nano=amount + growth, available_nano=available - growth)
        finally:
            self.raising[request.tenant_id] -= 1

    async def RenewGrants(  # noqa: N802
        self, request: ledger_pb2.RenewGrantsRequest, *, timeout: float
    ) -> ledger_pb2.RenewGrantsResponse:
        self.renewed.append(request)
        alive = [grant_id for grant_id in request.grant_ids if grant_id in self.grants]
        await self.open_for_renewals.wait()
        self._be_up()
        return ledger_pb2.RenewGrantsResponse(grant_ids=alive)

    async def LowerGrant(  # noqa: N802
        self, request: ledger_pb2.LowerGrantRequest, *, timeout: float
    ) -> ledger_pb2.LowerGrantResponse:
        self._be_up()
        self.closed.append(request)
        self.grants[request.grant_id] = min(self.grants.get(request.grant_id, 0), request.committed_nano)
        return ledger_pb2.LowerGrantResponse()

    async def ListPrices(  # noqa: N802
        self, request: ledger_pb2.ListPricesRequest, *, timeout: float, wait_for_ready: bool
    ) -> ledger_pb2.ListPricesResponse:
        self._be_up()
        prices = [
            ledger_pb2.Price(
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
        return ledger_pb2.ListPricesResponse(prices=prices)

    def _be_up(self) -> None:
        if self.down:
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "gone")


async def grants_of(ledger: Ledger, settings: AuthSettings = SETTINGS) -> Grants:
    stub = cast("ledger_pb2_grpc.LedgerServiceAsyncStub", ledger)
    prices = PriceBook(stub, 1.0)
    await prices.refresh_now()
    return Grants(stub, prices, settings)


def asks(hold_id: str, output_tokens: int, input_tokens: int = 0, model: str = "opus") -> auth_pb2.AdmitItem:
    return auth_pb2.AdmitItem(
        hold_id=hold_id, tenant_id="acme", model=model, input_tokens=input_tokens, output_tokens=output_tokens
    )


def used(hold_id: str, output_tokens: int = 0) -> auth_pb2.SettleItem:
    charged = [types_pb2.TokenCounts(output=output_tokens)] if output_tokens else []
    return auth_pb2.SettleItem(hold_id=hold_id, tenant_id="acme", charged=charged)


async def admit(grants: Grants, item: auth_pb2.AdmitItem) -> Hold:
    admitted = grants.admit(item)
    return admitted if isinstance(admitted, Hold) else await admitted


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


async def settled_down() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


# ---- admission ----


async def test_a_hold_is_placed_in_a_grant_of_this_replica_and_priced_by_the_row_in_force() -> None:
    ledger = Ledger({"acme": 1_000})
    grants = await grants_of(ledger)
    hold = await admit(grants, asks("req_1", 40, input_tokens=2))
    assert (hold.hold_id, hold.amount_nano, hold.rates) == ("req_1", 42, RATES)
    assert ledger.grants.keys() == {hold.grant_id}
    assert ledger.raises[0].holder == "auth-7"


async def test_with_credit_at_hand_a_hold_is_placed_without_waiting() -> None:
    ledger = Ledger({"acme": 1_000_000})
    grants = await grants_of(ledger)
    await admit(grants, asks("req_1", 10))
    assert isinstance(grants.admit(asks("req_2", 10)), Hold)


async def test_a_hold_asked_for_twice_is_the_same_and_held_once() -> None:
    ledger = Ledger({"acme": 150})
    grants = await grants_of(ledger)
    first, second = await asyncio.gather(admit(grants, asks("req_1", 100)), admit(grants, asks("req_1", 100)))
    assert first is second
    assert grants.admit(asks("req_1", 100)) is first
    assert isinstance(await outcome(grants, asks("req_2", 50)), Hold)


@settings(max_examples=60, deadline=None)
@given(
    balance=st.integers(0, 2_000),
    asked=st.lists(st.integers(1, 400), min_size=1, max_size=30),
    settled=st.lists(st.integers(0, 29), max_size=10),
)
def test_however_many_ask_at_once_never_more_than_the_balance_is_held_and_settled(
    balance: int, asked: list[int], settled: list[int]
) -> None:
    async def main() -> None:
        ledger = Ledger({"acme": balance})
        grants = await grants_of(ledger)
        waiting = [
            asyncio.create_task(outcome(grants, asks(f"req_{index}", tokens))) for index, tokens in enumerate(asked)
        ]
        outcomes = await asyncio.gather(*waiting)
        committed = 0
        for index, (tokens, result) in enumerate(zip(asked, outcomes, strict=True)):
            if isinstance(result, Hold):
                assert result.amount_nano == tokens
                if index in settled:
                    assert grants.settle(used(f"req_{index}", tokens // 2))
                    committed += tokens // 2
                else:
                    committed += tokens
            else:
                assert result.kind is Kind.BALANCE_EXHAUSTED
                assert int(result.details["available_nano"]) < int(result.details["needed_nano"]) == tokens
        assert committed <= sum(ledger.grants.values()) <= balance
        again = [await outcome(grants, asks(f"again_{tokens}", tokens)) for tokens in (400, 100, 20, 1)]
        committed += sum(result.amount_nano for result in again if isinstance(result, Hold))
        assert committed <= balance
        if isinstance(again[-1], Refusal):
            assert committed == balance

    asyncio.run(main())


async def test_of_many_who_ask_at_once_as_many_are_admitted_as_the_balance_pays_for() -> None:
    ledger = Ledger({"acme": 1_050})
    grants = await grants_of(ledger)
    outcomes = await asyncio.gather(*[outcome(grants, asks(f"req_{number}", 100)) for number in range(25)])
    assert [isinstance(result, Hold) for result in outcomes] == [True] * 10 + [False] * 15


async def test_a_refusal_names_how_many_output_tokens_are_affordable() -> None:
    grants = await grants_of(Ledger({"acme": 50}))
    refusal = await outcome(grants, asks("req_1", 100, input_tokens=20))
    assert isinstance(refusal, Refusal)
    assert refusal.kind is Kind.BALANCE_EXHAUSTED
    assert refusal.details == {"affordable_output_tokens": "30", "available_nano": "50", "needed_nano": "120"}
    assert "max_tokens of at most 30" in refusal.message
    assert "$0.00000012 and $0.00000005 is available" in refusal.message
    assert isinstance(await outcome(grants, asks("req_2", 30, input_tokens=20)), Hold)


async def test_a_refusal_says_so_where_not_even_the_prompt_is_affordable() -> None:
    grants = await grants_of(Ledger({"acme": 5}))
    refusal = await outcome(grants, asks("req_1", 100, input_tokens=20))
    assert isinstance(refusal, Refusal)
    assert refusal.details["affordable_output_tokens"] == "0"
    assert "cannot afford this prompt" in refusal.message


async def test_one_who_asks_for_too_much_does_not_stand_in_the_way_of_those_behind() -> None:
    grants = await grants_of(Ledger({"acme": 100}))
    large, small = await asyncio.gather(outcome(grants, asks("large", 500)), outcome(grants, asks("small", 60)))
    assert isinstance(large, Refusal)
    assert isinstance(small, Hold)


async def test_nobody_overtakes_those_who_wait_for_the_ledger() -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger)
    await admit(grants, asks("req_0", 10))
    ledger.open_for_raises.clear()
    ledger.balances["acme"] = 130
    large = asyncio.create_task(outcome(grants, asks("large", 100)))
    await settled_down()
    small = asyncio.create_task(outcome(grants, asks("small", 21)))
    await settled_down()
    assert not large.done()
    assert not small.done()
    ledger.open_for_raises.set()
    assert isinstance(await large, Hold)
    assert isinstance(await small, Refusal)


async def test_a_request_of_an_absurd_size_is_refused_and_hinders_nobody() -> None:
    grants = await grants_of(Ledger({"acme": 100}))
    absurd, sane = await asyncio.wait_for(
        asyncio.gather(outcome(grants, asks("absurd", 2**64 - 1)), outcome(grants, asks("sane", 60))), 1
    )
    assert isinstance(absurd, Refusal)
    assert absurd.kind is Kind.BALANCE_EXHAUSTED
    assert isinstance(sane, Hold)


async def test_tenants_pay_from_their_own_balance_only() -> None:
    ledger = Ledger({"acme": 0, "rich": 1_000})
    grants = await grants_of(ledger)
    rich = auth_pb2.AdmitItem(hold_id="req_1", tenant_id="rich", model="opus", output_tokens=100)
    assert isinstance(await outcome(grants, rich), Hold)
    assert isinstance(await outcome(grants, asks("req_2", 1)), Refusal)


# ---- prices ----


async def test_a_model_without_a_price_is_refused() -> None:
    grants = await grants_of(Ledger({"acme": 1_000}))
    refusal = await outcome(grants, asks("req_1", 1, model="nameless"))
    assert isinstance(refusal, Refusal)
    assert refusal.kind is Kind.MODEL_UNPRICED
    assert "'nameless'" in refusal.message


async def test_a_price_newer_than_what_this_replica_has_heard_of_is_looked_up() -> None:
    ledger = Ledger({"acme": 1_000})
    stub = cast("ledger_pb2_grpc.LedgerServiceAsyncStub", ledger)
    grants = Grants(stub, PriceBook(stub, 1.0), SETTINGS)  # has not looked yet
    hold = await admit(grants, asks("req_1", 1))
    assert hold.rates == RATES


async def test_a_hold_settled_while_its_price_is_looked_up_is_not_placed() -> None:
    ledger = Ledger({"acme": 1_000})
    stub = cast("ledger_pb2_grpc.LedgerServiceAsyncStub", ledger)
    grants = Grants(stub, PriceBook(stub, 1.0), SETTINGS)  # has not looked yet
    looking = grants.admit(asks("req_1", 900))
    assert not isinstance(looking, Hold)
    assert grants.settle(used("req_1"))
    with pytest.raises(Refusal):
        await looking
    assert isinstance(await outcome(grants, asks("req_2", 900)), Hold)


async def test_a_hold_keeps_the_price_it_was_placed_under() -> None:
    ledger = Ledger({"acme": 1_000})
    stub = cast("ledger_pb2_grpc.LedgerServiceAsyncStub", ledger)
    prices = PriceBook(stub, 1.0)
    await prices.refresh_now()
    grants = Grants(stub, prices, SETTINGS)
    await admit(grants, asks("req_1", 100))
    ledger.prices["opus"] = replace(RATES, price_version=8, output=9_000)
    grants.settle(used("req_1", 100))
    await grants.give_back_all()
    assert [closed.committed_nano for closed in ledger.closed] == [100]


# ---- the ledger ----


async def test_while_the_ledger_is_away_those_who_need_it_are_refused() -> None:
    ledger = Ledger({"acme": 1_000}, down=False)
    grants = await grants_of(ledger)
    ledger.down = True
    refusal = await outcome(grants, asks("req_1", 10))
    assert isinstance(refusal, Refusal)
    assert refusal.kind is Kind.LEDGER_UNAVAILABLE
    ledger.down = False
    assert isinstance(await outcome(grants, asks("req_1", 10)), Hold)


async def test_an_answer_of_the_ledger_that_nobody_foresaw_leaves_no_waiter_behind() -> None:
    ledger = Ledger({"acme": 1_000}, broken=True)
    grants = await grants_of(ledger)
    refusal = await asyncio.wait_for(outcome(grants, asks("req_1", 10)), 1)
    assert isinstance(refusal, Refusal)
    assert refusal.kind is Kind.INTERNAL
    ledger.broken = False
    assert isinstance(await asyncio.wait_for(outcome(grants, asks("req_2", 10)), 1), Hold)


async def test_while_the_ledger_is_away_credit_at_hand_is_used() -> None:
    ledger = Ledger({"acme": 10_000})
    grants = await grants_of(ledger)
    await admit(grants, asks("req_0", 10))
    ledger.down = True
    admitted = 0
    while isinstance(result := await outcome(grants, asks(f"more_{admitted}", 10)), Hold):
        admitted += 1
    assert admitted == 8  # the reserve
    assert result.kind is Kind.LEDGER_UNAVAILABLE


async def test_the_ledger_is_asked_once_at_a_time_on_behalf_of_all_who_wait() -> None:
    ledger = Ledger({"acme": 1_000_000})
    grants = await grants_of(ledger)
    ledger.open_for_raises.clear()
    first = asyncio.create_task(admit(grants, asks("first", 10)))
    await settled_down()
    waiting = [asyncio.create_task(admit(grants, asks(f"req_{number}", 10))) for number in range(100)]
    await settled_down()
    assert len(ledger.raises) == 1
    ledger.open_for_raises.set()
    await asyncio.gather(first, *waiting)
    assert ledger.raising_most == 1
    assert len(ledger.raises) == 2
    assert ledger.raises[1].want_nano >= 1_010


async def test_the_ledger_is_asked_ahead_of_need() -> None:
    ledger = Ledger({"acme": 1_000_000})
    grants = await grants_of(ledger)
    for number in range(200):
        admitted = grants.admit(asks(f"req_{number}", 10))
        assert isinstance(admitted, Hold) or number == 0
        if not isinstance(admitted, Hold):
            await admitted
        await settled_down()
    assert 1 < len(ledger.raises) < 20


async def test_a_ledger_that_gave_all_it_has_is_not_asked_again_by_holds_that_fit() -> None:
    ledger = Ledger({"acme": 30})
    grants = await grants_of(ledger)
    for number in range(3):
        await admit(grants, asks(f"req_{number}", 10))
        await settled_down()
    assert len(ledger.raises) == 1


async def test_what_is_topped_up_is_found_by_the_next_hold_that_does_not_fit() -> None:
    ledger = Ledger({"acme": 10})
    grants = await grants_of(ledger)
    assert isinstance(await outcome(grants, asks("req_1", 20)), Refusal)
    ledger.balances["acme"] = 20
    assert isinstance(await outcome(grants, asks("req_1", 20)), Hold)


async def test_overspending_is_made_up_for_before_anything_is_held_again() -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger)
    await admit(grants, asks("req_1", 10))
    grants.settle(used("req_1", 95))
    assert isinstance(await outcome(grants, asks("req_2", 6)), Refusal)
    assert isinstance(await outcome(grants, asks("req_3", 5)), Hold)


# ---- settling ----


async def test_settling_frees_what_was_not_used() -> None:
    grants = await grants_of(Ledger({"acme": 100}))
    await admit(grants, asks("req_1", 100))
    assert isinstance(await outcome(grants, asks("req_2", 70)), Refusal)
    assert grants.settle(used("req_1", 30))
    assert isinstance(await outcome(grants, asks("req_2", 70)), Hold)


async def test_settling_what_does_not_stand_does_nothing() -> None:
    grants = await grants_of(Ledger({"acme": 100}))
    assert not grants.settle(used("req_1", 10))  # no such tenant yet
    await admit(grants, asks("req_1", 60))
    assert grants.settle(used("req_1", 10))
    assert not grants.settle(used("req_1", 10))
    assert isinstance(await outcome(grants, asks("req_2", 90)), Hold)


async def test_settling_a_hold_that_waits_for_the_ledger_cancels_it() -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger)
    ledger.open_for_raises.clear()
    leaving = grants.admit(asks("leaving", 100))
    staying = grants.admit(asks("staying", 100))
    assert not isinstance(leaving, Hold)
    assert not isinstance(staying, Hold)
    assert grants.settle(used("leaving"))
    ledger.open_for_raises.set()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert (await staying).hold_id == "staying"


@pytest.mark.parametrize("first_left_already", [False, True])
async def test_settling_cancels_a_hold_that_was_asked_for_twice_and_waits_twice(first_left_already: bool) -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger)
    ledger.open_for_raises.clear()
    twice: list[Hold | Awaitable[Hold]] = [grants.admit(asks("leaving", 100)) for _ in range(2)]
    if first_left_already:  # as when its stream breaks
        assert isinstance(twice[0], asyncio.Future)
        twice[0].cancel()
    assert grants.settle(used("leaving"))
    ledger.open_for_raises.set()
    assert isinstance(await outcome(grants, asks("next", 100)), Hold)


# ---- keeping grants ----


async def test_grants_are_renewed_in_the_name_of_this_replica() -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger)
    hold = await admit(grants, asks("req_1", 10))
    async with kept(grants):
        await asyncio.sleep(0.1)
    assert len(ledger.renewed) >= 2
    assert (ledger.renewed[0].holder, list(ledger.renewed[0].grant_ids)) == ("auth-7", [hold.grant_id])


async def test_after_its_grant_was_lost_a_tenant_goes_on_in_a_new_one() -> None:
    ledger = Ledger({"acme": 1_000})
    grants = await grants_of(ledger)
    lost = await admit(grants, asks("req_1", 10))
    ledger.grants.clear()  # the ledger thought this replica dead
    async with kept(grants):
        await asyncio.sleep(0.1)
    assert grants.settle(used("req_1", 10))
    assert (await admit(grants, asks("req_2", 10))).grant_id != lost.grant_id


async def test_a_grant_that_opens_while_grants_are_renewed_is_not_taken_for_lost() -> None:
    ledger = Ledger({"acme": 100, "other": 100})
    grants = await grants_of(ledger)
    other = auth_pb2.AdmitItem(hold_id="req_0", tenant_id="other", model="opus", output_tokens=1)
    await admit(grants, other)
    ledger.open_for_raises.clear()
    opening = asyncio.create_task(admit(grants, asks("req_1", 60)))
    await settled_down()
    ledger.open_for_renewals.clear()
    async with kept(grants):
        while not ledger.renewed:
            await asyncio.sleep(0.005)
        ledger.open_for_raises.set()
        hold = await opening
        ledger.open_for_renewals.set()
        await asyncio.sleep(0.05)
    grants.settle(used("req_1"))
    assert (await admit(grants, asks("req_2", 100))).grant_id == hold.grant_id


async def test_an_idle_tenants_grant_is_given_back_and_a_busy_one_kept() -> None:
    ledger = Ledger({"acme": 100, "busy": 100})
    grants = await grants_of(ledger, replace(SETTINGS, grant_idle_s=0.01))
    idle = await admit(grants, asks("req_1", 10))
    grants.settle(used("req_1", 4))
    busy = await admit(grants, auth_pb2.AdmitItem(hold_id="b", tenant_id="busy", model="opus", output_tokens=10))
    async with kept(grants):
        await asyncio.sleep(0.15)
    assert [(closed.grant_id, closed.committed_nano) for closed in ledger.closed] == [(idle.grant_id, 4)]
    assert ledger.grants[idle.grant_id] == 4
    assert ledger.grants[busy.grant_id] > 10


async def test_a_hold_that_nobody_settles_is_released_when_its_time_is_over() -> None:
    grants = await grants_of(Ledger({"acme": 100}), replace(SETTINGS, hold_ttl_s=0.05))
    await admit(grants, asks("req_1", 100))
    async with kept(grants):
        await asyncio.sleep(0.02)
        assert isinstance(await outcome(grants, asks("req_2", 100)), Refusal)
        await asyncio.sleep(0.15)
        assert isinstance(await outcome(grants, asks("req_2", 100)), Hold)


async def test_keeping_goes_on_after_the_ledger_was_away() -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger)
    await admit(grants, asks("req_1", 10))
    ledger.down = True
    async with kept(grants):
        await asyncio.sleep(0.06)
        failed = len(ledger.renewed)
        ledger.down = False
        await asyncio.sleep(0.06)
    assert len(ledger.renewed) > failed >= 1


async def test_at_shutdown_grants_keep_only_what_was_settled_and_is_held() -> None:
    ledger = Ledger({"acme": 1_000})
    grants = await grants_of(ledger)
    hold = await admit(grants, asks("req_1", 100))
    await admit(grants, asks("req_2", 50))
    grants.settle(used("req_1", 30))
    await grants.give_back_all()
    assert ledger.grants == {hold.grant_id: 80}


async def test_shutdown_survives_a_ledger_that_is_away() -> None:
    ledger = Ledger({"acme": 1_000})
    grants = await grants_of(ledger)
    await admit(grants, asks("req_1", 100))
    ledger.down = True
    await grants.give_back_all()
    assert ledger.closed == []
