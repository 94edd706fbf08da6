"""Unit tests of services.ledger.costs."""

from services.ledger.costs import NO_COSTS, CostBook, CostRow
from services.shared.pricing import Rates


def rates(version: int) -> Rates:
    return Rates(version, 1, 1, 1, 1, 1)


BOOK = CostBook(
    [
        CostRow("acc", "up", 100, rates(1)),
        CostRow("acc", "up", 200, rates(2)),
        CostRow("acc", "pub", 100, rates(3)),
        CostRow("", "up", 100, rates(4)),
        CostRow("", "pub", 50, rates(5)),
    ]
)


def version(account: str, upstream_model: str, model: str, at_ms: int) -> int | None:
    found = BOOK.rates(account, upstream_model, model, at_ms)
    return found.price_version if found else None


def test_the_most_specific_row_in_force_counts() -> None:
    assert version("acc", "up", "pub", 150) == 1
    assert version("acc", "up", "pub", 200) == 2
    assert version("acc", "other", "pub", 150) == 3
    assert version("elsewhere", "up", "pub", 150) == 4
    assert version("elsewhere", "other", "pub", 150) == 5


def test_before_any_row_nothing_is_known() -> None:
    assert version("acc", "up", "pub", 60) == 5
    assert version("acc", "up", "pub", 10) is None
    assert version("acc", "up", "unknown", 10) is None
    assert NO_COSTS.rates("acc", "up", "pub", 150) is None


def test_of_two_rows_of_one_moment_the_later_version_counts() -> None:
    book = CostBook([CostRow("", "m", 1, rates(8)), CostRow("", "m", 1, rates(7))])
    found = book.rates("x", "m", "m", 1)
    assert found is not None
    assert found.price_version == 8
