"""Unit tests of services.shared.clock."""

from datetime import UTC, datetime

from services.shared import clock


def test_now_is_told_in_unix_milliseconds_and_in_utc_alike() -> None:
    before_ms = clock.now_ms()
    told = clock.now_iso()
    after_ms = clock.now_ms()
    assert told.endswith("Z")
    assert len(told) == len("2026-01-01T00:00:00.000Z")
    at_ms = round(datetime.fromisoformat(told).astimezone(UTC).timestamp() * 1000)
    assert before_ms <= at_ms <= after_ms


def test_the_monotonic_clock_never_goes_back() -> None:
    readings = [clock.monotonic_s() for _ in range(1000)]
    assert readings == sorted(readings)
