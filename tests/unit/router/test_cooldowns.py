"""Unit tests of services.router.cooldowns, with NATS away."""

from typing import Any

import nats.aio.client
import pytest

from services.router.cooldowns import Cooldowns
from services.router.health import Verdict
from services.shared import clock
from tollhouse.v1 import router_pb2

FAMILY = "claude-sonnet"


@pytest.fixture
def cooldowns() -> Cooldowns:
    return Cooldowns(nats.aio.client.Client(), lambda: 0.5)


def report(outcome: router_pb2.Outcome.ValueType, **fields: Any) -> router_pb2.ReportItem:
    return router_pb2.ReportItem(outcome=outcome, **fields)


def attempt(cooldowns: Cooldowns, item: router_pb2.ReportItem, family: str = FAMILY, account: str = "acc_a") -> int:
    """One attempt, now; answers the time."""
    now_ms = clock.now_ms()
    cooldowns.began(account, family, "one:1", now_ms)
    cooldowns.ended(account, family, "one:1", item, now_ms, lambda: True)
    return now_ms


async def test_what_nothing_is_known_of_is_unproven_and_has_all_left(cooldowns: Cooldowns) -> None:
    assert cooldowns.verdict("acc_a", FAMILY, 1) is Verdict.UNPROVEN
    assert cooldowns.left("acc_a", 1) == 1.0
    assert (cooldowns.until_ms("acc_a", FAMILY), cooldowns.cause("acc_a", FAMILY)) == (0, router_pb2.CAUSE_UNSPECIFIED)
    assert cooldowns.shown("acc_a", 1) == []


async def test_a_cooldown_is_of_one_account_and_one_family(cooldowns: Cooldowns) -> None:
    now_ms = attempt(cooldowns, report(router_pb2.OUTCOME_THROTTLED, retry_after_ms=9_000))
    assert cooldowns.verdict("acc_a", FAMILY, now_ms) is Verdict.COOLING
    assert cooldowns.until_ms("acc_a", FAMILY) == now_ms + 9_000
    assert cooldowns.cause("acc_a", FAMILY) == router_pb2.CAUSE_THROTTLED
    assert cooldowns.verdict("acc_a", "claude-haiku", now_ms) is Verdict.UNPROVEN
    assert cooldowns.verdict("acc_b", FAMILY, now_ms) is Verdict.UNPROVEN


async def test_a_cooldown_is_shown_with_its_cause_and_its_end(cooldowns: Cooldowns) -> None:
    now_ms = attempt(cooldowns, report(router_pb2.OUTCOME_THROTTLED, retry_after_ms=9_000))
    attempt(cooldowns, report(router_pb2.OUTCOME_REFUSED), "claude-haiku")
    attempt(cooldowns, report(router_pb2.OUTCOME_OK), "claude-opus")
    refused, well, throttled = cooldowns.shown("acc_a", now_ms)
    assert (refused.family, refused.state) == ("claude-haiku", router_pb2.AccountHealth.STATE_COOLING)
    assert (refused.cause, refused.until_ms) == (router_pb2.CAUSE_REFUSED, 0)
    assert (well.family, well.state) == ("claude-opus", router_pb2.AccountHealth.STATE_READY)
    assert (throttled.until_ms, throttled.since_ms, throttled.streak) == (now_ms + 9_000, now_ms, 1)
    assert cooldowns.shown("acc_a", now_ms + 9_000)[2].state == router_pb2.AccountHealth.STATE_PROBING


async def test_clearing_ends_one_family_or_all(cooldowns: Cooldowns) -> None:
    for family in (FAMILY, "claude-haiku", "claude-opus"):
        now_ms = attempt(cooldowns, report(router_pb2.OUTCOME_REFUSED), family)
    cooldowns.clear("acc_a", FAMILY)
    assert cooldowns.verdict("acc_a", FAMILY, now_ms) is Verdict.UNPROVEN
    assert cooldowns.verdict("acc_a", "claude-haiku", now_ms) is Verdict.COOLING
    cooldowns.clear("acc_a")
    assert cooldowns.verdict("acc_a", "claude-haiku", now_ms) is Verdict.UNPROVEN
    cooldowns.clear("nobody")


async def test_another_credential_ends_refusals_only(cooldowns: Cooldowns) -> None:
    now_ms = attempt(cooldowns, report(router_pb2.OUTCOME_REFUSED))
    attempt(cooldowns, report(router_pb2.OUTCOME_THROTTLED), "claude-haiku")
    cooldowns.forget_refusals("acc_a")
    assert cooldowns.verdict("acc_a", FAMILY, now_ms) is Verdict.UNPROVEN
    assert cooldowns.verdict("acc_a", "claude-haiku", now_ms) is Verdict.COOLING


async def test_the_tightest_of_the_upstreams_limits_counts_until_it_is_full_again(cooldowns: Cooldowns) -> None:
    now_ms = attempt(cooldowns, report(router_pb2.OUTCOME_OK, left_ppm=300_000, left_reset_ms=20_000))
    attempt(cooldowns, report(router_pb2.OUTCOME_OK, left_ppm=900_000, left_reset_ms=20_000), "claude-haiku")
    assert cooldowns.left("acc_a", now_ms) == pytest.approx(0.3)
    assert cooldowns.left("acc_a", now_ms + 30_000) == 1.0
    attempt(cooldowns, report(router_pb2.OUTCOME_OK, left_ppm=600_000, left_reset_ms=20_000))
    assert cooldowns.left("acc_a", now_ms) == pytest.approx(0.6)
    assert cooldowns.verdict("acc_a", FAMILY, now_ms) is Verdict.READY


async def test_where_nothing_is_left_the_account_cools_before_it_has_to_say_so(cooldowns: Cooldowns) -> None:
    now_ms = attempt(cooldowns, report(router_pb2.OUTCOME_OK, left_ppm=0, left_reset_ms=7_000))
    assert cooldowns.cause("acc_a", FAMILY) == router_pb2.CAUSE_THROTTLED
    assert now_ms + 7_000 <= cooldowns.until_ms("acc_a", FAMILY) < now_ms + 8_000


async def test_accounts_that_are_gone_for_two_loads_are_dropped(cooldowns: Cooldowns) -> None:
    now_ms = attempt(cooldowns, report(router_pb2.OUTCOME_REFUSED))
    attempt(cooldowns, report(router_pb2.OUTCOME_REFUSED), account="acc_b")
    cooldowns.forget({"acc_b"})
    assert cooldowns.verdict("acc_a", FAMILY, now_ms) is Verdict.COOLING
    cooldowns.forget({"acc_b"})
    assert cooldowns.verdict("acc_a", FAMILY, now_ms) is Verdict.UNPROVEN
    assert cooldowns.verdict("acc_b", FAMILY, now_ms) is Verdict.COOLING


async def test_families_of_one_account_are_bounded(cooldowns: Cooldowns) -> None:
    for number in range(100):
        attempt(cooldowns, report(router_pb2.OUTCOME_OK), f"family-{number}")
    assert len(cooldowns.shown("acc_a", clock.now_ms())) == 64
