"""Unit tests of services.ledger.periods."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ledger.periods import DAY, HOUR, Period, span

NOW = datetime(2026, 3, 5, 14, 30, tzinfo=UTC)
INSTANTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001


def test_without_limits_it_is_the_last_day_of_hours_and_the_last_month_of_days() -> None:
    assert span(HOUR, None, None, NOW) == (NOW.replace(day=4, hour=15, minute=0), NOW.replace(hour=15, minute=0))
    end = NOW.replace(day=6, hour=0, minute=0)
    assert span(DAY, None, None, NOW) == (end - timedelta(days=30), end)


def test_an_end_on_a_full_hour_adds_no_hour() -> None:
    begin, end = NOW.replace(hour=10, minute=0), NOW.replace(hour=12, minute=0)
    assert span(HOUR, begin, end, NOW) == (begin, end)


@pytest.mark.parametrize(("period", "most"), [(HOUR, 31), (DAY, 366)])
def test_too_much_time_is_refused(period: Period, most: int) -> None:
    end = datetime(2026, 3, 5, tzinfo=UTC)
    assert span(period, end - timedelta(days=most), end, NOW)
    with pytest.raises(ValueError, match="more than"):
        span(period, end - timedelta(days=most, seconds=1), end, NOW)


def test_an_end_before_its_beginning_is_refused() -> None:
    with pytest.raises(ValueError, match="not before"):
        span(HOUR, NOW, NOW - timedelta(hours=2), NOW)


@given(INSTANTS, st.timedeltas(timedelta(seconds=1), timedelta(days=29)), st.sampled_from([HOUR, DAY]))
def test_whole_buckets_hold_all_that_was_asked_for(begin: datetime, length: timedelta, period: Period) -> None:
    first, last = span(period, begin, begin + length, NOW)
    assert first <= begin < begin + length <= last
    assert (last - first) % period.length == timedelta(0)
    assert begin - first < period.length
    assert last - (begin + length) < period.length
