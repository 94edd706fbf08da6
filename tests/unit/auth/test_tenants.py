"""Unit tests of services.auth.tenants."""

import asyncio

import pytest

from services.auth.holds import Credit, Hold
from services.auth.tenants import Account, Tenant, Waiter, exhausted, lacking, within_reach
from services.shared.errors import Kind
from services.shared.pricing import Rates

RATES = Rates(7, input=1_000, output=1_000, cache_read=100, cache_write_5m=1_000, cache_write_1h=1_000)


@pytest.fixture
def tenant() -> Tenant:
    """A hundred nano-dollars of balance, a key with fifty."""
    balance, key = Credit("grant_1", granted_nano=100), Credit("grant_2", "key_1", granted_nano=50)
    return Tenant("acme", Account(balance), {"key_1": Account(key, cap_nano=50)})


def waiter_of(tenant: Tenant, hold_id: str, tokens: int, *, capped: bool = False) -> Waiter:
    lies_in = (tenant.balance.credit, tenant.keys["key_1"].credit) if capped else (tenant.balance.credit,)
    hold = Hold(hold_id, "key_1", "opus", RATES, 0, tokens, lies_in, 60.0)
    waiter = Waiter(hold, tokens, asyncio.get_running_loop().create_future())
    tenant.waiters.append(waiter)
    return waiter


async def test_a_waiter_gets_its_hold_when_it_fits(tenant: Tenant) -> None:
    waiter = waiter_of(tenant, "req_1", 100)
    assert tenant.seek(waiter)
    assert waiter.future.result() is tenant.holds.standing["req_1"]


async def test_one_that_waits_twice_gets_the_same_hold(tenant: Tenant) -> None:
    first, second = waiter_of(tenant, "req_1", 60), waiter_of(tenant, "req_1", 60)
    assert tenant.seek(first)
    assert tenant.seek(second)
    assert first.future.result() is second.future.result()
    assert tenant.balance.credit.held_nano == 60


async def test_those_who_wait_lack_what_they_ask_for_of_the_grants_that_they_lie_in(tenant: Tenant) -> None:
    waiter_of(tenant, "req_1", 30, capped=True)
    waiter_of(tenant, "req_2", 200)
    waiter_of(tenant, "req_3", 999).future.cancel()
    assert lacking(tenant.balance, tenant, tenant.waiters) == 230
    assert lacking(tenant.keys["key_1"], tenant, tenant.waiters) == 30


async def test_a_hold_that_grows_lacks_only_what_it_has_not_yet(tenant: Tenant) -> None:
    waiter = waiter_of(tenant, "req_1", 40)
    assert tenant.seek(waiter)
    growing = Waiter(waiter.hold, 100, asyncio.get_running_loop().create_future())
    assert growing.more_nano == 60
    assert tenant.seek(growing)
    assert waiter.hold.amount_nano == 100


async def test_only_what_others_have_enough_for_is_within_reach(tenant: Tenant) -> None:
    waiter_of(tenant, "req_1", 150)
    tenant.balance.elsewhere_nano = 49
    assert not within_reach(tenant, tenant.waiters)
    tenant.balance.elsewhere_nano = 50
    assert within_reach(tenant, tenant.waiters)


async def test_settling_ends_whoever_waits_under_the_same_id(tenant: Tenant) -> None:
    waiters = [waiter_of(tenant, "req_1", 500), waiter_of(tenant, "req_1", 500), waiter_of(tenant, "req_2", 500)]
    assert tenant.settle("req_1", [], 0.0)
    assert [waiter.future.cancelled() for waiter in waiters] == [True, True, False]
    assert not tenant.settle("req_3", [], 0.0)


async def test_a_lowered_cap_forgoes_the_spare_at_once_and_a_raised_one_does_not(tenant: Tenant) -> None:
    account = tenant.keys["key_1"]
    account.set_cap(60)
    assert (account.credit.granted_nano, account.cap_lowered) == (50, False)
    account.set_cap(40)
    assert (account.credit.granted_nano, account.cap_lowered) == (0, True)


@pytest.mark.parametrize(
    ("abandoned", "kind"), [(0, Kind.KEY_CAP_EXHAUSTED), (9, Kind.KEY_CAP_EXHAUSTED), (10, Kind.CREDIT_RECOVERING)]
)
async def test_credit_is_recovering_where_what_was_abandoned_would_do(
    tenant: Tenant, abandoned: int, kind: Kind
) -> None:
    tenant.keys["key_1"].abandoned_nano = abandoned
    assert exhausted(tenant, waiter_of(tenant, "req_1", 60, capped=True)).kind is kind


async def test_a_key_is_idle_when_no_hold_lies_in_it_and_nobody_asked_for_long(tenant: Tenant) -> None:
    tenant.keys["key_1"].used_s = 5.0
    assert tenant.idle_keys(4.9) == []
    assert tenant.idle_keys(5.0) == ["key_1"]
    waiter = waiter_of(tenant, "req_1", 0, capped=True)
    assert tenant.idle_keys(5.0) == []
    assert tenant.seek(waiter)
    tenant.waiters.clear()
    assert tenant.idle_keys(5.0) == []
    tenant.settle("req_1", [], 6.0)
    assert tenant.idle_keys(5.0) == ["key_1"]
