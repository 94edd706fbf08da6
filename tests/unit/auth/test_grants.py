"""Unit tests of services.auth.grants, beside a ledger that keeps its promises in memory."""

import asyncio
from collections.abc import Awaitable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.auth.holds import Hold
from services.shared.errors import Kind, Refusal
from tests.unit.auth.ledger_in_memory import (
    RATES,
    Ledger,
    admit,
    asks,
    grants_of,
    grow,
    grows,
    lives,
    outcome,
    produced,
    settled_down,
    unread,
    used,
)
from tollhouse.v1 import auth_pb2

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
        assert committed <= sum(ledger.amounts().values()) <= balance
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
    grants = await unread(ledger)
    hold = await admit(grants, asks("req_1", 1))
    assert hold.rates == RATES


async def test_a_hold_settled_while_its_price_is_looked_up_is_not_placed() -> None:
    ledger = Ledger({"acme": 1_000})
    grants = await unread(ledger)
    looking = grants.admit(asks("req_1", 900))
    assert not isinstance(looking, Hold)
    assert grants.settle(used("req_1"))
    with pytest.raises(Refusal):
        await looking
    assert isinstance(await outcome(grants, asks("req_2", 900)), Hold)


async def test_a_hold_keeps_the_price_it_was_placed_under() -> None:
    ledger = Ledger({"acme": 1_000})
    grants = await grants_of(ledger)
    await admit(grants, asks("req_1", 100))
    ledger.prices["opus"] = replace(RATES, price_version=8, output=9_000)
    grants.settle(used("req_1", 100))
    await grants.give_back_all()
    assert [closed.committed_nano for closed in ledger.lowered] == [100]


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


async def test_what_is_used_beyond_a_hold_while_others_wait_for_the_ledger_is_asked_for_again() -> None:
    ledger = Ledger({"acme": 1_050_000})
    grants = await grants_of(ledger)
    await admit(grants, asks("first", 10))
    ledger.open_for_raises.clear()
    waiting = [asyncio.ensure_future(outcome(grants, asks(f"req_{number}", 10_000))) for number in range(5)]
    await asyncio.sleep(0.01)
    grants.settle(used("first", 1_000_000))
    ledger.open_for_raises.set()
    assert [type(found) for found in await asyncio.gather(*waiting)] == [Hold] * 5
    assert isinstance(await outcome(grants, asks("one too many", 10_001)), Refusal)


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


# ---- extension ----


async def test_a_hold_grows_at_once_where_there_is_credit_at_hand() -> None:
    grants = await grants_of(Ledger({"acme": 1_000}))
    hold = await admit(grants, asks("req_1", 10))
    assert grants.extend(grows("req_1", 40)) is hold
    assert (hold.amount_nano, grants.held("acme")) == (40, (40, 1))


async def test_a_hold_grows_after_the_ledger_gave_more() -> None:
    ledger = Ledger({"acme": 1_000})
    grants = await grants_of(ledger)
    await admit(grants, asks("req_1", 10))
    ledger.open_for_raises.clear()
    growing = grants.extend(grows("req_1", 900))
    assert not isinstance(growing, Hold)
    ledger.open_for_raises.set()
    assert (await growing).amount_nano == 900


async def test_a_hold_that_cannot_grow_stands_as_it_was_and_the_refusal_says_what_it_could_have() -> None:
    grants = await grants_of(Ledger({"acme": 100}))
    hold = await admit(grants, asks("req_1", 40, input_tokens=10))
    refusal = await grow(grants, grows("req_1", 91))
    assert isinstance(refusal, Refusal)
    assert refusal.kind is Kind.BALANCE_EXHAUSTED
    assert refusal.details == {"affordable_output_tokens": "90", "available_nano": "100", "needed_nano": "101"}
    assert hold.amount_nano == 50
    assert await grow(grants, grows("req_1", 90)) is hold


async def test_a_hold_that_this_replica_does_not_know_cannot_grow() -> None:
    grants = await grants_of(Ledger({"acme": 100}))
    refusal = await grow(grants, grows("req_1", 10))
    assert isinstance(refusal, Refusal)
    assert refusal.kind is Kind.AUTH_UNAVAILABLE


async def test_settling_a_hold_that_waits_to_grow_ends_both() -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger)
    await admit(grants, asks("req_1", 10))
    ledger.open_for_raises.clear()
    growing = grants.extend(grows("req_1", 200))
    assert grants.settle(used("req_1", 10))
    ledger.open_for_raises.set()
    assert not isinstance(growing, Hold)
    with pytest.raises(asyncio.CancelledError):
        await growing
    await settled_down()
    assert grants.held("acme") == (0, 0)
    assert isinstance(await outcome(grants, asks("req_2", 90)), Hold)


# ---- renewal and take-over ----


async def test_renewing_a_known_hold_puts_off_its_expiry_and_keeps_what_was_said() -> None:
    grants = await grants_of(Ledger({"acme": 100}))
    hold = await admit(grants, asks("req_1", 10))
    before_s = hold.expires_s
    await asyncio.sleep(0.002)
    assert grants.renew(lives("req_1", 10, produced("req_1", 3))) is hold
    assert hold.expires_s > before_s
    assert hold.so_far is not None
    assert [event.tokens.output for event in hold.so_far] == [3]
    assert grants.held("acme") == (10, 1)


async def test_a_hold_that_another_replica_let_grow_is_held_for_as_much_here() -> None:
    grants = await grants_of(Ledger({"acme": 100}))
    await admit(grants, asks("req_1", 10))
    grants.renew(lives("req_1", 30))
    assert grants.held("acme") == (30, 1)


async def test_an_unknown_hold_is_taken_over_and_the_grant_raised_to_cover_it() -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger)
    hold = grants.renew(lives("req_1", 60))
    assert hold is not None
    await settled_down()
    assert ledger.amounts()[hold.grant_id] >= 60
    assert isinstance(await outcome(grants, asks("req_2", 41)), Refusal)
    assert isinstance(await outcome(grants, asks("req_3", 40)), Hold)


async def test_a_hold_is_taken_over_even_where_it_does_not_fit_and_then_nothing_else_does() -> None:
    ledger = Ledger({"acme": 50})
    grants = await grants_of(ledger)
    assert grants.renew(lives("req_1", 60)) is not None
    assert isinstance(await outcome(grants, asks("req_2", 1)), Refusal)
    assert grants.settle(used("req_1", 20))
    assert isinstance(await outcome(grants, asks("req_2", 30)), Hold)
    assert isinstance(await outcome(grants, asks("req_3", 1)), Refusal)


async def test_a_hold_of_a_model_without_a_price_is_not_taken_over() -> None:
    grants = await grants_of(Ledger({"acme": 100}))
    assert grants.renew(lives("req_1", 60, model="nameless")) is None


async def test_a_take_over_while_the_spare_is_given_back_is_covered_all_the_same() -> None:
    ledger = Ledger({"acme": 1_000})
    grants = await grants_of(ledger)
    await admit(grants, asks("req_1", 10))
    ledger.open_for_lowering.clear()
    grants.give_back_spare("acme")
    await settled_down()
    taken = grants.renew(lives("req_2", 600))
    ledger.open_for_lowering.set()
    await settled_down()
    assert taken is not None
    assert ledger.amounts()[taken.grant_id] >= 610


# ---- spend caps of keys ----


async def test_a_key_spends_no_more_than_its_cap() -> None:
    ledger = Ledger({"acme": 1_000})
    grants = await grants_of(ledger)
    hold = await admit(grants, asks("req_1", 60, cap_nano=100))
    assert ledger.grants[hold.key_grant_id].key_id == "key_1"
    refusal = await outcome(grants, asks("req_2", 41, cap_nano=100))
    assert isinstance(refusal, Refusal)
    assert refusal.kind is Kind.KEY_CAP_EXHAUSTED
    assert "the key's spend cap cannot cover this request" in refusal.message
    assert refusal.details["affordable_output_tokens"] == "40"
    assert isinstance(await outcome(grants, asks("req_3", 40, cap_nano=100)), Hold)
    assert isinstance(await outcome(grants, asks("req_4", 500)), Hold)  # a key without a cap


async def test_a_capped_key_of_a_tenant_without_credit_hears_of_the_balance() -> None:
    grants = await grants_of(Ledger({"acme": 10}))
    refusal = await outcome(grants, asks("req_1", 60, cap_nano=100))
    assert isinstance(refusal, Refusal)
    assert refusal.kind is Kind.BALANCE_EXHAUSTED


async def test_a_raised_cap_is_found_by_the_next_hold() -> None:
    grants = await grants_of(Ledger({"acme": 1_000}))
    assert isinstance(await outcome(grants, asks("req_1", 60, cap_nano=50)), Refusal)
    assert isinstance(await outcome(grants, asks("req_1", 60, cap_nano=60)), Hold)


async def test_a_lowered_cap_holds_from_the_next_hold_on() -> None:
    grants = await grants_of(Ledger({"acme": 1_000}))
    await admit(grants, asks("req_1", 10, cap_nano=500))  # takes a reserve of 80
    refusal = await outcome(grants, asks("req_2", 11, cap_nano=20))
    assert isinstance(refusal, Refusal)
    assert refusal.kind is Kind.KEY_CAP_EXHAUSTED
    assert isinstance(await outcome(grants, asks("req_3", 10, cap_nano=20)), Hold)


async def test_a_cap_lowered_while_the_grant_is_being_raised_holds_too() -> None:
    ledger = Ledger({"acme": 1_000})
    grants = await grants_of(ledger)
    ledger.open_for_raises.clear()
    first = asyncio.create_task(outcome(grants, asks("req_1", 10, cap_nano=500)))
    await settled_down()
    second = asyncio.create_task(outcome(grants, asks("req_2", 11, cap_nano=20)))
    await settled_down()
    ledger.open_for_raises.set()
    outcomes = await asyncio.wait_for(asyncio.gather(first, second), 1)
    assert sum(result.amount_nano for result in outcomes if isinstance(result, Hold)) <= 20


# ---- credit elsewhere ----


async def test_credit_that_a_lost_replica_had_is_said_to_come_back() -> None:
    ledger = Ledger({"acme": 100})
    lost = await grants_of(ledger)
    await admit(lost, asks("req_1", 10))  # takes 90
    grants = await grants_of(ledger)  # its next life
    refusal = await outcome(grants, asks("req_2", 50))
    assert isinstance(refusal, Refusal)
    assert refusal.kind is Kind.CREDIT_RECOVERING
    hopeless = await outcome(grants, asks("req_3", 101))
    assert isinstance(hopeless, Refusal)
    assert hopeless.kind is Kind.BALANCE_EXHAUSTED


# ---- edges that come back ----


async def test_an_edge_that_is_back_frees_what_its_earlier_lives_held_and_nothing_else() -> None:
    grants = await grants_of(Ledger({"acme": 10_000}))
    for hold_id, edge in (("req_1", "edge-1/a"), ("req_2", "edge-1/b"), ("req_3", "edge-10/a"), ("req_4", "edge-1/a")):
        hold = grants.admit(asks(hold_id, 100), edge)
        assert (hold if isinstance(hold, Hold) else await hold).edge == edge
    grants.renew(lives("req_4", 100, produced("req_4", 3)), "edge-1/a")
    assert grants.recover_edge("edge-1/b") == 1
    assert grants.held("acme") == (300, 3)
    assert grants.recover_edge("edge-1/b") == 0
