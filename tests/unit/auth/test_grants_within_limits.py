"""Unit tests of services.auth.grants: what holds take of limits, and give back."""

import asyncio
from dataclasses import replace

import pytest

from services.auth.grants import Grants
from services.auth.holds import Hold
from services.shared.errors import Kind, Refusal
from tests.unit.auth.ledger_in_memory import (
    SETTINGS,
    Ledger,
    Replicas,
    admit,
    asks,
    grants_of,
    kept,
    lives,
    outcome,
    settled_down,
    unread,
    used,
)
from tollhouse.v1 import auth_pb2, billing_pb2, types_pb2

REQUESTS = types_pb2.LIMIT_METRIC_REQUESTS
OUTPUT = types_pb2.LIMIT_METRIC_OUTPUT_TOKENS
CONCURRENT = types_pb2.LIMIT_METRIC_CONCURRENT


def policy(**amounts: int) -> bytes:
    limits = [
        types_pb2.Limit(metric=types_pb2.LimitMetric.Value(f"LIMIT_METRIC_{name.upper()}"), amount=amount)
        for name, amount in amounts.items()
    ]
    return types_pb2.Policy(key_limits=limits).SerializeToString()


def within(item: auth_pb2.AdmitItem, limits: bytes, likely: int = 0) -> auth_pb2.AdmitItem:
    item.policy, item.likely_output_tokens = limits, likely
    return item


def left(grants: Grants, limits: bytes) -> dict[int, int]:
    """What remains, by metric."""
    return {state.metric: state.remaining for state in grants.limit_states(within(asks("", 0), limits))}


async def refused(grants: Grants, item: auth_pb2.AdmitItem) -> Kind:
    result = await outcome(grants, item)
    assert isinstance(result, Refusal)
    return result.kind


async def test_what_limits_refuse_holds_no_credit() -> None:
    grants, limits = await grants_of(Ledger({"acme": 1_000})), policy(requests=2)
    for number in range(2):
        await admit(grants, within(asks(f"req_{number}", 10), limits))
    assert await refused(grants, within(asks("req_2", 10), limits)) is Kind.RATE_LIMITED
    assert grants.held("acme") == (20, 2)


async def test_what_credit_refuses_takes_nothing_of_the_limits() -> None:
    grants, limits = await grants_of(Ledger({"acme": 5})), policy(requests=3, output_tokens=100, concurrent=1)
    for number in range(5):
        item = within(asks(f"req_{number}", 10), limits, likely=50)
        assert await refused(grants, item) is Kind.BALANCE_EXHAUSTED
        await settled_down()
    assert left(grants, limits) == {REQUESTS: 3, OUTPUT: 100}
    assert isinstance(await outcome(grants, within(asks("req_small", 5), limits)), Hold)


async def test_those_who_wait_for_the_ledger_have_taken_their_part() -> None:
    ledger = Ledger({"acme": 1_000})
    grants, limits = await grants_of(ledger), policy(requests=60)
    asked = [within(asks(f"req_{number}", 1), limits) for number in range(70)]
    outcomes = await asyncio.gather(*(outcome(grants, item) for item in asked))
    assert sum(isinstance(result, Hold) for result in outcomes) == 60
    assert left(grants, limits)[REQUESTS] == 0


async def test_a_hold_asked_for_twice_takes_once_whether_it_stands_or_waits() -> None:
    grants, limits = await grants_of(Ledger({"acme": 1_000})), policy(requests=10, concurrent=1)
    first, second = await asyncio.gather(
        admit(grants, within(asks("req_1", 10), limits)), admit(grants, within(asks("req_1", 10), limits))
    )
    await settled_down()
    assert first is second is await admit(grants, within(asks("req_1", 10), limits))
    assert left(grants, limits)[REQUESTS] == 9
    assert await refused(grants, within(asks("req_2", 10), limits)) is Kind.RATE_LIMITED
    grants.settle(used("req_1", 5))
    await admit(grants, within(asks("req_2", 10), limits))


async def test_who_leaves_while_waiting_gives_back_and_whoever_asked_again_keeps_it() -> None:
    ledger = Ledger({"acme": 1_000})
    grants, limits = await grants_of(ledger), policy(requests=10, concurrent=1)
    ledger.open_for_raises.clear()
    gone, again = (asyncio.create_task(admit(grants, within(asks("req_1", 10), limits))) for _ in range(2))
    await settled_down()
    gone.cancel()
    await settled_down()
    assert left(grants, limits)[REQUESTS] == 9
    ledger.open_for_raises.set()
    assert (await again).reserved is not None
    assert await refused(grants, within(asks("req_2", 10), limits)) is Kind.RATE_LIMITED


async def test_a_hold_settled_while_it_waits_gives_back() -> None:
    ledger = Ledger({"acme": 1_000})
    grants, limits = await grants_of(ledger), policy(requests=10)
    ledger.open_for_raises.clear()
    waiting = asyncio.create_task(admit(grants, within(asks("req_1", 10), limits)))
    await settled_down()
    assert grants.settle(used("req_1"))
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await settled_down()
    assert left(grants, limits)[REQUESTS] == 10


async def test_a_settlement_corrects_the_estimate() -> None:
    grants, limits = await grants_of(Ledger({"acme": 1_000})), policy(output_tokens=100)
    await admit(grants, within(asks("req_1", 90), limits, likely=80))
    assert left(grants, limits)[OUTPUT] == 20
    grants.settle(used("req_1", 30))
    assert 70 <= left(grants, limits)[OUTPUT] < 80


async def test_a_model_that_has_no_price_takes_nothing_and_counts_when_it_has_one() -> None:
    ledger = Ledger({"acme": 1_000}, prices={})
    grants, limits = await unread(ledger), policy(requests=10)
    assert await refused(grants, within(asks("req_1", 1), limits)) is Kind.MODEL_UNPRICED
    assert left(grants, limits)[REQUESTS] == 10
    ledger.prices = Ledger().prices
    await admit(grants, within(asks("req_2", 1), limits))
    assert left(grants, limits)[REQUESTS] == 9


async def test_a_hold_that_is_taken_over_is_under_way_at_its_new_owner() -> None:
    replicas, ledger, limits = Replicas(), Ledger({"acme": 10_000}), policy(concurrent=1, requests=10)
    before, after = [await replicas.join(ledger) for _ in range(2)]
    await admit(before, within(asks("req_1", 10), limits))
    item = lives("req_1", 10)
    item.policy = limits
    assert after.renew(item) is after.renew(item)
    assert left(after, limits)[REQUESTS] == 10
    assert await refused(after, within(asks("req_2", 10), limits)) is Kind.RATE_LIMITED
    after.settle(used("req_1", 5))
    await admit(after, within(asks("req_2", 10), limits))


async def test_an_orphaned_hold_and_one_of_a_recovered_edge_are_no_longer_under_way() -> None:
    ledger, limits = Ledger({"acme": 1_000}), policy(concurrent=1)
    grants = await grants_of(ledger, replace(SETTINGS, hold_ttl_s=0.05))
    await admit(grants, within(asks("req_1", 10), limits))
    async with kept(grants):
        while "req_1:1" not in ledger.orphans or grants.held("acme")[1]:
            await asyncio.sleep(0.01)
        admitted = grants.admit(within(asks("req_2", 10), limits), "edge-1/old")
        assert isinstance(admitted if isinstance(admitted, Hold) else await admitted, Hold)
        grants.recover_edge("edge-1/new")
        await admit(grants, within(asks("req_3", 10), limits))


async def test_a_policy_that_is_malformed_admits_nothing_and_takes_nothing_over() -> None:
    grants = await grants_of(Ledger({"acme": 1_000}))
    assert await refused(grants, within(asks("req_1", 10), b"\xff")) is Kind.INVALID_REQUEST
    item = lives("req_1", 10)
    item.policy = b"\xff"
    assert grants.renew(item) is None
    assert grants.limit_states(within(asks("req_1", 10), b"\xff")) == []


@pytest.mark.parametrize(
    ("said", "ppm"),
    [
        (types_pb2.Policy(tenant_plan="pro"), 500_000),
        (types_pb2.Policy(tenant_plan="pro", key_plan="free"), 1_000_000),
        (types_pb2.Policy(tenant_plan="pro", group="batch"), 250_000),
        (types_pb2.Policy(brand="cc"), 800_000),
        (types_pb2.Policy(tenant_plan="pro", group="batch", brand="cc"), 200_000),
        (types_pb2.Policy(brand="haze"), 1_000_000),
        (types_pb2.Policy(), 1_000_000),
    ],
)
async def test_a_brand_a_plan_and_a_group_pay_their_part_of_the_price(said: types_pb2.Policy, ppm: int) -> None:
    multipliers = [
        billing_pb2.Multiplier(scope="plan", name="pro", ppm=500_000),
        billing_pb2.Multiplier(scope="group", name="batch", ppm=500_000),
        billing_pb2.Multiplier(scope="brand", name="cc", ppm=800_000),
    ]
    ledger = Ledger({"acme": 100_000}, multipliers=multipliers)
    replicas = Replicas()
    grants, other = await replicas.join(ledger), await replicas.join(ledger)
    limits = said.SerializeToString()
    hold = await admit(grants, within(asks("req_1", 1_000), limits))
    assert (hold.amount_nano, hold.rates.multiplier_ppm) == (ppm // 1000, ppm)
    grants.settle(used("req_1", 400))
    assert hold.credits[0].settled_nano == 400 * ppm // 1_000_000
    item = lives("req_2", 1_000)
    item.policy = limits
    taken_over = other.renew(item)
    assert taken_over is not None
    assert (taken_over.amount_nano, taken_over.rates.multiplier_ppm) == (ppm // 1000, ppm)
