"""Totals answer what rollups would, whatever is told apart; lists are cut by indexes, and lack nothing."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.ledger.store.totals import Bucket, RollupFilter, TotalStore
from services.ledger.store.usage import UsageFilter, UsageStore
from services.shared import ids
from tests.books import OK, ORPHANED, Books, usage
from tollhouse.v1 import events_pb2

GROUPS = ("tenant_id", "key_id", "model", "upstream_account_id")
DAY = datetime(2026, 3, 1, tzinfo=UTC)
FAULT = int(events_pb2.USAGE_STATUS_UPSTREAM_FAULT)


def moment(**later: int) -> str:
    """A request id of so much later than the day's beginning."""
    return ids.request_id(int((DAY + timedelta(**later)).timestamp() * 1000))


async def book_a_bit_of_everything(books: Books) -> None:
    """Usage of two tenants in three days, a shortfall, a correction."""
    await books.top_up("acme", 10**9)
    spans = itertools.product((0, 5, 30, 49), ("k1", "k2"), ("opus", "haiku"), ("acc_1", "acc_2"))
    for hours, key, model, account in spans:
        fields: dict[str, Any] = {"key_id": key, "model": model, "upstream_account_id": account}
        rows = [usage(tenant, 7, request_id=moment(hours=hours), **fields) for tenant in ("acme", "poor")]
        await books.bookings.book(rows)
    orphan = usage("acme", 5, request_id=moment(hours=6), status=ORPHANED, key_id="k1")
    await books.bookings.book([orphan])
    await books.bookings.book([orphan._replace(status=OK, cost_nano=3, model="haiku")])


def summed(books: Books, period: str, groups: tuple[str, ...], of: RollupFilter) -> list[tuple[Any, ...]]:
    """The same from the rollups, by hand."""
    rows = books.sql(
        "SELECT hour, tenant_id, key_id, model, upstream_account_id, requests, output_tokens, cost_nano"
        " FROM usage_rollups WHERE hour >= %s AND hour < %s",
        of.from_at,
        of.to_at,
    )
    found: dict[tuple[Any, ...], list[int]] = {}
    for hour, *told, requests, tokens, cost_nano in rows:
        named = dict(zip(GROUPS, told, strict=True))
        if any(named[name] != wanted for name in GROUPS[:3] if (wanted := getattr(of, name))):
            continue
        start = {"hour": hour, "day": hour.astimezone(UTC).replace(hour=0), "whole": of.from_at}[period]
        sums = found.setdefault((start, *(named[name] if name in groups else "" for name in GROUPS)), [0, 0, 0])
        for index, value in enumerate((requests, tokens, cost_nano)):
            sums[index] += value
    return sorted((*group, *sums) for group, sums in found.items())


def said(bucket: Bucket) -> tuple[Any, ...]:
    """What is compared of a bucket."""
    group = tuple(getattr(bucket, name) for name in GROUPS)
    return bucket.start_at, *group, bucket.requests, bucket.output_tokens, bucket.cost_nano


@pytest.mark.parametrize("period", ["hour", "day", "whole"])
async def test_every_question_has_the_answer_that_rollups_give(books: Books, period: str) -> None:
    await book_a_bit_of_everything(books)
    store, ends = TotalStore(books.pool), DAY + timedelta(days=3)
    filters = [
        RollupFilter(DAY, ends, tenant, key, model)
        for tenant, key, model in itertools.product(("", "acme", "nobody"), ("", "k1"), ("", "opus"))
    ]
    if period != "day":
        filters.append(RollupFilter(DAY + timedelta(hours=5), ends, "acme"))
    subsets = itertools.chain.from_iterable(itertools.combinations(GROUPS, size) for size in range(len(GROUPS) + 1))
    for groups, of in itertools.product(subsets, filters):
        found = [said(bucket) for bucket in await store.buckets(period, groups, of, 1000)]
        assert found == summed(books, period, groups, of), (groups, of)


async def test_no_more_buckets_are_read_than_are_asked_for(books: Books) -> None:
    await book_a_bit_of_everything(books)
    of = RollupFilter(DAY, DAY + timedelta(days=3))
    assert len(await TotalStore(books.pool).buckets("hour", GROUPS, of, 5)) == 5


async def test_a_request_has_the_status_of_its_last_attempt(books: Books) -> None:
    recovered, failed = moment(minutes=1), moment(minutes=2)
    await books.bookings.book(
        [
            usage(request_id=recovered, status=FAULT, final=False),
            usage(request_id=recovered, attempt=2),
            usage(request_id=failed, status=FAULT),
        ]
    )
    store = UsageStore(books.pool)
    found = {status: await store.page(UsageFilter("acme", status=status), 10) for status in (OK, FAULT, ORPHANED)}
    assert [attempt.request_id for attempt in found[OK]] == [recovered, recovered]
    assert [attempt.request_id for attempt in found[FAULT]] == [failed]
    assert found[ORPHANED] == []


@pytest.mark.parametrize("without_usage", [False, True])
async def test_pages_of_a_history_are_the_whole_history(books: Books, without_usage: bool) -> None:
    for number in range(4):
        await books.top_up("acme", 100)
        await books.top_up("other", 100)
        await books.bookings.book([usage("acme", number + 1), usage("other", 1)])
    whole = await books.balances.transactions("acme", 100, None, without_usage=without_usage)
    amounts = [row.amount_nano for row in whole]
    assert amounts == ([100] * 4 if without_usage else [-4, 100, -3, 100, -2, 100, -1, 100])
    paged, before = [], None
    while page := await books.balances.transactions("acme", 3, before, without_usage=without_usage):
        paged += page
        before = page[-1].transaction_id
    assert paged == whole
