"""What `VerifyBooks` finds: nothing in honest books, and each kind of tampering by its own check."""

from typing import LiteralString

import pytest

from services.ledger.store import verification
from tests.books import ORPHANED, Books, usage

NANO = 1_000_000
BALANCES = "every balance is the sum of its entries"
ZERO = "all balances sum to zero"
PREPAID = "no prepaid balance is below zero"
CHARGED = "usage costs what its entries say"
SHORTFALL = "the shortfall is explained by usage records"
UPSTREAM = "the upstream's cost is explained by usage records"
ROLLUPS = "rollups sum up usage records"
TOTALS = "totals sum up rollups"
KEYS = "what keys spent is the sum of their usage"
GRANTED = "no more is granted than there is"

TAMPERINGS: list[tuple[LiteralString, set[str]]] = [
    ("UPDATE ledger_accounts SET balance_nano = balance_nano + 1 WHERE tenant_id = 'acme'", {BALANCES, ZERO}),
    ("UPDATE entries SET amount_nano = amount_nano + 1 WHERE transaction_id = 1", {BALANCES}),
    ("DELETE FROM entries WHERE transaction_id = (SELECT max(transaction_id) FROM entries)", {BALANCES}),
    (
        "UPDATE ledger_accounts SET balance_nano = -1 WHERE tenant_id = 'acme'",
        {BALANCES, ZERO, PREPAID, GRANTED},
    ),
    ("UPDATE usage_records SET cost_nano = cost_nano - 1 WHERE tenant_id = 'acme'", {CHARGED, ROLLUPS, KEYS}),
    (
        "UPDATE usage_records SET shortfall_nano = shortfall_nano - 1 WHERE tenant_id = 'poor'",
        {CHARGED, SHORTFALL, ROLLUPS},
    ),
    ("UPDATE usage_records SET upstream_cost_nano = 99 WHERE tenant_id = 'acme'", {UPSTREAM, ROLLUPS}),
    ("UPDATE usage_records SET output_tokens = output_tokens + 1 WHERE tenant_id = 'acme'", {ROLLUPS}),
    ("DELETE FROM usage_records WHERE tenant_id = 'poor'", {CHARGED, SHORTFALL, ROLLUPS, KEYS}),
    ("DELETE FROM usage_rollups WHERE tenant_id = 'acme'", {ROLLUPS, TOTALS}),
    ("UPDATE usage_rollups SET requests = requests + 1", {ROLLUPS, TOTALS}),
    ("UPDATE usage_totals SET cost_nano = cost_nano + 1 WHERE cut = 'hour: model'", {TOTALS}),
    ("DELETE FROM usage_totals WHERE tenant_id = 'poor'", {TOTALS}),
    ("UPDATE key_spend SET spent_nano = 0 WHERE tenant_id = 'acme'", {KEYS}),
    ("DELETE FROM key_spend WHERE tenant_id = 'poor'", {KEYS}),
    ("UPDATE grants SET amount_nano = amount_nano + 100000000", {GRANTED}),
]


async def keep_honest_books(books: Books) -> None:
    """A bit of everything: top-ups, grants, usage, a shortfall, a correction."""
    await books.top_up("acme", 50 * NANO)
    await books.top_up("poor", 2 * NANO)
    await books.grants.raise_grant("g", "acme", "auth-1", 20 * NANO, 30, "", 0)
    orphan = usage(cost_nano=4 * NANO, status=ORPHANED, grant_id="g")
    await books.bookings.book([usage(cost_nano=NANO, grant_id="g"), orphan, usage("poor", 3 * NANO)])
    await books.bookings.book([orphan._replace(status=1, cost_nano=2 * NANO)])
    await books.bookings.book([usage(upstream_cost_nano=7)])


async def test_honest_books_pass_every_check(books: Books) -> None:
    await keep_honest_books(books)
    checks = await books.verification.run()
    assert [check.name for check in checks] == list(verification._CHECKS)
    assert all(not check.differences for check in checks)


async def test_books_without_anything_pass_every_check(books: Books) -> None:
    assert await books.differences() == {}


@pytest.mark.parametrize(("statement", "found"), TAMPERINGS, ids=[statement[:60] for statement, _ in TAMPERINGS])
async def test_tampering_is_found(books: Books, statement: LiteralString, found: set[str]) -> None:
    await keep_honest_books(books)
    books.sql(statement)
    assert set(await books.differences()) == found


def test_every_check_is_tried() -> None:
    assert set().union(*(found for _, found in TAMPERINGS)) == set(verification._CHECKS)


async def test_of_many_differences_the_first_few_are_told(books: Books) -> None:
    await books.bookings.book([usage(f"t{n}", 0) for n in range(20)])
    books.sql("UPDATE usage_rollups SET input_tokens = 0")
    assert len((await books.differences())[ROLLUPS]) == 5
