"""Unit tests of services.router.picker."""

import random as randomness
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.router.affinity import Live, Tiers
from services.router.picker import AFFINITY, BUSY, CONVERSATION, LOAD, PROVING, SPARE, SPILL, pick
from tests.unit.router.upstreams import Seen, account, five, turn_of

FOUND = st.sampled_from([SPARE, PROVING, "cooling", "probing", "excluded", "limit_concurrent"])
PLACES = st.integers(0, (1 << 64) - 1)


def middle() -> float:
    return 0.5


def test_the_least_busy_account_takes_an_attempt_without_a_conversation() -> None:
    busy = {"a": 3, "b": 1, "c": 2}
    picked = pick(Tiers([account(name) for name in busy]), None, Seen(loads=busy), middle)
    assert picked.account is not None
    assert (picked.account.upstream_account_id, picked.reason) == ("b", LOAD)


@pytest.mark.parametrize("place", [None, 1])
def test_a_lower_priority_number_goes_before_an_idle_account(place: int | None) -> None:
    accounts = [account("second", priority=1), account("first", priority=0)]
    turn = turn_of(place) if place is not None else None
    assert pick(Tiers(accounts), turn, Seen(loads={"first": 1_000}), middle).account is accounts[1]


def test_nothing_is_picked_when_no_account_is_there() -> None:
    assert pick(Tiers([]), None, Seen(), middle).account is None
    assert pick(Tiers([]), turn_of(1), Seen(), middle).account is None


def test_idle_accounts_share_attempts_by_their_weights() -> None:
    dice = randomness.Random(1)
    tiers = Tiers([account("light", weight=100), account("heavy", weight=300)])
    picked = Counter(pick(tiers, None, Seen(), dice.random).account.name for _ in range(4_000))  # type: ignore[union-attr]
    assert 2_850 < picked["heavy-name"] < 3_150


def test_an_account_close_to_the_limits_of_its_upstream_is_steered_away_from() -> None:
    dice = randomness.Random(1)
    tiers = Tiers([account("full"), account("drained")])
    seen = Seen(lefts={"drained": 0.01})
    picked = Counter(pick(tiers, None, seen, dice.random).account.name for _ in range(1_000))  # type: ignore[union-attr]
    assert picked["drained-name"] < 150
    assert all(pick(tiers, turn_of(place << 60), seen, middle).account is tiers.get("full") for place in range(16))


def test_new_conversations_stay_away_from_what_is_close_to_its_limits_however_many_the_others_have() -> None:
    crowded = Live()
    crowded.of, crowded.total = {"full": 1_000}, {0: 1_000}
    seen = Seen(lefts={"drained": 0.09})
    tiers = Tiers([account("full"), account("drained")])
    for place in range(16):
        assert pick(tiers, turn_of(place << 60, "", crowded), seen, middle).account is tiers.get("full")
    at_home = pick(tiers, turn_of(1, "drained", crowded), seen, middle)
    assert (at_home.account, at_home.reason) == (tiers.get("drained"), CONVERSATION)


def test_where_every_account_is_close_to_its_limits_the_one_with_the_fewest_conversations_goes_on() -> None:
    crowded = Live()
    crowded.of, crowded.total = {"one": 3, "other": 2}, {0: 5}
    seen = Seen(lefts={"one": 0.05, "other": 0.01})
    tiers = Tiers([account("one"), account("other")])
    assert pick(tiers, turn_of(7, "", crowded), seen, middle).account is tiers.get("other")
    many = [account(f"acc_{number}") for number in range(40)]
    lefts = {one.upstream_account_id: 0.01 for one in many[:39]}
    assert pick(Tiers(many), turn_of(7), Seen(lefts=lefts), middle).account is many[39]


def test_an_account_does_not_show_its_credential() -> None:
    assert "secret-credential" not in repr(account("a"))


def test_a_conversation_stays_where_its_last_turn_went_even_beyond_the_bound() -> None:
    live = Live()
    live.of, live.total = {"acc_c": 1_000}, {0: 1_000}
    seen = Seen(loads={"acc_c": 50})
    picked = pick(Tiers(five()), turn_of(7, "acc_c", live), seen, middle)
    assert picked.account is not None
    assert (picked.account.upstream_account_id, picked.reason, picked.settles) == ("acc_c", CONVERSATION, False)


def test_a_conversation_whose_account_is_only_full_is_served_elsewhere_and_comes_back() -> None:
    seen = Seen(is_found={"acc_c": "limit_concurrent"})
    picked = pick(Tiers(five()), turn_of(7, "acc_c"), seen, middle)
    assert picked.account is not None
    assert picked.account.upstream_account_id != "acc_c"
    assert not picked.settles


@pytest.mark.parametrize("home", ["acc_c", "acc_gone"])
def test_a_conversation_whose_account_cools_or_is_gone_moves_for_good(home: str) -> None:
    seen = Seen(is_found={"acc_c": "cooling"}, moving={"acc_c"})
    assert pick(Tiers(five()), turn_of(7, home), seen, middle).settles


def test_a_conversation_returns_to_a_better_tier_for_good() -> None:
    tiers = Tiers([account("first", priority=0), account("stopgap", priority=1)])
    picked = pick(tiers, turn_of(7, "stopgap"), Seen(), middle)
    assert picked.account is tiers.get("first")
    assert picked.settles


def test_a_new_conversation_goes_past_accounts_beyond_their_share() -> None:
    tiers = Tiers(five())
    first = pick(tiers, turn_of(7), Seen(), middle)
    assert first.account is not None
    assert (first.reason, first.settles) == (AFFINITY, True)
    crowded = Live()
    crowded.of, crowded.total = {first.account.upstream_account_id: 10}, {0: 10}
    second = pick(tiers, turn_of(7, "", crowded), Seen(), middle)
    assert second.account is not first.account
    assert second.reason == SPILL
    assert [found for looked, found, _ in second.looked if looked is first.account] == [BUSY]
    loaded = Seen(loads={first.account.upstream_account_id: 3})
    assert pick(tiers, turn_of(7), loaded, middle).account is second.account


def test_what_is_proving_takes_more_only_where_nothing_else_can() -> None:
    tiers = Tiers([account("proving"), account("ready")])
    seen = Seen(is_found={"proving": PROVING})
    for turn in (None, turn_of(1), turn_of(1 << 63), turn_of(1, "proving")):
        assert pick(tiers, turn, seen, middle).account is tiers.get("ready")
        alone = pick(tiers, turn, Seen(is_found={"proving": PROVING, "ready": "cooling"}), middle)
        assert alone.account is tiers.get("proving")


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9), FOUND, st.integers(1, 1000)), max_size=40),
    st.none() | PLACES,
    st.none() | st.integers(0, 39),
    st.randoms(use_true_random=False),
)
def test_an_eligible_account_of_the_best_tier_is_picked_whenever_there_is_one(
    described: list[tuple[int, int, str, int]], place: int | None, home: int | None, dice: randomness.Random
) -> None:
    accounts = [account(str(i), row[0], weight=row[3]) for i, row in enumerate(described)]
    seen = Seen(
        {str(i): row[2] for i, row in enumerate(described)}, {str(i): row[1] for i, row in enumerate(described)}
    )
    turn = turn_of(place, str(home)) if place is not None else None
    picked = pick(Tiers(accounts), turn, seen, dice.random)
    eligible = [row for row in described if row[2] in (SPARE, PROVING)]
    if not eligible:
        assert picked.account is None
        return
    assert picked.account is not None
    best = min(row[0] for row in eligible)
    found = seen.found(picked.account)
    assert picked.account.priority == best
    assert found == (SPARE if any(row[0] == best and row[2] == SPARE for row in described) else PROVING)
    if (
        home is not None
        and home < len(described)
        and described[home][0] == best
        and described[home][2] == SPARE
        and turn
    ):
        assert (picked.account.upstream_account_id, picked.reason) == (str(home), CONVERSATION)
    assert sum(looked is picked.account for looked, _, _ in picked.looked) <= 1 or turn is None


@pytest.mark.parametrize("turn", [None, turn_of(1 << 62)])
def test_a_pick_looks_at_no_more_accounts_among_thousands_than_among_a_few(turn: object) -> None:
    seen = Seen()
    tiers = Tiers([account(f"acc_{number}") for number in range(3_000)])
    assert pick(tiers, turn, seen, middle).account is not None  # type: ignore[arg-type]
    assert seen.asked <= 16


@pytest.mark.parametrize("turn", [None, turn_of(1 << 62)])
def test_the_one_account_among_thousands_that_is_eligible_is_found(turn: object) -> None:
    accounts = [account(f"acc_{number}") for number in range(1_000)]
    seen = Seen({one.upstream_account_id: "cooling" for one in accounts if one is not accounts[700]})
    picked = pick(Tiers(accounts), turn, seen, randomness.Random(1).random)  # type: ignore[arg-type]
    assert picked.account is accounts[700]
    assert len(picked.looked) <= 33
