"""Unit tests of services.router.leases."""

from collections import Counter

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from services.router.accounts import Limits
from services.router.leases import CONCURRENT, INPUT_TOKENS, NOTHING, OUTPUT_TOKENS, REQUESTS, Leases, Used
from tests.unit.router.upstreams import FAMILY, MODEL, account

TTL_S = 10.0
LEASES = st.sampled_from([f"req_{number}:1" for number in range(6)])
A, B = account("acc_a"), account("acc_b")


def take(leases: Leases, lease_id: str, now_s: float, one: object = A, tokens: tuple[int, int] = (0, 0)) -> None:
    leases.take(lease_id, one, MODEL, FAMILY, now_s, *tokens)  # type: ignore[arg-type]


def test_an_account_counts_the_attempts_under_way_on_it() -> None:
    leases = Leases(TTL_S)
    take(leases, "req_1:1", 0.0)
    take(leases, "req_2:1", 0.0)
    assert leases.in_flight("acc_a") == 2
    assert leases.in_flight("acc_b") == 0
    lease = leases.standing("req_1:1")
    assert lease is not None
    assert (lease.account, lease.model, lease.family) == (A, MODEL, FAMILY)


def test_a_lease_ends_once() -> None:
    leases = Leases(TTL_S)
    take(leases, "req_1:1", 0.0)
    assert leases.end("req_1:1", 1.0)
    assert leases.end("req_1:1", 1.0) is None
    assert leases.in_flight("acc_a") == 0
    assert leases.standing("req_1:1") is None


def test_a_lease_taken_twice_counts_once_and_for_the_account_it_was_taken_on_last() -> None:
    leases = Leases(TTL_S)
    take(leases, "req_1:1", 0.0)
    take(leases, "req_1:1", 5.0, B)
    assert (leases.in_flight("acc_a"), leases.in_flight("acc_b"), len(leases)) == (0, 1, 1)
    assert not leases.expire(10.0)
    assert list(leases.expire(15.0)) == ["req_1:1"]


def test_a_limit_of_attempts_at_a_time_is_exact() -> None:
    leases, two = Leases(TTL_S), account("acc_a", limits=Limits(concurrent=2))
    for number in range(2):
        assert leases.reached(two, 0, 0, 0.0) == ""
        take(leases, f"req_{number}:1", 0.0, two)
    assert leases.reached(two, 0, 0, 0.0) == CONCURRENT
    leases.end("req_0:1", 1.0)
    assert leases.reached(two, 0, 0, 1.0) == ""


def test_sixty_requests_a_minute_are_sixty_and_the_next_one_fits_when_it_is_said_to() -> None:
    leases, sixty = Leases(TTL_S), account("acc_a", limits=Limits(requests=60))
    for number in range(60):
        assert leases.reached(sixty, 0, 0, 5.0) == ""
        take(leases, f"req_{number}:1", 5.0, sixty)
        leases.end(f"req_{number}:1", 5.0)
    assert leases.reached(sixty, 0, 0, 5.0) == REQUESTS
    assert leases.fits_ms(sixty, 0, 0, 5.0) == 1_000
    assert leases.reached(sixty, 0, 0, 5.999) == REQUESTS
    assert leases.reached(sixty, 0, 0, 6.0) == ""


@pytest.mark.parametrize(
    ("limits", "tokens", "reached"),
    [(Limits(input_tokens=1000), (600, 9), INPUT_TOKENS), (Limits(output_tokens=1000), (9, 600), OUTPUT_TOKENS)],
)
def test_tokens_are_reserved_by_estimate_and_corrected_by_what_was_used(
    limits: Limits, tokens: tuple[int, int], reached: str
) -> None:
    leases, limited = Leases(TTL_S), account("acc_a", limits=limits)
    take(leases, "req_1:1", 0.0, limited, tokens)
    assert leases.reached(limited, *tokens, 0.0) == reached
    assert leases.fits_ms(limited, *tokens, 0.0) == 12_000
    leases.end("req_1:1", 0.0, Used(100, 100))
    assert leases.reached(limited, *tokens, 0.0) == ""
    take(leases, "req_2:1", 0.0, limited, tokens)
    leases.end("req_2:1", 0.0, Used(900, 900))
    assert leases.reached(limited, 1, 1, 0.0) == reached


def test_what_was_not_used_is_given_back_unless_time_gave_it_back_already() -> None:
    leases, limited = Leases(1_000.0), account("acc_a", limits=Limits(requests=60))
    for number in range(60):
        take(leases, f"req_{number}:1", 0.0, limited)
    leases.end("req_0:1", 0.0, NOTHING)
    assert leases.reached(limited, 0, 0, 0.0) == ""
    for number in range(60, 120):  # the minute is over, the bucket is full
        take(leases, f"req_{number}:1", 61.0, limited)
    leases.end("req_1:1", 61.0, NOTHING)
    assert leases.reached(limited, 0, 0, 61.0) == REQUESTS


class LeaseMachine(RuleBasedStateMachine):
    """Leases taken, ended and expired in any order, beside the plainest bookkeeping."""

    def __init__(self) -> None:
        super().__init__()
        self.leases = Leases(TTL_S)
        self.standing: dict[str, tuple[str, float]] = {}
        self.now_s = 0.0

    @rule(lease_id=LEASES, one=st.sampled_from([A, B]))
    def take(self, lease_id: str, one: object) -> None:
        take(self.leases, lease_id, self.now_s, one)
        self.standing.pop(lease_id, None)
        self.standing[lease_id] = (one.upstream_account_id, self.now_s + TTL_S)  # type: ignore[attr-defined]

    @rule(lease_id=LEASES)
    def end(self, lease_id: str) -> None:
        assert (self.leases.end(lease_id, self.now_s) is None) == (self.standing.pop(lease_id, None) is None)

    @rule(seconds=st.integers(0, 6))
    def expire(self, seconds: int) -> None:
        self.now_s += seconds
        over = [lease_id for lease_id, (_, until_s) in self.standing.items() if until_s <= self.now_s]
        assert list(self.leases.expire(self.now_s)) == over
        for lease_id in over:
            del self.standing[lease_id]

    @invariant()
    def what_is_in_flight_is_what_stands(self) -> None:
        counted = Counter(account_id for account_id, _ in self.standing.values())
        for account_id in ("acc_a", "acc_b"):
            assert self.leases.in_flight(account_id) == counted[account_id]
        assert len(self.leases) == len(self.standing)
        for lease_id, (account_id, _) in self.standing.items():
            lease = self.leases.standing(lease_id)
            assert lease is not None
            assert lease.account.upstream_account_id == account_id


TestLeases = LeaseMachine.TestCase

LIMITS = Limits(concurrent=3, requests=6, input_tokens=600)


class LimitMachine(RuleBasedStateMachine):
    """Attempts taken only where no limit is reached: over any stretch of time none is exceeded, tokens by
    no more than what was estimated too high."""

    def __init__(self) -> None:
        super().__init__()
        self.leases = Leases(10_000.0)
        self.account = account("acc_a", limits=LIMITS)
        self.now_s = 0.0
        self.number = 0
        self.under_way: list[tuple[str, int, float]] = []
        self.went: list[tuple[float, int, int]] = []
        """When each attempt went, what it counted as requests, and as input tokens."""
        self.given_back = 0

    @rule(tokens=st.integers(0, LIMITS.input_tokens))
    def ask(self, tokens: int) -> None:
        if self.leases.reached(self.account, tokens, 0, self.now_s):
            return
        self.number += 1
        lease_id = f"req_{self.number}:1"
        take(self.leases, lease_id, self.now_s, self.account, (tokens, 0))
        self.under_way.append((lease_id, tokens, self.now_s))

    @precondition(lambda self: self.under_way)
    @rule(share=st.floats(0, 1), unused=st.booleans())
    def end(self, share: float, unused: bool) -> None:
        lease_id, tokens, went_s = self.under_way.pop(0)
        used = 0 if unused else int(tokens * share)
        self.leases.end(lease_id, self.now_s, NOTHING if unused else Used(used, 0))
        self.went.append((went_s, int(not unused), used))
        self.given_back += tokens - used

    @rule(seconds=st.sampled_from([0.5, 5.0, 20.0, 61.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @invariant()
    def no_limit_is_exceeded(self) -> None:
        assert len(self.under_way) <= LIMITS.concurrent
        went = self.went + [(went_s, 1, tokens) for _, tokens, went_s in self.under_way]
        for began_s, _, _ in went:
            for ended_s, _, _ in went:
                within = [row for row in went if began_s <= row[0] <= ended_s]
                minutes = 1 + max(0.0, ended_s - began_s) / 60
                assert sum(row[1] for row in within) <= LIMITS.requests * minutes + 1e-6
                assert sum(row[2] for row in within) <= LIMITS.input_tokens * minutes + self.given_back + 1e-6


TestLimits = LimitMachine.TestCase
