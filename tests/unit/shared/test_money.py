"""Unit tests of services.shared.money."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.shared.money import (
    dollars,
    micro_from_nano,
    most_pico,
    nano_from_dollars,
    nano_from_pico,
    pico_from_dollars_a_million,
)


@pytest.mark.parametrize(("pico", "nano"), [(0, 0), (499, 0), (500, 1), (1_499, 1), (1_500, 2), (2_500, 3)])
def test_a_half_is_rounded_up(pico: int, nano: int) -> None:
    assert nano_from_pico(pico) == nano
    assert micro_from_nano(pico) == nano


@given(st.integers(0, 10**40))
def test_rounding_is_never_off_by_more_than_a_half(pico: int) -> None:
    off = nano_from_pico(pico) - Fraction(pico, 1000)
    assert Fraction(-1, 2) < off <= Fraction(1, 2)


@given(st.integers(0, 10**30))
def test_the_most_pico_of_an_amount_is_the_last_that_rounds_to_it(nano: int) -> None:
    assert nano_from_pico(most_pico(nano)) == nano
    assert nano_from_pico(most_pico(nano) + 1) == nano + 1


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.00"),
        (10_000_000_000, "$10.00"),
        (9_999_000_000, "$9.999"),
        (1, "$0.000000001"),
        (-1_500_000_000, "-$1.50"),
    ],
)
def test_dollars_are_written_as_people_write_them(nano: int, text: str) -> None:
    assert dollars(nano) == text


@given(st.integers(0, 10**27))
def test_what_was_written_reads_back_as_the_same_amount(nano: int) -> None:
    assert nano_from_dollars(dollars(nano)) == nano
    assert nano_from_dollars(f" {dollars(nano).removeprefix('$')}\n") == nano


@pytest.mark.parametrize(("text", "pico"), [("3", 3_000_000), ("0.80", 800_000), ("$0.000001", 1), ("0", 0)])
def test_a_price_for_a_million_tokens_becomes_pico_dollars_a_token(text: str, pico: int) -> None:
    assert pico_from_dollars_a_million(text) == pico


@pytest.mark.parametrize(
    "text",
    ["", ".", "-", "ten", "NaN", "-Infinity", "inf", "1e999999", "1e9", "1_0", "١٠", "1,000", "$", "$$1", "1.2.3"],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount"):
        nano_from_dollars(text)


@pytest.mark.parametrize("text", ["1e999990", "9" * 1_000_000, f"0.{'9' * 1_000_000}"])
def test_an_amount_that_would_take_minutes_to_read_is_refused_without_reading_it(text: str) -> None:
    with pytest.raises(ValueError, match="not an amount") as refused:
        nano_from_dollars(text)
    assert len(str(refused.value)) < 100


@pytest.mark.parametrize("text", ["0.0000000001", "1.9999999999", "1.00000000000000000000000000000000001"])
def test_more_decimals_than_are_kept_are_refused_and_never_rounded(text: str) -> None:
    with pytest.raises(ValueError):
        nano_from_dollars(text)


@given(st.text(max_size=40))
def test_any_text_is_an_amount_or_a_value_error(text: str) -> None:
    try:
        amount = nano_from_dollars(text)
    except ValueError:
        return
    assert isinstance(amount, int)
