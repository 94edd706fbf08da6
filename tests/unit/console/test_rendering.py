"""Unit tests of services.console.rendering and of the templates' words."""

from datetime import UTC, datetime

from services.auth.brands import PAGE_WORDS
from services.console.rendering import _WORDS, count, instant, iso
from services.shared.money import rounded_dollars


def test_every_word_that_a_brand_may_choose_has_a_usual_one() -> None:
    assert _WORDS.keys() == PAGE_WORDS


def test_moments_are_shown_in_utc_whatever_they_come_as() -> None:
    at = datetime(2026, 11, 2, 3, 4, 5, tzinfo=UTC)
    assert instant(at) == instant(int(at.timestamp() * 1000)) == "2 Nov 2026, 03:04"
    assert iso(at) == "2026-11-02T03:04:05+00:00"


def test_numbers_have_their_thousands_apart() -> None:
    assert count(1234567) == "1,234,567"


def test_amounts_are_rounded_for_a_glance_and_small_ones_stay_visible() -> None:
    shown = {
        0: "$0.00",
        10_000_000_000: "$10.00",
        1_234_567_890_123: "$1,234.57",
        995_000_000: "$1.00",
        100_000_000: "$0.10",
        18_250_000: "$0.0183",
        49_999: "$0.0000",
        -2_500_000_000: "-$2.50",
    }
    assert {nano: rounded_dollars(nano) for nano in shown} == shown
