"""Monthly partitions in a real Postgres, though a wrong clock has dated usage in months to come."""

from datetime import UTC, datetime

from services.shared import clock, ids
from tests.books import Books, usage

CENT = 10_000_000


def in_months(months: int) -> datetime:
    """A moment in the middle of a month to come."""
    now = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
    month = now.month - 1 + months
    return datetime(now.year + month // 12, month % 12 + 1, 15, tzinfo=UTC)


def where(books: Books, request_id: str) -> str:
    found = books.one("SELECT tableoid::regclass::text FROM usage_records WHERE request_id = %s", request_id)
    return str(found).rpartition(".")[2]


async def test_what_a_wrong_clock_dated_ahead_is_moved_when_its_month_comes_near(books: Books) -> None:
    await books.bookings.ensure_partitions(months_ahead=0)
    await books.top_up("acme", 10 * CENT)
    strays = [usage(cost_nano=CENT, request_id=ids.request_id(int(in_months(2).timestamp() * 1000))) for _ in range(3)]
    await books.bookings.book(strays)
    assert where(books, strays[0].request_id) == "usage_records_elsewhen"
    await books.bookings.ensure_partitions()
    for record in strays:
        assert where(books, record.request_id) == f"usage_records_{in_months(2):%Y_%m}"
    assert books.one("SELECT count(*) FROM usage_records") == 3
    assert await books.bookings.book(strays) == (0, 0)
    late = usage(cost_nano=CENT, request_id=ids.request_id(int(in_months(3).timestamp() * 1000)))
    await books.bookings.book([late])
    assert where(books, late.request_id) == f"usage_records_{in_months(3):%Y_%m}"
    await books.bookings.ensure_partitions()
    assert await books.differences() == {}


async def test_a_month_that_cannot_be_made_stands_in_the_way_of_no_other_and_of_no_start(books: Books) -> None:
    name = f"usage_records_{in_months(1):%Y_%m}"
    books.sql("CREATE TABLE blocks PARTITION OF usage_records FOR VALUES FROM ('2200-01-01') TO ('2200-02-01')")
    books.sql("ALTER TABLE usage_records DETACH PARTITION blocks")
    begin, end = in_months(1).replace(day=1), in_months(2).replace(day=1)
    attach = f"ALTER TABLE usage_records ATTACH PARTITION blocks FOR VALUES FROM ('{begin}') TO ('{end}')"
    books.sql(attach)
    await books.bookings.ensure_partitions()
    made = {str(found[0]) for found in books.sql("SELECT relname FROM pg_class WHERE relname LIKE 'usage_records_2%%'")}
    assert name not in made
    assert {f"usage_records_{in_months(months):%Y_%m}" for months in (0, 2, 3)} <= made
