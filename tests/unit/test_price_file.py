"""Unit tests of services.price_file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.price_file import Faults, parse, render
from tollhouse.v1 import billing_pb2

NOW_MS = 1_790_000_000_000
LATER_MS = 1_800_000_000_000
ACCOUNTS = {"mine": "acc_1"}
EXAMPLE = """
models:
  opus: {input: 15, output: 75}
  picture: {input: 0, output: 0, request: 0.04}
  sonnet:
    - {input: 3, output: 15, cache_read: 0.3, cache_write_5m: 3.75, cache_write_1h: 6}
    - {input: 2.5, output: 12.5, from: 2027-01-15T08:00:00Z}
multipliers:
  all: 1.5
  brand: {cc: 0.5}
  group: {economy: {multiplier: 0.7, from: 2027-01-15T08:00:00Z}}
costs:
  "*": {opus: {input: 12, output: 60}}
  mine: {opus: {input: 10, output: 50}}
"""


def test_a_file_says_prices_multipliers_and_costs() -> None:
    book = parse(EXAMPLE, ACCOUNTS)
    opus, picture, sonnet, later = book.prices
    assert (opus.model, opus.input_pico, opus.output_pico) == ("opus", 15_000_000, 75_000_000)
    assert (opus.cache_read_pico, opus.cache_write_5m_pico, opus.cache_write_1h_pico) == (
        1_500_000,
        18_750_000,
        30_000_000,
    )
    assert picture.request_pico == 40_000_000_000
    assert (sonnet.effective_ms, later.effective_ms, later.input_pico) == (0, LATER_MS, 2_500_000)
    assert [(m.scope, m.name, m.ppm, m.effective_ms) for m in book.multipliers] == [
        ("all", "", 1_500_000, 0),
        ("brand", "cc", 500_000, 0),
        ("group", "economy", 700_000, LATER_MS),
    ]
    assert [(c.upstream_account_id, c.rates.model, c.rates.input_pico) for c in book.costs] == [
        ("", "opus", 12_000_000),
        ("acc_1", "opus", 10_000_000),
    ]


@pytest.mark.parametrize("text", ["", "models:", "{}"])
def test_an_empty_file_says_nothing(text: str) -> None:
    assert parse(text, {}) == billing_pb2.PriceBook()


def test_every_fault_is_told_with_its_place() -> None:
    text = """
models:
  a: {input: 1.23456789, output: x, colour: red}
  b: {output: -1}
  c: 5
multipliers: {planet: {x: 1}, plan: {pro: 0}}
costs: {nobody: {a: {input: 1, output: 1}}}
prices: {}
"""
    with pytest.raises(Faults) as faults:
        parse(text, {})
    told = str(faults.value).splitlines()
    for place in (
        "models.a.input:",
        "models.a.output:",
        "models.a.colour:",
        "models.b.input: is missing",
        "models.b.output: is below 0",
        "models.c: must be a mapping",
        "multipliers.planet:",
        "multipliers.plan.pro: must be above 0",
        "costs.nobody: there is no upstream account",
        "prices: is none of",
    ):
        assert any(line.startswith(place) for line in told), place


def test_a_model_that_stands_twice_is_refused() -> None:
    with pytest.raises(Faults, match="'a' stands here twice"):
        parse("models: {a: {input: 1, output: 1}, a: {input: 2, output: 2}}", {})


def test_what_is_no_yaml_is_said_to_be_none() -> None:
    with pytest.raises(Faults, match="not YAML"):
        parse("models: [", {})


PICO = st.integers(0, 10**12)
PRICES = st.builds(
    billing_pb2.Price,
    model=st.sampled_from(["opus", "x/y-1.5", "1e5", "yes", "null"]),
    input_pico=PICO,
    output_pico=PICO,
    cache_read_pico=PICO,
    cache_write_5m_pico=PICO,
    cache_write_1h_pico=PICO,
    request_pico=st.integers(0, 10**9).map(lambda number: number * 10**6),
    effective_ms=st.sampled_from([0, LATER_MS]),
)
MULTIPLIERS = st.builds(
    billing_pb2.Multiplier,
    scope=st.sampled_from(["brand", "plan", "group"]),
    name=st.sampled_from(["cc", "0.5", "true"]),
    ppm=st.integers(1, 10**8),
    effective_ms=st.sampled_from([0, LATER_MS]),
)
COSTS = st.builds(billing_pb2.Cost, upstream_account_id=st.sampled_from(["", "acc_1"]), rates=PRICES)
BOOKS = st.builds(
    billing_pb2.PriceBook,
    prices=st.lists(PRICES, max_size=4),
    multipliers=st.lists(MULTIPLIERS, max_size=4),
    costs=st.lists(COSTS, max_size=4),
)


@given(BOOKS)
def test_what_is_written_is_read_again(book: billing_pb2.PriceBook) -> None:
    names = {account_id: name for name, account_id in ACCOUNTS.items()}
    again = parse(render(book, names, NOW_MS), ACCOUNTS)

    def texts(rows: object) -> list[str]:
        return sorted(str(row) for row in rows)  # type: ignore[attr-defined]

    assert texts(again.prices) == texts(book.prices)
    assert texts(again.multipliers) == texts(book.multipliers)
    assert texts(again.costs) == texts(book.costs)


def test_a_misspelt_key_of_a_multiplier_is_a_fault() -> None:
    with pytest.raises(Faults, match=r"multipliers\.all\.form: is none of from, multiplier"):
        parse("multipliers:\n  all: {multiplier: 0.5, form: 2027-01-01T00:00:00Z}\n", ACCOUNTS)
