"""Unit and property tests of services.router.health."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.router.health import FOREVER_MS, LONGEST_MS, PROBE_MS, Cooldown, Health, Outcome, Shared, Verdict
from tollhouse.v1 import router_pb2

OK = router_pb2.OUTCOME_OK
CLIENT_FAULT = router_pb2.OUTCOME_CLIENT_FAULT
FAULT = router_pb2.OUTCOME_UPSTREAM_FAULT
CUT = router_pb2.OUTCOME_CUT
THROTTLED = router_pb2.OUTCOME_THROTTLED
OVERLOADED = router_pb2.OUTCOME_OVERLOADED
REFUSED = router_pb2.OUTCOME_REFUSED
OUT_OF_CREDIT = router_pb2.OUTCOME_OUT_OF_CREDIT
GONE = router_pb2.OUTCOME_CLIENT_GONE
UNUSED = router_pb2.OUTCOME_UNUSED

T0 = 1_800_000_000_000
OUTCOMES = st.sampled_from(router_pb2.Outcome.values())


def yes() -> bool:
    return True


def no() -> bool:
    return False


def attempt(
    health: Health,
    outcome: Outcome,
    now_ms: int,
    hint_ms: int = 0,
    others: Callable[[], bool] = yes,
    random: float = 0.5,
) -> bool:
    """One attempt from its beginning to its end, in no time."""
    health.began("one:1", now_ms)
    return health.ended("one:1", outcome, hint_ms, now_ms, lambda: random, others)


def busy() -> Health:
    """An account that answered often."""
    health = Health()
    for _ in range(20):
        attempt(health, OK, T0)
    return health


def until_ms(health: Health) -> int:
    assert health.cooldown is not None
    return health.cooldown.until_ms


def test_nothing_known_is_unproven_until_an_attempt_is_under_way_and_ready_once_it_answered() -> None:
    health = Health()
    assert health.verdict(T0) is Verdict.UNPROVEN
    health.began("a:1", T0)
    assert health.verdict(T0) is Verdict.PROBING
    assert not health.ended("a:1", OK, 0, T0 + 10, lambda: 0.5, no)
    assert health.verdict(T0) is Verdict.READY


@pytest.mark.parametrize(("hint_ms", "wait_ms"), [(1, 1_000), (7_000, 7_000), (86_400_000, 1_800_000), (0, 5_000)])
def test_throttled_lasts_as_long_as_the_upstream_says_within_bounds(hint_ms: int, wait_ms: int) -> None:
    health = busy()
    assert attempt(health, THROTTLED, T0, hint_ms)
    assert until_ms(health) == T0 + wait_ms
    assert health.verdict(T0 + wait_ms - 1) is Verdict.COOLING
    assert health.verdict(T0 + wait_ms) is Verdict.PROBE_DUE


@pytest.mark.parametrize(
    ("outcome", "longest_ms"), [(THROTTLED, 300_000), (FAULT, 300_000), (OUT_OF_CREDIT, LONGEST_MS)]
)
def test_a_probe_that_fails_cools_anew_and_longer_up_to_a_limit(outcome: Outcome, longest_ms: int) -> None:
    health, now_ms, waits = Health(), T0, list[int]()
    for _ in range(10):
        attempt(health, outcome, now_ms)
        waits.append(until_ms(health) - now_ms)
        now_ms = until_ms(health)
    assert waits[0] in (5_000, 600_000)
    assert waits == [min(waits[0] << number, longest_ms) for number in range(10)]


def test_many_attempts_that_are_throttled_at_once_count_as_one() -> None:
    health = busy()
    for number in range(10):
        health.began(f"{number}:1", T0)
    for number in range(10):
        health.ended(f"{number}:1", THROTTLED, 0, T0 + number, lambda: 0.5, yes)
    assert (health.streak, until_ms(health)) == (1, T0 + 5_000)


def test_many_attempts_that_hang_bench_an_account_once_however_late_they_come_back() -> None:
    health = busy()
    for number in range(10):
        health.began(f"{number}:1", T0)
    for number in range(2):
        health.ended(f"{number}:1", FAULT, 0, T0 + 60_000, lambda: 0.5, yes)
    now_ms = until_ms(health)
    assert attempt(health, OK, now_ms)
    for number in range(2, 10):
        assert not health.ended(f"{number}:1", FAULT, 0, now_ms + number, lambda: 0.5, yes)
    assert (health.verdict(now_ms + 10), health.streak) == (Verdict.READY, 1)


def test_a_refusal_counts_though_the_account_was_throttled_meanwhile() -> None:
    health = busy()
    health.began("old:1", T0)
    attempt(health, THROTTLED, T0)
    assert health.ended("old:1", REFUSED, 0, T0 + 1, lambda: 0.5, yes)
    assert until_ms(health) == FOREVER_MS


def test_what_comes_of_a_lease_that_is_not_known_says_nothing() -> None:
    health = busy()
    for outcome in router_pb2.Outcome.values():
        assert not health.ended("stranger:1", outcome, 1_000, T0, lambda: 0.5, yes)


def test_a_later_hint_lengthens_a_cooldown_and_an_earlier_one_does_not_shorten_it() -> None:
    health = busy()
    for lease in ("a:1", "b:1", "c:1"):
        health.began(lease, T0)
    assert health.ended("a:1", THROTTLED, 20_000, T0, lambda: 0.5, yes)
    assert not health.ended("b:1", THROTTLED, 10_000, T0, lambda: 0.5, yes)
    assert until_ms(health) == T0 + 20_000
    assert health.ended("c:1", THROTTLED, 30_000, T0, lambda: 0.5, yes)
    assert until_ms(health) == T0 + 30_000
    assert health.streak == 1


def test_one_failure_of_a_busy_account_does_nothing_and_two_in_a_row_bench_it() -> None:
    health = busy()
    assert not attempt(health, FAULT, T0)
    assert health.verdict(T0) is Verdict.READY
    assert attempt(health, CUT, T0)
    assert health.verdict(T0) is Verdict.COOLING
    assert health.cooldown is not None
    assert health.cooldown.cause == router_pb2.CAUSE_FAILING


def test_an_account_that_never_answered_is_benched_by_its_first_failure() -> None:
    health = Health()
    assert attempt(health, FAULT, T0)
    assert until_ms(health) == T0 + 5_000


def test_after_a_probe_that_succeeded_the_streak_is_forgotten_only_by_more_of_them() -> None:
    health, now_ms = Health(), T0
    for _ in range(3):
        attempt(health, FAULT, now_ms)
        now_ms = until_ms(health)
    assert attempt(health, OK, now_ms)
    assert (health.verdict(now_ms), health.streak) == (Verdict.READY, 3)
    for _ in range(4):
        attempt(health, OK, now_ms)
    assert health.streak == 0


@given(st.floats(0, 1, exclude_max=True))
def test_overloaded_is_short_and_spread(random: float) -> None:
    health = busy()
    assert attempt(health, OVERLOADED, T0, random=random)
    assert 10_000 <= until_ms(health) - T0 < 30_000
    assert health.streak == 0
    assert health.ratio < 0.1


@given(st.lists(st.tuples(OUTCOMES, st.integers(0, 100_000)), max_size=20))
def test_where_no_other_is_healthy_an_overload_changes_nothing(before: list[tuple[Outcome, int]]) -> None:
    health, now_ms = Health(), T0
    for outcome, later_ms in before:
        now_ms += later_ms
        attempt(health, outcome, now_ms)
    stood = health.cooldown, health.streak, health.ratio
    assert not attempt(health, OVERLOADED, now_ms, others=no)
    assert (health.cooldown, health.streak, health.ratio) == stood


def test_refused_ends_neither_by_time_nor_by_an_attempt_that_ends_well() -> None:
    health = busy()
    attempt(health, REFUSED, T0)
    attempt(health, OK, T0 + 10 * LONGEST_MS)
    assert health.verdict(T0 + 1000 * LONGEST_MS) is Verdict.COOLING
    assert until_ms(health) == FOREVER_MS


def test_a_new_credential_ends_a_refusal_and_what_the_old_one_is_still_told_counts_no_more() -> None:
    health = busy()
    health.began("old:1", T0)
    attempt(health, REFUSED, T0)
    assert health.credential_changed(T0 + 1)
    assert health.verdict(T0 + 1) is Verdict.UNPROVEN
    assert not health.ended("old:1", REFUSED, 0, T0 + 2, lambda: 0.5, yes)
    assert health.verdict(T0 + 2) is Verdict.UNPROVEN


def test_a_new_credential_leaves_other_cooldowns() -> None:
    health = busy()
    attempt(health, THROTTLED, T0)
    assert not health.credential_changed(T0 + 1)
    assert health.verdict(T0 + 1) is Verdict.COOLING


def test_an_attempt_that_began_before_the_cooldown_does_not_end_it() -> None:
    health = busy()
    health.began("old:1", T0)
    attempt(health, THROTTLED, T0, 10_000)
    assert not health.ended("old:1", OK, 0, T0 + 5_000, lambda: 0.5, yes)
    assert health.verdict(T0 + 5_000) is Verdict.COOLING
    assert health.verdict(T0 + 10_000) is Verdict.PROBE_DUE


@pytest.mark.parametrize("outcome", [OK, CLIENT_FAULT])
def test_one_probe_goes_and_whoever_answers_it_is_ready(outcome: Outcome) -> None:
    health = busy()
    attempt(health, THROTTLED, T0)
    now_ms = until_ms(health)
    health.began("probe:1", now_ms)
    assert health.verdict(now_ms) is Verdict.PROBING
    assert health.ended("probe:1", outcome, 0, now_ms + 10, lambda: 0.5, yes)
    assert health.verdict(now_ms + 10) is Verdict.READY


@pytest.mark.parametrize("outcome", [GONE, UNUSED])
def test_a_probe_that_says_nothing_leaves_its_place_to_the_next(outcome: Outcome) -> None:
    health = busy()
    attempt(health, FAULT, T0)
    attempt(health, FAULT, T0)
    now_ms = until_ms(health)
    attempt(health, outcome, now_ms)
    assert health.verdict(now_ms) is Verdict.PROBE_DUE


def test_a_probe_that_never_comes_back_leaves_its_place_after_a_while() -> None:
    health = Health()
    health.began("lost:1", T0)
    assert health.verdict(T0 + PROBE_MS - 1) is Verdict.PROBING
    assert health.verdict(T0 + PROBE_MS) is Verdict.UNPROVEN


def test_where_nothing_is_left_of_the_upstreams_limits_it_cools_until_they_are_full() -> None:
    for reset_ms, wait_ms in [(20_000, 20_000), (18_000_000, 60_000), (0, 5_000), (5, 1_000)]:
        health = busy()
        assert health.drained(reset_ms, T0)
        assert until_ms(health) == T0 + wait_ms
        assert health.streak == 0


def test_a_clock_that_went_back_does_not_make_a_cooldown_longer_than_the_longest() -> None:
    health = busy()
    attempt(health, THROTTLED, T0, 60_000)
    assert health.verdict(T0 - 30 * 86_400_000) is Verdict.PROBE_DUE
    attempt(health, THROTTLED, T0 - 30 * 86_400_000)
    assert until_ms(health) == T0 - 30 * 86_400_000 + (5_000 << 1)


class HealthMachine(RuleBasedStateMachine):
    """Any attempts, in any order, while the clock goes on: what always holds."""

    def __init__(self) -> None:
        super().__init__()
        self.health, self.now_ms, self.count = Health(), T0, 0
        self.under_way: list[str] = []
        self.before: Cooldown | None = None
        self.may_shrink = False

    @rule(later_ms=st.integers(0, 2_000_000))
    def time_passes(self, later_ms: int) -> None:
        self.now_ms += later_ms

    @precondition(lambda self: self.health.verdict(self.now_ms) is not Verdict.COOLING)
    @rule()
    def an_attempt_begins(self) -> None:
        due = self.health.verdict(self.now_ms) in (Verdict.PROBE_DUE, Verdict.UNPROVEN)
        self.count += 1
        self.under_way.append(f"{self.count}:1")
        self.health.began(self.under_way[-1], self.now_ms)
        if due:
            assert self.health.verdict(self.now_ms) is Verdict.PROBING

    @precondition(lambda self: self.under_way)
    @rule(outcome=OUTCOMES, hint_ms=st.integers(0, 10_000_000), others=st.booleans(), pick=st.integers(0, 1000))
    def an_attempt_ends(self, outcome: Outcome, hint_ms: int, others: bool, pick: int) -> None:
        lease = self.under_way.pop(pick % len(self.under_way))
        was = self.health.shared()
        changed = self.health.ended(lease, outcome, hint_ms, self.now_ms, lambda: 0.5, lambda: others)
        assert changed == (self.health.shared() != was)
        self.may_shrink = outcome in (OK, CLIENT_FAULT)
        if outcome in (GONE, UNUSED, CLIENT_FAULT) or (outcome == OVERLOADED and not others):
            assert not changed or self.health.cooldown is None

    @rule()
    def an_operator_clears_it(self) -> None:
        self.health.clear(self.now_ms)
        assert self.health.verdict(self.now_ms) in (Verdict.READY, Verdict.UNPROVEN, Verdict.PROBING)
        self.may_shrink = True

    @invariant()
    def a_cooldown_never_becomes_shorter(self) -> None:
        now = self.health.cooldown
        if self.before is not None and not self.may_shrink:
            assert now is not None
            assert now.until_ms >= self.before.until_ms
        self.before, self.may_shrink = now, False

    @invariant()
    def every_cooldown_but_a_refusal_ends(self) -> None:
        cooldown = self.health.cooldown
        if cooldown is not None and cooldown.cause != router_pb2.CAUSE_REFUSED:
            assert cooldown.until_ms <= self.now_ms + LONGEST_MS
            assert self.health.verdict(cooldown.until_ms) is not Verdict.COOLING

    @invariant()
    def the_ratio_is_one(self) -> None:
        assert 0 <= self.health.ratio <= 1


TestHealthMachine = HealthMachine.TestCase


@given(st.lists(st.tuples(OUTCOMES, st.integers(0, 10_000_000), st.integers(-(10**12), 10**12)), max_size=40))
def test_no_jump_of_the_clock_benches_an_account_for_longer_than_the_longest(
    events: list[tuple[Outcome, int, int]],
) -> None:
    health, now_ms = Health(), T0
    for outcome, hint_ms, jump_ms in events:
        now_ms = max(0, now_ms + jump_ms)
        attempt(health, outcome, now_ms, hint_ms)
        if health.cooldown is not None and health.cooldown.cause != router_pb2.CAUSE_REFUSED:
            end_ms = until_ms(health)
            assert health.verdict(end_ms) is not Verdict.COOLING
            assert health.verdict(end_ms - LONGEST_MS - 1) is not Verdict.COOLING


COOLDOWNS = st.builds(
    Cooldown,
    until_ms=st.integers(1, 20) | st.just(FOREVER_MS),
    stamp_ms=st.integers(1, 12),
    since_ms=st.integers(1, 12),
    cause=st.sampled_from(router_pb2.Cause.values()[1:]),
    streak=st.integers(0, 3),
)
SHARED = st.builds(Shared, st.none() | COOLDOWNS, st.integers(0, 12))


def merged(*told: Shared) -> Shared:
    health = Health()
    for one in told:
        health.merge(one)
    return health.shared()


@given(SHARED, SHARED)
def test_two_replicas_that_tell_each_other_agree(one: Shared, other: Shared) -> None:
    assert merged(one, other) == merged(other, one)


@given(st.lists(SHARED, max_size=5))
def test_hearing_what_one_knows_already_changes_nothing(told: list[Shared]) -> None:
    known = merged(*told)
    assert merged(*told, known) == merged(known) == known
    for one in told:
        assert merged(*told, one).ended_ms == known.ended_ms


@given(st.lists(SHARED, min_size=2, max_size=4))
def test_replicas_that_write_what_they_know_over_each_other_come_to_one_cooldown(known: list[Shared]) -> None:
    replicas = [Health() for _ in known]
    for health, one in zip(replicas, known, strict=True):
        health.merge(one)
    writing = list(range(len(known)))  # everybody at first; the bucket keeps the order
    for _ in range(5):
        values = [replicas[number].shared() for number in writing]
        last, writing = values[-1], []
        for number, health in enumerate(replicas):
            for value in values:
                health.merge(value)
                if health.shared() != value and (health.cooldown is not None or value.cooldown is not None):
                    writing.append(number)
        writing = list(dict.fromkeys(writing))
        if not writing:
            break
    assert not writing
    assert {health.cooldown for health in replicas} == {last.cooldown}


@given(st.lists(SHARED, min_size=1, max_size=5))
def test_a_cooldown_that_was_ended_stays_ended_whenever_it_is_heard_of(told: list[Shared]) -> None:
    ended = Shared(None, max(one.ended_ms for one in told) + 20)
    assert merged(*told, ended).cooldown is None
    assert merged(ended, *told).cooldown is None


def test_an_end_tells_others_of_a_cooldown_they_know_longer() -> None:
    one, other = busy(), Health()
    attempt(one, THROTTLED, T0, 60_000)
    other.merge(one.shared())
    assert other.verdict(T0 + 1) is Verdict.COOLING
    one.clear(T0 + 2)
    other.merge(one.shared())
    assert other.verdict(T0 + 2) is Verdict.UNPROVEN


def test_a_cooldown_that_begins_in_the_millisecond_in_which_another_ended_counts() -> None:
    health = busy()
    attempt(health, THROTTLED, T0)
    health.clear(T0)
    attempt(health, THROTTLED, T0)
    other = Health()
    other.merge(health.shared())
    assert other.verdict(T0) is Verdict.COOLING


def test_what_is_forbidden_blames_an_account_that_answers_others_only_when_it_goes_on() -> None:
    forbidden = router_pb2.OUTCOME_FORBIDDEN
    fresh, proven = Health(), busy()
    attempt(fresh, forbidden, T0)
    assert fresh.cooldown is not None
    assert fresh.cooldown.cause == router_pb2.CAUSE_REFUSED
    attempt(proven, forbidden, T0)
    assert proven.cooldown is None
    attempt(proven, forbidden, T0)
    assert proven.cooldown is not None
    assert proven.cooldown.cause == router_pb2.CAUSE_FAILING
