"""Unit tests of services.shared.pricing."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from services.shared.pricing import Rates, Tokens, combined_ppm

COUNTS = st.integers(0, 1 << 32)
PICO = st.integers(0, 10**9)  # up to $1,000 for a million tokens
RATES = st.builds(
    Rates, st.integers(1, 99), input=PICO, output=PICO, cache_read=PICO, cache_write_5m=PICO, cache_write_1h=PICO
)
TOKENS = st.builds(Tokens, input=COUNTS, output=COUNTS, cache_read=COUNTS, cache_write_5m=COUNTS, cache_write_1h=COUNTS)
OPUS = Rates(
    7,
    input=15_000_000,
    output=75_000_000,
    cache_read=1_500_000,
    cache_write_5m=18_750_000,
    cache_write_1h=30_000_000,
)


def exact_pico(rates: Rates, tokens: Tokens) -> int:
    return (
        tokens.input * rates.input
        + tokens.output * rates.output
        + tokens.cache_read * rates.cache_read
        + tokens.cache_write_5m * rates.cache_write_5m
        + tokens.cache_write_1h * rates.cache_write_1h
    )


def added(one: Tokens, other: Tokens) -> Tokens:
    return Tokens(
        one.input + other.input,
        one.output + other.output,
        one.cache_read + other.cache_read,
        one.cache_write_5m + other.cache_write_5m,
        one.cache_write_1h + other.cache_write_1h,
    )


def test_each_token_class_costs_its_own_rate() -> None:
    assert OPUS.cost_nano(Tokens(input=1)) == 15_000
    assert OPUS.cost_nano(Tokens(output=1)) == 75_000
    assert OPUS.cost_nano(Tokens(cache_read=1)) == 1_500
    assert OPUS.cost_nano(Tokens(cache_write_5m=1)) == 18_750
    assert OPUS.cost_nano(Tokens(cache_write_1h=1)) == 30_000


def test_classes_are_added_before_the_one_rounding() -> None:
    rates = Rates(1, input=400, output=400, cache_read=400, cache_write_5m=400, cache_write_1h=400)
    assert rates.cost_nano(Tokens(input=1)) == 0
    assert rates.cost_nano(Tokens(1, 1, 1, 1, 1)) == 2


@given(RATES, TOKENS)
def test_a_cost_is_the_exact_price_rounded_half_up_and_never_negative(rates: Rates, tokens: Tokens) -> None:
    cost = rates.cost_nano(tokens)
    off = cost - Fraction(exact_pico(rates, tokens), 1000)
    assert cost >= 0
    assert Fraction(-1, 2) < off <= Fraction(1, 2)


@given(RATES, TOKENS, TOKENS)
def test_costs_add_up_within_a_nano_dollar(rates: Rates, one: Tokens, other: Tokens) -> None:
    assert abs(rates.cost_nano(added(one, other)) - rates.cost_nano(one) - rates.cost_nano(other)) <= 1


@given(RATES, TOKENS, st.data())
def test_a_hold_covers_whatever_is_used_within_its_bounds(rates: Rates, tokens: Tokens, data: st.DataObject) -> None:
    used_input = tokens.input + tokens.cache_read + tokens.cache_write_5m + tokens.cache_write_1h
    input_at_most = used_input + data.draw(COUNTS)
    output_at_most = tokens.output + data.draw(COUNTS)
    assert rates.cost_nano(tokens) <= rates.hold_nano(input_at_most, output_at_most)


@given(RATES, COUNTS, COUNTS)
def test_a_hold_is_no_larger_than_the_dearest_request_within_its_bounds(rates: Rates, input_: int, output: int) -> None:
    classes = [
        Tokens(input=input_, output=output),
        Tokens(output=output, cache_read=input_),
        Tokens(output=output, cache_write_5m=input_),
        Tokens(output=output, cache_write_1h=input_),
    ]
    assert rates.hold_nano(input_, output) == max(rates.cost_nano(tokens) for tokens in classes)


@given(RATES.filter(lambda rates: rates.output > 0), COUNTS, st.integers(0, 10**16))
def test_the_affordable_output_is_affordable_and_one_token_more_is_not(
    rates: Rates, input_tokens: int, available_nano: int
) -> None:
    affordable = rates.affordable_output_tokens(input_tokens, available_nano)
    assert affordable >= 0
    if affordable:
        assert rates.hold_nano(input_tokens, affordable) <= available_nano
    assert rates.hold_nano(input_tokens, affordable + 1) > available_nano


def test_output_that_costs_less_than_a_nano_dollar_is_affordable_up_to_the_rounding() -> None:
    rates = Rates(1, input=0, output=80, cache_read=0, cache_write_5m=0, cache_write_1h=0)
    assert rates.affordable_output_tokens(0, 1) == 18  # 1,440 pico-dollars are rounded to 1 nano-dollar, 1,520 to 2


def test_no_output_is_affordable_where_the_input_is_not() -> None:
    assert OPUS.affordable_output_tokens(1_000_000, 1_000) == 0


def test_free_output_says_nothing_of_how_many_tokens_are_affordable() -> None:
    rates = Rates(1, input=1, output=0, cache_read=0, cache_write_5m=0, cache_write_1h=0)
    assert rates.affordable_output_tokens(10_000, 0) == 0


PPM = st.integers(1, 100_000_000)


@given(st.lists(PPM, max_size=4))
def test_multipliers_of_several_scopes_are_one_rounded_once(ppms: list[int]) -> None:
    exact = Fraction(1_000_000)
    for ppm in ppms:
        exact *= Fraction(ppm, 1_000_000)
    expected = min(max(1, (2 * exact + 1) // 2), 1_000_000_000)
    assert combined_ppm(*ppms) == combined_ppm(*reversed(ppms)) == expected


def test_half_the_price_costs_half() -> None:
    rates = Rates(
        1, input=3_000_000, output=0, cache_read=0, cache_write_5m=0, cache_write_1h=0, multiplier_ppm=500_000
    )
    assert rates.cost_nano(Tokens(input=10)) == 15_000
    assert rates.hold_nano(10, 0) == 15_000
    assert Rates(1, 0, 0, 0, 0, 0, request=40_000_000_000).cost_nano(Tokens(requests=1)) == 40_000_000
