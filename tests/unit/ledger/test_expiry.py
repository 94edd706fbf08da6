"""Unit tests of services.ledger.expiry."""

from hypothesis import given
from hypothesis import strategies as st

from services.ledger.expiry import SETTLE_S, Expiry

TTL_S = 30.0
DATABASE_S = 1_790_000_000.0
"""What the database's clock says when the monotonic one is at 0."""


def looked(expiry: Expiry, at_s: float, last: int, booked: int) -> None:
    expiry.look(at_s, DATABASE_S + at_s, last, booked)


def test_nothing_expires_before_anything_was_seen() -> None:
    expiry = Expiry(TTL_S)
    assert expiry.abandoned_until_s() is None
    assert expiry.unrenewed_until_s() is None


def test_an_abandoned_grant_ends_when_everything_published_well_after_its_end_is_booked() -> None:
    expiry = Expiry(TTL_S)
    looked(expiry, 10, 7, 5)
    assert expiry.abandoned_until_s() is None
    looked(expiry, 11, 8, 6)
    assert expiry.abandoned_until_s() is None
    looked(expiry, 12, 9, 7)
    assert expiry.abandoned_until_s() == DATABASE_S + 10 - SETTLE_S
    looked(expiry, 13, 9, 9)
    assert expiry.abandoned_until_s() == DATABASE_S + 13 - SETTLE_S


def test_a_grant_that_nobody_abandoned_ends_only_after_its_holder_had_a_whole_ttl_to_renew_it() -> None:
    expiry = Expiry(TTL_S)
    for at_s in range(30):
        looked(expiry, at_s, 1, 1)
        assert expiry.unrenewed_until_s() is None
    looked(expiry, 30, 1, 1)
    assert expiry.unrenewed_until_s() == expiry.abandoned_until_s() == DATABASE_S + 30 - SETTLE_S


def test_a_ledger_that_was_blind_begins_anew() -> None:
    expiry = Expiry(TTL_S)
    for at_s in range(40):
        looked(expiry, at_s, 1, 1)
    expiry.blind()
    assert expiry.abandoned_until_s() is None
    assert expiry.unrenewed_until_s() is None
    looked(expiry, 41, 5, 2)
    assert expiry.abandoned_until_s() is None
    looked(expiry, 42, 5, 5)
    assert expiry.abandoned_until_s() == DATABASE_S + 42 - SETTLE_S
    assert expiry.unrenewed_until_s() is None


def test_a_ledger_that_stood_still_gives_holders_their_time_anew() -> None:
    expiry = Expiry(TTL_S)
    for at_s in range(40):
        looked(expiry, at_s, 1, 1)
    looked(expiry, 50, 1, 1)
    assert expiry.unrenewed_until_s() is None
    assert expiry.abandoned_until_s() == DATABASE_S + 50 - SETTLE_S


def test_a_ledger_that_lags_for_long_forgets_the_oldest_and_stays_right() -> None:
    expiry = Expiry(TTL_S)
    for at_s in range(2000):
        looked(expiry, at_s, at_s + 1, 0)
    looked(expiry, 2000, 2001, 500)
    assert expiry.abandoned_until_s() is None
    looked(expiry, 2001, 2002, 1999)
    assert expiry.abandoned_until_s() == DATABASE_S + 1998 - SETTLE_S


@given(st.lists(st.tuples(st.floats(0.5, 4), st.integers(0, 5), st.integers(0, 8)), max_size=60))
def test_no_grant_ends_while_something_published_within_its_time_to_settle_is_not_booked(
    steps: list[tuple[float, int, int]],
) -> None:
    expiry, now_s, published, booked = Expiry(TTL_S), 0.0, [], 0
    for pause_s, more, progress in steps:
        now_s += pause_s
        published += [now_s - pause_s / 2] * more
        booked = min(len(published), booked + progress)
        looked(expiry, now_s, len(published), booked)
        until_s = expiry.abandoned_until_s()
        if until_s is not None:
            for unbooked_s in published[booked:]:
                assert DATABASE_S + unbooked_s > until_s + SETTLE_S - 1e-6
