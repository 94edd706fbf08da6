"""Unit tests of what a price book's rows come to when they are applied."""

from services.ledger.store.prices import MultiplierRow, PriceRow, to_apply
from services.shared.pricing import Rates


def price(version: int, effective_ms: int, model: str = "m", account: str = "") -> PriceRow:
    return PriceRow(model, Rates(version, 1, 1, 1, 1, 1), effective_ms, account)


def test_rows_to_come_follow_what_is_in_force_in_the_order_of_their_moments() -> None:
    rows = [price(3, 300), price(1, 0), price(2, 200)]
    assert [(row.rates.price_version, row.effective_ms) for row in to_apply(rows, 100)] == [(1, 0), (2, 200), (3, 300)]


def test_of_the_rows_whose_moment_has_passed_the_latest_counts_from_now_on() -> None:
    rows = [price(3, 300), price(1, 0), price(2, 200), price(4, 0, "other"), price(5, 0, "m", "account")]
    found = {(row.key, row.rates.price_version, row.effective_ms) for row in to_apply(rows, 250)}
    assert found == {(("", "m"), 2, 0), (("", "m"), 3, 300), (("", "other"), 4, 0), (("account", "m"), 5, 0)}


def test_multipliers_alike() -> None:
    rows = [MultiplierRow("brand", "cc", 2, 200), MultiplierRow("brand", "cc", 1, 0), MultiplierRow("plan", "cc", 3, 0)]
    assert to_apply(rows, 250) == [MultiplierRow("brand", "cc", 2, 0), MultiplierRow("plan", "cc", 3, 0)]
