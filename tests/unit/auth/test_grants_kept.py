"""Unit tests of how services.auth.grants keeps grants and holds over time, beside a ledger in memory."""

import asyncio
import time
from dataclasses import replace
from typing import Final

import grpc
import pytest

from services.auth.holds import Hold
from services.shared.errors import Refusal
from tests.unit.auth.ledger_in_memory import (
    SETTINGS,
    Ledger,
    admit,
    asks,
    grants_of,
    grows,
    kept,
    lives,
    outcome,
    produced,
    settled_down,
    until,
    used,
)
from tollhouse.v1 import auth_pb2, events_pb2, ledger_pb2

IMPATIENT: Final = replace(SETTINGS, hold_ttl_s=0.05)
HASTY: Final = replace(SETTINGS, grant_idle_s=0.01)


async def test_grants_are_renewed_in_the_name_of_this_replica() -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger)
    hold = await admit(grants, asks("req_1", 10))
    async with kept(grants):
        await until(lambda: len(ledger.renewed) >= 2)
    assert len(ledger.renewed) >= 2
    assert (ledger.renewed[0].holder, list(ledger.renewed[0].grant_ids)) == ("auth-7", [hold.grant_id])


async def test_after_its_grant_was_lost_a_tenant_goes_on_in_a_new_one() -> None:
    ledger = Ledger({"acme": 1_000})
    grants = await grants_of(ledger)
    lost_id = (await admit(grants, asks("req_1", 10))).grant_id
    ledger.grants.clear()  # the ledger thought this replica dead
    async with kept(grants):
        await until(lambda: len(ledger.renewed) >= 2)
    assert grants.settle(used("req_1", 10))
    assert (await admit(grants, asks("req_2", 10))).grant_id != lost_id


async def test_a_request_that_comes_before_a_lost_grant_is_noticed_has_all_of_the_balance() -> None:
    ledger = Ledger({"acme": 1_000})
    grants = await grants_of(ledger)
    lost_id = (await admit(grants, asks("req_1", 600))).grant_id
    grants.settle(used("req_1", 600))
    ledger.grants.clear()  # it was booked, and nobody renewed
    ledger.balances["acme"] = 500
    hold = await outcome(grants, asks("req_2", 500))
    assert isinstance(hold, Hold)
    assert hold.grant_id != lost_id
    assert ledger.amounts() == {hold.grant_id: 500}
    assert isinstance(await outcome(grants, asks("req_3", 1)), Refusal)


async def test_a_lost_grant_is_given_up_once_though_a_renewal_and_a_raise_both_find_it_lost() -> None:
    ledger = Ledger({"acme": 1_000})
    grants = await grants_of(ledger)
    await admit(grants, asks("req_1", 10))
    ledger.grants.clear()
    ledger.open_for_renewals.clear()
    async with kept(grants):
        while not ledger.renewed:
            await asyncio.sleep(0.005)
        hold = await admit(grants, asks("req_2", 900))
        ledger.open_for_renewals.set()
        await asyncio.sleep(0.01)
    assert ledger.amounts() == {hold.grant_id: 1_000}


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
        await until(lambda: bool(ledger.lowered))
        await settled_down()
    assert [(lowered.grant_id, lowered.committed_nano) for lowered in ledger.lowered] == [(idle.grant_id, 4)]
    assert ledger.amounts()[idle.grant_id] == 4
    assert ledger.amounts()[busy.grant_id] > 10


async def test_keeping_goes_on_after_the_ledger_was_away() -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger)
    await admit(grants, asks("req_1", 10))
    ledger.down = True
    async with kept(grants):
        await until(lambda: len(ledger.renewed) >= 1)
        failed = len(ledger.renewed)
        ledger.down = False
        await until(lambda: len(ledger.renewed) > failed)


async def test_at_shutdown_grants_keep_only_what_was_settled_and_is_held() -> None:
    ledger = Ledger({"acme": 1_000})
    grants = await grants_of(ledger)
    hold = await admit(grants, asks("req_1", 100))
    await admit(grants, asks("req_2", 50))
    grants.settle(used("req_1", 30))
    await grants.give_back_all()
    assert ledger.amounts() == {hold.grant_id: 80}


async def test_shutdown_survives_a_ledger_that_is_away() -> None:
    ledger = Ledger({"acme": 1_000})
    grants = await grants_of(ledger)
    await admit(grants, asks("req_1", 100))
    ledger.down = True
    await grants.give_back_all()
    assert ledger.lowered == []


async def test_a_new_grant_covers_the_holds_of_the_one_that_was_lost() -> None:
    ledger = Ledger({"acme": 1_000})
    grants = await grants_of(ledger)
    hold = await admit(grants, asks("req_1", 100))
    ledger.grants.clear()
    async with kept(grants):
        await until(lambda: ledger.amounts().get(hold.grant_id, 0) >= 100)


async def test_a_hold_taken_over_while_the_ledger_was_away_is_covered_when_it_is_back() -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger)
    ledger.down = True
    hold = grants.renew(lives("req_1", 60))
    assert hold is not None
    await settled_down()
    assert ledger.amounts() == {}
    ledger.down = False
    async with kept(grants):
        await until(lambda: ledger.amounts().get(hold.grant_id, 0) >= 60)


async def test_a_request_that_comes_while_its_tenants_grant_is_given_back_waits_for_that() -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger, HASTY)
    await admit(grants, asks("req_1", 10))  # sets 80 aside
    grants.settle(used("req_1", 4))
    ledger.open_for_lowering.clear()
    async with kept(grants):
        await asyncio.sleep(0.1)  # it is forgotten here, and not given back yet
        asked = asyncio.create_task(outcome(grants, asks("req_2", 90)))
        await asyncio.sleep(0.05)
        ledger.open_for_lowering.set()
        assert isinstance(await asked, Hold)


async def test_an_idle_keys_grant_is_given_back_while_its_tenant_is_busy() -> None:
    ledger = Ledger({"acme": 1_000})
    grants = await grants_of(ledger, HASTY)
    capped = await admit(grants, asks("req_1", 10, cap_nano=100))
    await admit(grants, asks("req_2", 10))
    grants.settle(used("req_1", 4))
    async with kept(grants):
        await until(lambda: ledger.grants[capped.key_grant_id].amount_nano == 4)
    assert ledger.grants[capped.grant_id].amount_nano > 14


async def test_the_grant_of_a_key_whose_hold_stands_is_kept() -> None:
    ledger = Ledger({"acme": 1_000})
    grants = await grants_of(ledger, HASTY)
    capped = await admit(grants, asks("req_1", 10, cap_nano=100))
    async with kept(grants):
        await asyncio.sleep(0.1)
    assert grants.settle(used("req_1", 4))
    assert ledger.grants[capped.key_grant_id].amount_nano > 10


# ---- holds that nobody renews ----


async def test_a_hold_that_nobody_renews_is_booked_once_and_settled() -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger, IMPATIENT)
    await admit(grants, asks("req_1", 100))
    grants.renew(lives("req_1", 100, produced("req_1", 30)))
    async with kept(grants):
        await asyncio.sleep(0.02)
        assert isinstance(await outcome(grants, asks("req_2", 70)), Refusal)
        await until(lambda: grants.held("acme") == (0, 0))
    assert ledger.asked_for_orphans == 1
    assert [event.status for event in ledger.orphans.values()] == [events_pb2.USAGE_STATUS_ORPHANED]
    assert grants.held("acme") == (0, 0)
    assert isinstance(await outcome(grants, asks("req_3", 71)), Refusal)
    assert isinstance(await outcome(grants, asks("req_4", 70)), Hold)


async def test_a_hold_that_is_renewed_stands() -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger, IMPATIENT)
    await admit(grants, asks("req_1", 100))
    async with kept(grants):
        for _ in range(15):
            await asyncio.sleep(0.01)
            grants.renew(lives("req_1", 100))
    assert grants.held("acme") == (100, 1)
    assert ledger.asked_for_orphans == 0


async def test_an_orphan_that_had_reached_no_upstream_is_released() -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger, IMPATIENT)
    await admit(grants, asks("req_1", 100))
    grants.renew(lives("req_1", 100))
    async with kept(grants):
        await until(lambda: grants.held("acme") == (0, 0))
    assert ledger.orphans == {}
    assert isinstance(await outcome(grants, asks("req_2", 100)), Hold)


async def test_an_orphan_stands_until_the_ledger_is_back_and_has_booked_it() -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger, IMPATIENT)
    await admit(grants, asks("req_1", 100, input_tokens=0))
    grants.renew(lives("req_1", 100, produced("req_1", 30)))
    ledger.down = True
    async with kept(grants):
        await asyncio.sleep(0.15)
        assert grants.held("acme") == (100, 1)
        ledger.down = False
        await until(lambda: grants.held("acme") == (0, 0))
    assert len(ledger.orphans) == 1


@pytest.mark.parametrize("code", [grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.DEADLINE_EXCEEDED])
async def test_an_orphan_that_cannot_be_booked_stands_in_the_way_of_no_other_tenant(code: grpc.StatusCode) -> None:
    ledger = Ledger({"acme": 100, "other": 100}, stuck_with=("req_1", code))
    grants = await grants_of(ledger, IMPATIENT)
    await admit(grants, asks("req_1", 60))
    await admit(grants, auth_pb2.AdmitItem(hold_id="req_2", tenant_id="other", model="opus", output_tokens=60))
    async with kept(grants):
        await until(lambda: grants.held("other") == (0, 0))
    assert grants.held("acme") == (60, 1)
    assert grants.held("other") == (0, 0)


async def test_grants_are_renewed_while_what_a_lost_edge_left_behind_is_booked() -> None:
    ledger = Ledger({"acme": 1_000})
    grants = await grants_of(ledger, IMPATIENT)
    for number in range(30):
        await admit(grants, asks(f"req_{number}", 10))
    await asyncio.sleep(IMPATIENT.hold_ttl_s)
    ledger.open_for_orphans.clear()
    async with kept(grants):
        while not ledger.asked_for_orphans:
            await asyncio.sleep(0.005)
        before = len(ledger.renewed)
        await until(lambda: len(ledger.renewed) >= before + 3)
        ledger.open_for_orphans.set()
        await until(lambda: grants.held("acme") == (0, 0))
    assert len(ledger.orphans) == 30
    assert ledger.asked_for_orphans < 5  # not one by one


async def test_an_orphan_that_the_ledger_refuses_stands_in_the_way_of_no_other_of_its_tenant() -> None:
    ledger = Ledger({"acme": 100}, stuck_with=("req_1", grpc.StatusCode.INVALID_ARGUMENT))
    grants = await grants_of(ledger, IMPATIENT)
    await admit(grants, asks("req_1", 30))
    await admit(grants, asks("req_2", 30))
    async with kept(grants):
        await until(lambda: grants.held("acme") == (30, 1))
    assert grants.held("acme") == (30, 1)


async def test_grants_are_renewed_while_idle_tenants_grants_are_given_back() -> None:
    ledger = Ledger({f"t{number}": 100 for number in range(20)})
    grants = await grants_of(ledger, HASTY)
    for number in range(20):
        item = auth_pb2.AdmitItem(hold_id=f"r{number}", tenant_id=f"t{number}", model="opus", output_tokens=1)
        await admit(grants, item)
        grants.settle(auth_pb2.SettleItem(hold_id=f"r{number}", tenant_id=f"t{number}"))
    busy = auth_pb2.AdmitItem(hold_id="busy", tenant_id="t0", model="opus", output_tokens=1)
    await admit(grants, busy)
    ledger.open_for_lowering.clear()
    async with kept(grants):
        await until(lambda: len(ledger.renewed) >= 4)
        ledger.open_for_lowering.set()
        await until(lambda: len(ledger.lowered) == 19)


async def test_an_orphan_that_is_heard_of_again_while_it_is_booked_stands() -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger, IMPATIENT)
    await admit(grants, asks("req_1", 60))
    ledger.open_for_orphans.clear()
    async with kept(grants):
        while not ledger.asked_for_orphans:
            await asyncio.sleep(0.005)
        grants.renew(lives("req_1", 60))
        ledger.open_for_orphans.set()
        await settled_down()
        assert grants.held("acme") == (60, 1)


async def test_an_orphan_that_waited_to_grow_waits_no_more() -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger, IMPATIENT)
    await admit(grants, asks("req_1", 10))
    ledger.open_for_raises.clear()
    growing = grants.extend(grows("req_1", 95))
    assert isinstance(growing, asyncio.Future)
    async with kept(grants):
        await until(growing.cancelled)
    assert growing.cancelled()
    ledger.open_for_raises.set()
    await settled_down()
    assert grants.held("acme") == (0, 0)


async def test_one_that_stood_still_itself_waits_for_renewals_before_it_calls_anything_lost() -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger, replace(SETTINGS, hold_ttl_s=0.1, grant_renew_s=0.06))
    await admit(grants, asks("req_1", 100))
    async with kept(grants):
        await asyncio.sleep(0.15)  # every look comes after more than half of a hold's time
        assert grants.held("acme") == (100, 1)
    assert ledger.asked_for_orphans == 0


async def test_one_that_stood_still_places_nothing_before_the_ledger_has_said_what_is_left() -> None:
    ledger = Ledger({"acme": 100})
    grants = await grants_of(ledger)
    hold = await admit(grants, asks("req_1", 10))  # sets 80 aside
    async with kept(grants):
        await asyncio.sleep(0.03)
        time.sleep(0.1)  # noqa: ASYNC251  # the whole process stands still
        ledger.grants[hold.grant_id].amount_nano = 10  # the ledger has taken the rest for
        ledger.balances["acme"] = 15  # somebody else
        asked = grants.admit(asks("req_2", 6))
        assert not isinstance(asked, Hold)
        with pytest.raises(Refusal):
            await asked
        assert isinstance(await outcome(grants, asks("req_3", 5)), Hold)


async def test_one_that_no_ledger_renews_places_nothing_more_before_its_grants_may_end() -> None:
    ledger = Ledger({"acme": 100}, ttl_ms=400)
    grants = await grants_of(ledger)
    hold = await admit(grants, asks("req_1", 10))  # sets 80 aside
    async with kept(grants):
        await until(lambda: len(ledger.renewed) >= 2)
        ledger.cut_off = True
        assert isinstance(grants.admit(asks("req_2", 5)), Hold)  # at once, in what is granted still
        await until(lambda: grants.totals().left_nano == 15)  # what is held, and nothing beside
        ledger.down = True
        grants.settle(used("req_2", 1))  # what that frees may be somebody else's too
        assert isinstance(await outcome(grants, asks("req_3", 1)), Refusal)
        ledger.down = False
        ledger.grants[hold.grant_id].amount_nano = 11  # what it covers still
        ledger.balances["acme"] = 11  # the rest went to somebody else
        assert isinstance(await outcome(grants, asks("req_3", 1)), Refusal)
        ledger.balances["acme"] = 30
        assert isinstance(await outcome(grants, asks("req_4", 10)), Hold)  # raised anew


async def test_a_grant_that_is_renewed_is_placed_in_for_longer_than_it_lives() -> None:
    ledger = Ledger({"acme": 100}, ttl_ms=200)
    grants = await grants_of(ledger, replace(SETTINGS, grant_renew_s=0.005))
    await admit(grants, asks("req_1", 10))
    async with kept(grants):
        await until(lambda: len(ledger.renewed) >= 2)
        raises = len(ledger.raises)
        await asyncio.sleep(0.4)
        assert isinstance(grants.admit(asks("req_2", 5)), Hold)
    assert len(ledger.raises) == raises


# ---- beginning ----


async def test_an_abandoning_that_is_read_late_leaves_the_grants_of_this_life_alone() -> None:
    ledger = Ledger({"acme": 100})
    sent: list[ledger_pb2.AbandonGrantsRequest] = []
    abandon = ledger.AbandonGrants

    async def noted(
        request: ledger_pb2.AbandonGrantsRequest, *, timeout: float, wait_for_ready: bool
    ) -> ledger_pb2.AbandonGrantsResponse:
        sent.append(request)
        return await abandon(request, timeout=timeout, wait_for_ready=wait_for_ready)

    ledger.AbandonGrants = noted  # type: ignore[method-assign]
    grants = await grants_of(ledger)
    hold = await admit(grants, asks("req_1", 5))
    await abandon(sent[0], timeout=1, wait_for_ready=True)
    assert not ledger.grants[hold.grant_id].abandoned


async def test_what_an_earlier_life_had_is_abandoned_before_anything_is_asked_for() -> None:
    ledger = Ledger({"acme": 100})
    earlier = await grants_of(ledger)
    lost = await admit(earlier, asks("req_1", 5))
    grants = await grants_of(ledger)
    assert ledger.grants[lost.grant_id].abandoned
    hold = await admit(grants, asks("req_2", 5))
    assert not ledger.grants[hold.grant_id].abandoned
