"""Unit tests of services.router.leases."""

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.router.leases import Leases

TTL_S = 10.0
LEASES = st.sampled_from([f"req_{number}:1" for number in range(6)])
ACCOUNTS = st.sampled_from(["acc_a", "acc_b"])


def test_an_account_counts_the_attempts_under_way_on_it() -> None:
    leases = Leases(TTL_S)
    leases.take("req_1:1", "acc_a", 0.0)
    leases.take("req_2:1", "acc_a", 0.0)
    assert leases.in_flight("acc_a") == 2
    assert leases.in_flight("acc_b") == 0
    assert leases.held_by("req_1:1") == "acc_a"


def test_a_lease_ends_once() -> None:
    leases = Leases(TTL_S)
    leases.take("req_1:1", "acc_a", 0.0)
    assert leases.end("req_1:1")
    assert not leases.end("req_1:1")
    assert leases.in_flight("acc_a") == 0
    assert leases.held_by("req_1:1") is None


def test_a_lease_taken_twice_counts_once_and_for_the_account_it_was_taken_on_last() -> None:
    leases = Leases(TTL_S)
    leases.take("req_1:1", "acc_a", 0.0)
    leases.take("req_1:1", "acc_b", 5.0)
    assert (leases.in_flight("acc_a"), leases.in_flight("acc_b"), len(leases)) == (0, 1, 1)
    assert leases.expire(10.0) == 0
    assert leases.expire(15.0) == 1


class LeaseMachine(RuleBasedStateMachine):
    """Leases taken, ended and expired in any order, beside the plainest bookkeeping."""

    def __init__(self) -> None:
        super().__init__()
        self.leases = Leases(TTL_S)
        self.standing: dict[str, tuple[str, float]] = {}
        self.now_s = 0.0

    @rule(lease_id=LEASES, account_id=ACCOUNTS)
    def take(self, lease_id: str, account_id: str) -> None:
        self.leases.take(lease_id, account_id, self.now_s)
        self.standing[lease_id] = (account_id, self.now_s + TTL_S)

    @rule(lease_id=LEASES)
    def end(self, lease_id: str) -> None:
        assert self.leases.end(lease_id) == (self.standing.pop(lease_id, None) is not None)

    @rule(seconds=st.integers(0, 6))
    def expire(self, seconds: int) -> None:
        self.now_s += seconds
        over = [lease_id for lease_id, (_, until_s) in self.standing.items() if until_s <= self.now_s]
        assert self.leases.expire(self.now_s) == len(over)
        for lease_id in over:
            del self.standing[lease_id]

    @invariant()
    def what_is_in_flight_is_what_stands(self) -> None:
        counted = Counter(account_id for account_id, _ in self.standing.values())
        assert [self.leases.in_flight(account_id) for account_id in ("acc_a", "acc_b")] == [
            counted["acc_a"],
            counted["acc_b"],
        ]
        assert len(self.leases) == len(self.standing)
        for lease_id, (account_id, _) in self.standing.items():
            assert self.leases.held_by(lease_id) == account_id


TestLeases = LeaseMachine.TestCase
