"""Unit tests of services.auth.holds."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.auth.holds import Credit, Hold, Reserve
from services.shared.pricing import Rates, Tokens

RATES = Rates(3, input=1_000, output=5_000, cache_read=100, cache_write_5m=1_250, cache_write_1h=2_000)
NANO = st.integers(0, 1_000)
HOLD_IDS = st.sampled_from([f"req_{number}" for number in range(8)])


def credit(granted_nano: int) -> Credit:
    return Credit("acme", "grant_1", granted_nano=granted_nano)


def test_a_hold_that_fits_exactly_is_placed() -> None:
    acme = credit(100)
    hold = acme.place("req_1", 100, RATES, 60.0)
    assert hold == Hold("req_1", "grant_1", 100, RATES, 60.0)
    assert acme.available_nano == 0


def test_a_hold_that_does_not_fit_is_not_placed() -> None:
    acme = credit(100)
    assert acme.place("req_1", 101, RATES, 60.0) is None
    assert acme.holds == {}
    assert acme.available_nano == 100


def test_a_hold_asked_for_twice_is_held_once() -> None:
    acme = credit(100)
    first = acme.place("req_1", 60, RATES, 60.0)
    assert acme.place("req_1", 60, RATES, 99.0) is first
    assert acme.held_nano == 60


def test_settling_charges_each_attempt_and_frees_the_rest() -> None:
    acme = credit(100)
    acme.place("req_1", 60, RATES, 60.0)
    assert acme.settle("req_1", [Tokens(input=7), Tokens(output=2)], 5.0) == 17
    assert (acme.settled_nano, acme.held_nano, acme.available_nano) == (17, 0, 83)
    assert acme.idle_since_s == 5.0


def test_releasing_a_hold_costs_nothing() -> None:
    acme = credit(100)
    acme.place("req_1", 60, RATES, 60.0)
    assert acme.settle("req_1", [], 5.0) == 0
    assert acme.available_nano == 100


def test_a_hold_is_settled_only_once() -> None:
    acme = credit(100)
    acme.place("req_1", 60, RATES, 60.0)
    acme.settle("req_1", [Tokens(input=7)], 5.0)
    assert acme.settle("req_1", [Tokens(input=7)], 6.0) is None
    assert acme.settled_nano == 7


def test_what_exceeds_the_hold_is_charged_and_stops_further_holds() -> None:
    acme = credit(100)
    acme.place("req_1", 100, RATES, 60.0)
    assert acme.settle("req_1", [Tokens(input=150)], 5.0) == 150
    assert acme.available_nano == -50
    assert acme.place("req_2", 1, RATES, 60.0) is None


def test_a_settled_hold_may_be_placed_anew() -> None:
    acme = credit(100)
    acme.place("req_1", 60, RATES, 60.0)
    acme.settle("req_1", [], 5.0)
    assert acme.place("req_1", 100, RATES, 60.0) is not None


def test_only_holds_whose_time_is_over_expire() -> None:
    acme = credit(100)
    acme.place("req_1", 10, RATES, 60.0)
    acme.place("req_2", 20, RATES, 61.0)
    assert acme.expire(59.9) == []
    assert [hold.hold_id for hold in acme.expire(60.0)] == ["req_1"]
    assert (acme.held_nano, acme.settled_nano) == (20, 0)


def test_a_hold_of_a_lost_grant_is_not_charged_to_the_new_one() -> None:
    acme = credit(100)
    acme.place("req_1", 60, RATES, 60.0)
    acme.settle("req_other", [], 1.0)
    acme.start_over("grant_2")
    assert acme.available_nano == -60  # the hold stands, and nothing is granted yet
    assert acme.settle("req_1", [Tokens(input=50)], 5.0) == 50
    assert (acme.settled_nano, acme.held_nano, acme.available_nano) == (0, 0, 0)


class CreditMachine(RuleBasedStateMachine):
    """Holds placed, settled and expired, and grants raised and lost, in any order, beside the plainest bookkeeping."""

    @initialize(granted=NANO)
    def begin(self, granted: int) -> None:
        self.credit = credit(granted)
        self.standing: dict[str, Hold] = {}
        self.granted, self.settled, self.now_s, self.grants = granted, 0, 0.0, 1

    def available(self) -> int:
        return self.granted - self.settled - sum(hold.amount_nano for hold in self.standing.values())

    @rule(hold_id=HOLD_IDS, amount=NANO, lives_s=st.integers(1, 5))
    def place(self, hold_id: str, amount: int, lives_s: int) -> None:
        before = self.available()
        hold = self.credit.place(hold_id, amount, RATES, self.now_s + lives_s)
        if hold_id in self.standing:
            assert hold is self.standing[hold_id]
        elif amount > before:
            assert hold is None
        else:
            assert hold == Hold(hold_id, f"grant_{self.grants}", amount, RATES, self.now_s + lives_s)
            self.standing[hold_id] = hold

    @rule(hold_id=HOLD_IDS, used=st.lists(st.builds(Tokens, input=NANO, output=st.integers(0, 100)), max_size=3))
    def settle(self, hold_id: str, used: list[Tokens]) -> None:
        cost = self.credit.settle(hold_id, used, self.now_s)
        hold = self.standing.pop(hold_id, None)
        if hold is None:
            assert cost is None
            return
        assert cost == sum(RATES.cost_nano(tokens) for tokens in used)
        if hold.grant_id == self.credit.grant_id:
            self.settled += cost

    @rule(seconds=st.integers(0, 3))
    def expire(self, seconds: int) -> None:
        self.now_s += seconds
        over = {hold_id for hold_id, hold in self.standing.items() if hold.expires_s <= self.now_s}
        assert {hold.hold_id for hold in self.credit.expire(self.now_s)} == over
        for hold_id in over:
            del self.standing[hold_id]

    @rule(amount=NANO)
    def raise_grant(self, amount: int) -> None:
        self.granted += amount
        self.credit.granted_nano += amount

    @rule()
    def lose_grant(self) -> None:
        self.grants += 1
        self.credit.start_over(f"grant_{self.grants}")
        self.granted = self.settled = 0

    @invariant()
    def what_is_held_is_the_sum_of_the_holds_that_stand(self) -> None:
        assert self.credit.holds == self.standing
        assert self.credit.held_nano == sum(hold.amount_nano for hold in self.standing.values())

    @invariant()
    def what_is_available_is_granted_less_settled_and_held(self) -> None:
        assert self.credit.available_nano == self.available()
        assert self.credit.settled_nano == self.settled
        assert self.credit.committed_nano == self.settled + self.credit.held_nano


TestCredit = CreditMachine.TestCase


def test_the_reserve_starts_small() -> None:
    assert Reserve().next_nano(100, 0.0) == 100 * Reserve.SMALLEST


def test_the_reserve_of_a_busy_tenant_doubles_up_to_a_limit() -> None:
    reserve = Reserve()
    reserve.next_nano(100, 0.0)
    factors = [reserve.next_nano(1, Reserve.FAST_S * 0.9 * turn) for turn in range(1, 40)]
    assert factors[:3] == [16, 32, 64]
    assert factors[-1] == Reserve.LARGEST


def test_the_reserve_of_a_tenant_that_became_quiet_halves_down_to_the_smallest() -> None:
    reserve = Reserve(factor=64, raised_s=0.0)
    assert [reserve.next_nano(1, Reserve.SLOW_S * 1.1 * turn) for turn in range(1, 6)] == [32, 16, 8, 8, 8]


@pytest.mark.parametrize("apart_s", [Reserve.FAST_S, Reserve.SLOW_S])
def test_the_reserve_stays_while_raises_come_at_a_good_pace(apart_s: float) -> None:
    reserve = Reserve(factor=64, raised_s=100.0)
    assert reserve.next_nano(1, 100.0 + apart_s) == 64
