"""Unit tests of services.auth.holds."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from services.auth.holds import Credit, Hold, Holds, Reserve
from services.shared.pricing import Rates, Tokens

RATES = Rates(3, input=1_000, output=5_000, cache_read=100, cache_write_5m=1_000, cache_write_1h=1_000)
"""A nano-dollar for an input token, five for one of output."""

NANO = st.integers(0, 1_000)
TOKENS = st.integers(0, 200)
HOLD_IDS = st.sampled_from([f"req_{number}" for number in range(8)])


def hold_of(hold_id: str, input_tokens: int, *lies_in: Credit, output_tokens: int = 0, expires_s: float = 60.0) -> Hold:
    key_id = lies_in[1].key_id if len(lies_in) > 1 else "key_free"
    return Hold(hold_id, key_id, "opus", RATES, input_tokens, output_tokens, lies_in, expires_s)


def test_a_hold_that_just_fits_is_placed() -> None:
    credit, holds = Credit("grant_1", granted_nano=100), Holds()
    hold = hold_of("req_1", 50, credit, output_tokens=10)
    assert holds.place(hold) is hold
    assert (hold.amount_nano, hold.grant_id, hold.key_grant_id) == (100, "grant_1", "")
    assert credit.available_nano == 0


def test_a_hold_that_does_not_fit_is_not_placed() -> None:
    credit, holds = Credit("grant_1", granted_nano=100), Holds()
    assert holds.place(hold_of("req_1", 101, credit)) is None
    assert holds.standing == {}
    assert credit.available_nano == 100


@pytest.mark.parametrize(("of_balance", "of_key"), [(100, 99), (99, 100)])
def test_a_hold_must_fit_into_the_balance_and_into_the_cap_of_its_key(of_balance: int, of_key: int) -> None:
    balance, cap = Credit("grant_1", granted_nano=of_balance), Credit("grant_2", "key_1", granted_nano=of_key)
    holds = Holds()
    assert holds.place(hold_of("req_1", 100, balance, cap)) is None
    assert (balance.held_nano, cap.held_nano) == (0, 0)
    hold = holds.place(hold_of("req_1", 99, balance, cap))
    assert hold is not None
    assert (balance.held_nano, cap.held_nano, hold.key_grant_id) == (99, 99, "grant_2")


def test_a_hold_asked_for_twice_is_held_once() -> None:
    credit, holds = Credit("grant_1", granted_nano=100), Holds()
    first = holds.place(hold_of("req_1", 60, credit))
    assert holds.place(hold_of("req_1", 60, credit, expires_s=99.0)) is first
    assert credit.held_nano == 60


def test_a_hold_grows_while_there_is_room_and_stands_as_it_was_when_there_is_not() -> None:
    credit, holds = Credit("grant_1", granted_nano=100), Holds()
    hold = hold_of("req_1", 10, credit, output_tokens=2)
    holds.place(hold)
    assert holds.extend(hold, 18)
    assert (hold.amount_nano, hold.output_tokens, credit.available_nano) == (100, 18, 0)
    assert not holds.extend(hold, 19)
    assert (hold.amount_nano, hold.output_tokens, credit.available_nano) == (100, 18, 0)


def test_a_hold_never_shrinks() -> None:
    credit, holds = Credit("grant_1", granted_nano=100), Holds()
    hold = hold_of("req_1", 10, credit, output_tokens=10)
    holds.place(hold)
    assert holds.extend(hold, 5)
    assert (hold.amount_nano, hold.output_tokens) == (60, 10)


def test_a_hold_that_is_taken_over_stands_even_where_it_does_not_fit_and_keeps_others_out() -> None:
    credit, holds = Credit("grant_1", granted_nano=100), Holds()
    holds.take_over(hold_of("req_1", 150, credit))
    assert credit.available_nano == -50
    assert holds.place(hold_of("req_2", 1, credit)) is None
    credit.granted_nano = 151
    assert holds.place(hold_of("req_2", 1, credit)) is not None


def test_settling_charges_each_attempt_and_frees_the_rest() -> None:
    balance, cap = Credit("grant_1", granted_nano=100), Credit("grant_2", "key_1", granted_nano=80)
    holds = Holds()
    holds.place(hold_of("req_1", 60, balance, cap))
    assert holds.settle("req_1", [Tokens(input=7), Tokens(output=2)], 5.0) == 17
    assert (balance.settled_nano, balance.held_nano, balance.available_nano) == (17, 0, 83)
    assert (cap.settled_nano, cap.held_nano, cap.available_nano) == (17, 0, 63)
    assert holds.idle_since_s == 5.0


def test_releasing_a_hold_costs_nothing() -> None:
    credit, holds = Credit("grant_1", granted_nano=100), Holds()
    holds.place(hold_of("req_1", 60, credit))
    assert holds.settle("req_1", [], 5.0) == 0
    assert credit.available_nano == 100


def test_a_hold_is_settled_only_once() -> None:
    credit, holds = Credit("grant_1", granted_nano=100), Holds()
    holds.place(hold_of("req_1", 60, credit))
    holds.settle("req_1", [Tokens(input=7)], 5.0)
    assert holds.settle("req_1", [Tokens(input=7)], 6.0) is None
    assert credit.settled_nano == 7


def test_what_exceeds_the_hold_is_charged_and_stops_further_holds() -> None:
    credit, holds = Credit("grant_1", granted_nano=100), Holds()
    holds.place(hold_of("req_1", 100, credit))
    assert holds.settle("req_1", [Tokens(input=150)], 5.0) == 150
    assert credit.available_nano == -50
    assert holds.place(hold_of("req_2", 1, credit)) is None


def test_only_holds_that_nobody_renewed_in_time_are_overdue() -> None:
    credit, holds = Credit("grant_1", granted_nano=100), Holds()
    holds.place(hold_of("req_1", 10, credit, expires_s=60.0))
    holds.place(hold_of("req_2", 20, credit, expires_s=61.0))
    assert holds.overdue(59.9) == []
    assert [hold.hold_id for hold in holds.overdue(60.0)] == ["req_1"]
    assert credit.held_nano == 30


def test_a_hold_of_a_lost_grant_is_charged_to_the_one_that_follows_it() -> None:
    credit, holds = Credit("grant_1", granted_nano=100), Holds()
    hold = hold_of("req_1", 60, credit)
    holds.place(hold)
    credit.start_over("grant_2")
    assert (credit.available_nano, hold.grant_id) == (-60, "grant_2")  # it stands, and nothing is granted yet
    assert holds.settle("req_1", [Tokens(input=50)], 5.0) == 50
    assert (credit.settled_nano, credit.held_nano, credit.available_nano) == (50, 0, -50)


class HoldsMachine(RuleBasedStateMachine):
    """Holds placed, grown, taken over and settled, grants raised, lowered and lost, in any order, beside the plainest
    bookkeeping: a balance and two keys with caps."""

    @initialize(granted=NANO, first_cap=NANO, second_cap=NANO)
    def begin(self, granted: int, first_cap: int, second_cap: int) -> None:
        self.credits = {
            "": Credit("grant_0", granted_nano=granted),
            "key_1": Credit("grant_1", "key_1", granted_nano=first_cap),
            "key_2": Credit("grant_2", "key_2", granted_nano=second_cap),
        }
        self.holds = Holds()
        self.granted = {key_id: credit.granted_nano for key_id, credit in self.credits.items()}
        self.settled = dict.fromkeys(self.credits, 0)
        self.amounts: dict[str, tuple[str, int]] = {}

    def lies_in(self, key_id: str) -> list[str]:
        return ["", key_id] if key_id else [""]

    def held(self, key_id: str) -> int:
        return sum(amount for of_key, amount in self.amounts.values() if key_id in self.lies_in(of_key))

    def available(self, key_id: str) -> int:
        return self.granted[key_id] - self.settled[key_id] - self.held(key_id)

    def new_hold(self, hold_id: str, key_id: str, input_tokens: int, output_tokens: int) -> Hold:
        lies_in = [self.credits[of_key] for of_key in self.lies_in(key_id)]
        return hold_of(hold_id, input_tokens, *lies_in, output_tokens=output_tokens)

    @rule(hold_id=HOLD_IDS, key_id=st.sampled_from(["", "key_1", "key_2"]), given=TOKENS, output=TOKENS)
    def place(self, hold_id: str, key_id: str, given: int, output: int) -> None:
        amount = given + 5 * output
        fits = all(amount <= self.available(of_key) for of_key in self.lies_in(key_id))
        placed = self.holds.place(self.new_hold(hold_id, key_id, given, output))
        if hold_id in self.amounts:
            assert placed is self.holds.standing[hold_id]
            return
        assert (placed is not None) == fits
        if fits:
            self.amounts[hold_id] = (key_id, amount)

    @rule(hold_id=HOLD_IDS, key_id=st.sampled_from(["", "key_1", "key_2"]), given=TOKENS)
    def take_over(self, hold_id: str, key_id: str, given: int) -> None:
        if hold_id not in self.amounts:
            self.holds.take_over(self.new_hold(hold_id, key_id, given, 0))
            self.amounts[hold_id] = (key_id, given)

    @rule(hold_id=HOLD_IDS, output=TOKENS)
    def extend(self, hold_id: str, output: int) -> None:
        hold = self.holds.standing.get(hold_id)
        if hold is None:
            return
        key_id, before = self.amounts[hold_id]
        amount = max(before, hold.input_tokens + 5 * output)
        fits = all(amount - before <= self.available(of_key) for of_key in self.lies_in(key_id))
        grew = self.holds.extend(hold, output)
        assert grew == (amount == before or fits)
        self.amounts[hold_id] = (key_id, amount if grew else before)

    @rule(hold_id=HOLD_IDS, used=st.lists(st.builds(Tokens, input=TOKENS, output=TOKENS), max_size=3))
    def settle(self, hold_id: str, used: list[Tokens]) -> None:
        cost = self.holds.settle(hold_id, used, 0.0)
        if hold_id not in self.amounts:
            assert cost is None
            return
        assert cost == sum(RATES.cost_nano(tokens) for tokens in used)
        key_id, _ = self.amounts.pop(hold_id)
        for of_key in self.lies_in(key_id):
            self.settled[of_key] += cost

    @rule(key_id=st.sampled_from(["", "key_1", "key_2"]), amount=NANO)
    def raise_grant(self, key_id: str, amount: int) -> None:
        self.granted[key_id] += amount
        self.credits[key_id].granted_nano += amount

    @rule(key_id=st.sampled_from(["", "key_1", "key_2"]))
    def lose_grant(self, key_id: str) -> None:
        self.credits[key_id].start_over("grant_new")
        self.granted[key_id] = self.settled[key_id] = 0

    @invariant()
    def what_is_held_is_the_sum_of_the_holds_that_stand(self) -> None:
        assert {hold_id: hold.amount_nano for hold_id, hold in self.holds.standing.items()} == {
            hold_id: amount for hold_id, (_, amount) in self.amounts.items()
        }
        for key_id, credit in self.credits.items():
            assert credit.held_nano == self.held(key_id)

    @invariant()
    def what_is_available_is_granted_less_settled_and_held(self) -> None:
        for key_id, credit in self.credits.items():
            assert credit.available_nano == self.available(key_id)
            assert credit.committed_nano == self.settled[key_id] + self.held(key_id)


TestHolds = HoldsMachine.TestCase


def test_the_reserve_starts_small() -> None:
    assert Reserve().next_nano(100, 0.0) == 100 * Reserve.SMALLEST


def test_the_reserve_of_a_busy_tenant_doubles_up_to_a_limit() -> None:
    reserve = Reserve()
    reserve.next_nano(100, 0.0)
    factors = [reserve.next_nano(1, Reserve.FAST_S * 0.9 * turn) for turn in range(1, 40)]
    assert factors[:3] == [16, 32, 64]
    assert factors[-1] == Reserve.LARGEST


def test_the_reserve_grows_to_what_would_have_lasted_but_eightfold_at_most() -> None:
    assert Reserve(factor=10, raised_s=0.0).next_nano(1, Reserve.FAST_S / 3) == 30
    assert Reserve(factor=10, raised_s=0.0).next_nano(1, Reserve.FAST_S / 10) == 80
    assert Reserve(factor=10, raised_s=0.0).next_nano(1, Reserve.RUSH_S / 2) == 20


def test_more_is_wanted_when_half_of_what_was_put_aside_is_left() -> None:
    reserve = Reserve(factor=64)
    assert reserve.low_nano(10) == 320
    reserve.aimed_nano = 100  # of a small balance
    assert reserve.low_nano(10) == 50


def test_the_reserve_of_a_tenant_that_became_quiet_halves_down_to_the_smallest() -> None:
    reserve = Reserve(factor=64, raised_s=0.0)
    assert [reserve.next_nano(1, Reserve.SLOW_S * 1.1 * turn) for turn in range(1, 6)] == [32, 16, 8, 8, 8]


@pytest.mark.parametrize("apart_s", [Reserve.FAST_S, Reserve.SLOW_S])
def test_the_reserve_stays_while_raises_come_at_a_good_pace(apart_s: float) -> None:
    reserve = Reserve(factor=64, raised_s=100.0)
    assert reserve.next_nano(1, 100.0 + apart_s) == 64
