"""Unit tests of services.auth.conversation: replicas that share a balance, beside a ledger in memory."""

import asyncio
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
    grow,
    grows,
    lives,
    outcome,
    settled_down,
    used,
)


async def two_of(ledger: Ledger) -> tuple[Grants, Grants]:
    replicas = Replicas()
    return await replicas.join(ledger), await replicas.join(ledger, replace(SETTINGS, replica="auth-8"))


async def test_what_another_replica_does_not_need_is_to_be_had() -> None:
    first, second = await two_of(Ledger({"acme": 100}))
    await admit(first, asks("req_1", 10))  # sets 80 aside
    assert isinstance(await outcome(second, asks("req_2", 85)), Hold)
    assert isinstance(await outcome(second, asks("req_3", 6)), Refusal)
    assert isinstance(await outcome(first, asks("req_4", 5)), Hold)


async def test_what_another_replica_holds_is_not_to_be_had() -> None:
    first, second = await two_of(Ledger({"acme": 100}))
    await admit(first, asks("req_1", 60))
    refusal = await outcome(second, asks("req_2", 41))
    assert isinstance(refusal, Refusal)
    assert refusal.kind is Kind.BALANCE_EXHAUSTED
    assert refusal.details["affordable_output_tokens"] == "40"


async def test_a_hold_may_grow_into_what_another_replica_does_not_need() -> None:
    first, second = await two_of(Ledger({"acme": 100}))
    await admit(second, asks("req_1", 1))
    await admit(first, asks("req_2", 10))
    grown = await grow(second, grows("req_1", 90))
    assert isinstance(grown, Hold)
    assert grown.amount_nano == 90


async def test_a_keys_cap_is_shared_by_replicas() -> None:
    first, second = await two_of(Ledger({"acme": 10_000}))
    await admit(first, asks("req_1", 10, cap_nano=100))
    assert isinstance(await outcome(second, asks("req_2", 90, cap_nano=100)), Hold)
    refusal = await outcome(first, asks("req_3", 1, cap_nano=100))
    assert isinstance(refusal, Refusal)
    assert refusal.kind is Kind.KEY_CAP_EXHAUSTED


async def test_a_recall_that_comes_while_the_ledger_is_being_asked_is_answered_after_it() -> None:
    ledger = Ledger({"acme": 1_000})
    grants = await grants_of(ledger)
    ledger.open_for_raises.clear()
    waiting = asyncio.create_task(admit(grants, asks("req_1", 10)))
    await settled_down()
    grants.give_back_spare("acme")
    ledger.open_for_raises.set()
    hold = await waiting
    await settled_down()
    assert ledger.amounts() == {hold.grant_id: 10}


async def test_nothing_is_placed_in_what_is_being_given_back() -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger)
    await admit(grants, asks("req_1", 10))
    ledger.open_for_lowering.clear()
    grants.give_back_spare("acme")
    await settled_down()
    asked = grants.admit(asks("req_2", 10))
    assert not isinstance(asked, Hold)
    ledger.open_for_lowering.set()
    assert (await asked).amount_nano == 10


async def test_one_grant_that_cannot_be_raised_leaves_no_other_raise_under_way() -> None:
    ledger = Ledger({"acme": 100}, broken=True)
    grants = await grants_of(ledger)
    refusal = await outcome(grants, asks("req_1", 10, cap_nano=50))
    assert isinstance(refusal, Refusal)
    assert refusal.kind is Kind.INTERNAL
    assert not any(ledger.raising.values())


async def test_before_earlier_grants_are_abandoned_nothing_is_asked_of_the_ledger() -> None:
    ledger = Ledger({"acme": 100})
    grants = await Replicas().join(ledger, replace(SETTINGS, ledger_timeout_s=0.1), begun=False)
    refusal = await outcome(grants, asks("req_1", 10))
    assert isinstance(refusal, Refusal)
    assert refusal.kind is Kind.LEDGER_UNAVAILABLE
    assert ledger.raises == []


@pytest.mark.parametrize("asked", [101, 2**64 - 1])
async def test_one_who_asks_for_more_than_there_is_anywhere_recalls_nothing(asked: int) -> None:
    first, second = await two_of(ledger := Ledger({"acme": 100}))
    await admit(first, asks("req_1", 10))
    assert isinstance(await outcome(second, asks("req_2", asked)), Refusal)
    assert ledger.lowered == []


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "admit", "admit", "extend", "settle", "renew", "recall"]),
        st.integers(0, 1),
        st.integers(0, 9),
        st.integers(1, 400),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(balance=st.integers(0, 2_000), cap=st.none() | st.integers(0, 1_000), steps=STEPS)
def test_however_requests_fall_upon_two_replicas_never_more_than_there_is_is_held_and_settled(
    balance: int, cap: int | None, steps: list[tuple[str, int, int, int]]
) -> None:
    async def main() -> None:
        replicas = await two_of(Ledger({"acme": balance}))
        settled, running = 0, []
        holds: list[dict[str, int]] = [{}, {}]

        async def place(which: int, hold_id: str, tokens: int) -> None:
            result = await outcome(replicas[which], asks(hold_id, tokens, cap_nano=cap))
            if isinstance(result, Hold):
                holds[which][hold_id] = result.amount_nano

        async def extend(which: int, hold_id: str, tokens: int) -> None:
            try:
                result = await grow(replicas[which], grows(hold_id, tokens))
            except asyncio.CancelledError:
                return
            if isinstance(result, Hold):
                holds[which][hold_id] = result.amount_nano

        for number, (step, which, index, tokens) in enumerate(steps):
            standing = list(holds[which])
            if step == "admit":
                running.append(asyncio.create_task(place(which, f"req_{number}", tokens)))
            elif step == "recall":
                replicas[which].give_back_spare("acme")
            elif standing and step == "extend":
                running.append(asyncio.create_task(extend(which, standing[index % len(standing)], tokens)))
            elif standing and step == "renew":
                hold_id = standing[index % len(standing)]
                replicas[which].renew(lives(hold_id, 0, cap_nano=cap))
            elif standing:
                hold_id = standing[index % len(standing)]
                cost = min(tokens, holds[which].pop(hold_id))
                assert replicas[which].settle(used(hold_id, cost))
                settled += cost
            if index % 3 == 0:
                await settled_down()
            held = sum(replica.held("acme")[0] for replica in replicas)
            assert held + settled <= (balance if cap is None else min(balance, cap))
        await asyncio.gather(*running)
        held = sum(replica.held("acme")[0] for replica in replicas)
        assert held + settled <= (balance if cap is None else min(balance, cap))
        left = (balance if cap is None else min(balance, cap)) - held - settled
        if left:
            assert isinstance(await outcome(replicas[0], asks("last", left, cap_nano=cap)), Hold)

    asyncio.run(main())


async def test_a_ledger_that_hangs_is_asked_once_more_for_another_may_answer() -> None:
    ledger = Ledger({"acme": 100}, hangs=1)
    grants = await grants_of(ledger)
    assert isinstance(await outcome(grants, asks("req_1", 10)), Hold)
    assert [raised.sequence for raised in ledger.raises] == [1, 1]
    ledger.hangs = 2
    refusal = await outcome(grants, asks("req_2", 90))
    assert isinstance(refusal, Refusal)
    assert refusal.kind is Kind.LEDGER_UNAVAILABLE


async def test_a_spare_that_could_not_be_given_back_is_given_back_when_it_is_asked_for_again() -> None:
    ledger = Ledger({"acme": 1_000})
    grants = await grants_of(ledger)
    hold = await admit(grants, asks("req_1", 10))  # sets 80 aside
    ledger.down = True
    grants.give_back_spare("acme")
    await settled_down()
    assert ledger.amounts()[hold.grant_id] > 10
    ledger.down = False
    grants.give_back_spare("acme")
    await settled_down()
    assert ledger.amounts() == {hold.grant_id: 10}


async def test_a_raise_that_the_ledger_made_unheard_is_given_back_when_it_is_asked_for() -> None:
    ledger = Ledger({"acme": 1_000}, unheard=2)
    grants = await grants_of(ledger)
    assert isinstance(await outcome(grants, asks("req_1", 10)), Refusal)
    assert sum(ledger.amounts().values()) > 0
    grants.give_back_spare("acme")
    await settled_down()
    assert sum(ledger.amounts().values()) == 0


async def test_what_the_ledger_says_of_a_grant_counts_where_it_is_less_than_was_believed() -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger)
    hold = await admit(grants, asks("req_1", 10))  # sets 80 aside
    ledger.grants[hold.grant_id].amount_nano = 10  # it ended, and was cut down to what was known of it
    ledger.balances["acme"] = 10
    assert isinstance(await outcome(grants, asks("req_2", 95)), Refusal)  # which asks
    assert isinstance(await outcome(grants, asks("req_3", 1)), Refusal)
