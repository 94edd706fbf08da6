"""Unit tests of services.shared.gcra: exact for every amount, whenever it is asked."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.gcra import MINUTE_NS, Bucket

AMOUNTS = st.one_of(st.integers(1, 1_000), st.integers(1, 1_000_000_000), st.integers(1, 10**15))
MOMENTS = st.integers(0, 10**18)


def admitted(bucket: Bucket, amount: int, cost: int, now_ns: int) -> bool:
    if bucket.wait_ns(amount, cost, now_ns):
        return False
    bucket.take(amount, cost, now_ns)
    return True


@pytest.mark.parametrize("amount", [1, 7, 59, 60, 61, 999])
def test_a_limit_admits_exactly_so_many_at_once(amount: int) -> None:
    bucket = Bucket()
    assert sum(admitted(bucket, amount, 1, 5) for _ in range(amount + 3)) == amount


@given(AMOUNTS, MOMENTS, st.data())
def test_a_limit_admits_exactly_its_amount_at_once_in_whatever_parts(
    amount: int, now_ns: int, data: st.DataObject
) -> None:
    bucket, left = Bucket(), amount
    while left:
        cost = data.draw(st.integers(max(1, left // 4), left))
        assert admitted(bucket, amount, cost, now_ns)
        left -= cost
        assert bucket.remaining(amount, now_ns) == left
    assert not admitted(bucket, amount, 1, now_ns)


@given(AMOUNTS, MOMENTS)
def test_what_does_not_fit_fits_after_the_wait_and_not_a_nanosecond_before(amount: int, now_ns: int) -> None:
    bucket = Bucket()
    bucket.take(amount, amount, now_ns)
    wait_ns = bucket.wait_ns(amount, 1, now_ns)
    assert wait_ns == -(-MINUTE_NS // amount)
    assert bucket.wait_ns(amount, 1, now_ns + wait_ns - 1) == 1
    assert admitted(bucket, amount, 1, now_ns + wait_ns)


@given(
    AMOUNTS,
    st.lists(st.tuples(st.integers(0, 3 * MINUTE_NS), st.integers(1, 10**9)), max_size=40),
)
def test_it_is_the_leaky_bucket_of_exact_arithmetic(amount: int, asked: list[tuple[int, int]]) -> None:
    bucket, now_ns, level = Bucket(), 0, Fraction(0)
    for after_ns, cost in asked:
        now_ns += after_ns
        level = max(Fraction(0), level - Fraction(after_ns * amount, MINUTE_NS))
        fits = level + min(cost, amount) <= amount
        assert admitted(bucket, amount, cost, now_ns) == fits
        level += cost * fits
        assert bucket.remaining(amount, now_ns) == max(Fraction(0), amount - level).__floor__()
        assert bucket.reset_ns(now_ns) == (level * MINUTE_NS / amount).__ceil__()


@given(st.integers(1, 10**9), st.lists(st.integers(0, MINUTE_NS), max_size=60))
def test_never_more_than_a_burst_and_what_flowed_off_is_admitted(amount: int, pauses_ns: list[int]) -> None:
    bucket, now_ns, passed = Bucket(), 0, 0
    cost = max(1, amount // 5)
    for pause_ns in pauses_ns:
        now_ns += pause_ns
        passed += cost * admitted(bucket, amount, cost, now_ns)
        assert passed <= amount + Fraction(now_ns * amount, MINUTE_NS)


@given(AMOUNTS, st.integers(0, 10**9), st.integers(0, 10**9), MOMENTS)
def test_a_correction_leaves_what_the_truth_would_have_left(amount: int, said: int, true: int, now_ns: int) -> None:
    corrected, told = Bucket(), Bucket()
    corrected.take(amount, said, now_ns)
    corrected.correct(amount, true - said)
    told.take(amount, true, now_ns)
    for later_ns in (0, 1, 12_345, MINUTE_NS):
        assert corrected.remaining(amount, now_ns + later_ns) == told.remaining(amount, now_ns + later_ns)
        assert corrected.reset_ns(now_ns + later_ns) == told.reset_ns(now_ns + later_ns)


@given(AMOUNTS, st.integers(1, 10**9), MOMENTS)
def test_no_correction_makes_room_for_more_than_a_minutes_worth(amount: int, less: int, now_ns: int) -> None:
    bucket = Bucket()
    bucket.take(amount, 1, now_ns)
    bucket.correct(amount, -1 - less)
    assert bucket.remaining(amount, now_ns) == amount


@given(AMOUNTS, MOMENTS)
def test_more_than_a_minutes_worth_fits_once_it_is_empty(amount: int, now_ns: int) -> None:
    bucket = Bucket()
    assert admitted(bucket, amount, 3 * amount, now_ns)
    assert bucket.wait_ns(amount, 3 * amount, now_ns) == bucket.reset_ns(now_ns) == 3 * MINUTE_NS
    assert admitted(bucket, amount, 3 * amount, now_ns + 3 * MINUTE_NS)


def test_when_the_limit_is_raised_what_was_taken_stays_taken() -> None:
    bucket = Bucket()
    bucket.take(60, 60, 0)
    assert bucket.wait_ns(300, 1, 0) == 0
    assert bucket.remaining(300, 0) == 240


def test_when_the_limit_is_lowered_it_takes_no_longer_than_before() -> None:
    bucket = Bucket()
    bucket.take(1_000_000, 1_000_000, 0)
    assert bucket.wait_ns(40, 40, MINUTE_NS // 4) == MINUTE_NS * 3 // 4
    assert bucket.wait_ns(40, 1, MINUTE_NS // 4) == 0
    assert bucket.remaining(40, MINUTE_NS // 4) == 10


def test_a_limit_of_nothing_lets_nothing_pass() -> None:
    bucket = Bucket()
    assert (bucket.wait_ns(0, 1, 0), bucket.remaining(0, 0)) == (MINUTE_NS, 0)


def test_a_clock_that_reads_an_earlier_moment_changes_nothing() -> None:
    bucket = Bucket()
    bucket.take(60, 60, MINUTE_NS)
    assert bucket.wait_ns(60, 1, MINUTE_NS - 7) == MINUTE_NS // 60
    assert bucket.wait_ns(60, 1, MINUTE_NS) == MINUTE_NS // 60
