"""Booking in a real Postgres: what usage does to records, sums, balances and grants."""

import asyncio

from services.ledger.store.corrections import CORRECTIONS_MOST
from services.shared import ids
from tests.books import ORPHANED, Books, books_in, usage

CENT = 10_000_000
NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000


async def test_usage_is_charged_once_however_often_it_comes(books: Books) -> None:
    await books.top_up("acme", 10 * CENT)
    row = usage(cost_nano=CENT)
    first = await books.bookings.book([row, row])
    assert first.events == 1
    assert first.transaction_id > 0
    again = await books.bookings.book([row, usage("acme", 0, request_id=row.request_id)])
    assert again == (0, 0)
    assert await books.balance("acme") == 9 * CENT
    assert books.one("SELECT count(*) FROM transactions WHERE kind = 'usage'") == 1
    assert await books.differences() == {}


async def test_an_attempt_that_is_new_is_booked_beside_one_that_is_not(books: Books) -> None:
    await books.top_up("acme", 10 * CENT)
    first = usage(cost_nano=CENT, final=False)
    second = first._replace(attempt=2, final=True)
    await books.bookings.book([first])
    assert (await books.bookings.book([first, second])).events == 1
    assert books.sql("SELECT requests, attempts, cost_nano FROM usage_rollups") == [(1, 2, 2 * CENT)]
    assert books.sql("SELECT * FROM key_spend") == [("key_of_acme", "acme", 2 * CENT)]
    assert await books.differences() == {}


async def test_what_a_balance_does_not_pay_is_our_shortfall_and_stands_on_the_records(books: Books) -> None:
    await books.top_up("acme", 5 * CENT)
    await books.top_up("other", 5 * CENT)
    rows = [usage(cost_nano=3 * CENT, request_id=ids.request_id(1_790_000_000_000 + n)) for n in range(3)]
    await books.bookings.book([*rows, usage("other", CENT)])
    assert await books.balance("acme") == 0
    assert await books.balance("other") == 4 * CENT
    assert books.one("SELECT balance_nano FROM ledger_accounts WHERE kind = 'shortfall'") == -4 * CENT
    noted = dict(books.sql("SELECT request_id, shortfall_nano FROM usage_records WHERE tenant_id = 'acme'"))
    assert [noted[row.request_id] for row in rows] == [0, CENT, 3 * CENT]
    assert books.one("SELECT shortfall_nano FROM usage_rollups WHERE tenant_id = 'acme'") == 4 * CENT
    assert await books.differences() == {}
    await books.bookings.book([usage(cost_nano=CENT)])
    assert await books.balance("acme") == 0
    assert await books.differences() == {}


async def test_our_own_cost_is_posted_and_summed_up_even_where_the_client_pays_nothing(books: Books) -> None:
    await books.bookings.book([usage(upstream_cost_nano=7), usage(upstream_cost_nano=5)])
    balances = dict(books.sql("SELECT kind, balance_nano FROM ledger_accounts WHERE balance_nano <> 0"))
    assert balances == {"upstream_cost": -12, "upstream_payable": 12}
    assert books.one("SELECT upstream_cost_nano FROM usage_rollups") == 12
    assert await books.differences() == {}


async def test_usage_is_spent_of_both_grants_that_it_was_held_in(books: Books) -> None:
    await books.top_up("acme", 10 * CENT)
    await books.grants.raise_grant("g", "acme", "auth-1", 5 * CENT, 30, "", 0)
    await books.grants.raise_grant("k", "acme", "auth-1", 4 * CENT, 30, "key_of_acme", 8 * CENT)
    held = {"grant_id": "g", "key_grant_id": "k"}
    await books.bookings.book([usage(cost_nano=CENT, **held), usage(cost_nano=CENT, **held)])
    assert books.sql("SELECT grant_id, spent_nano FROM grants ORDER BY 1") == [("g", 2 * CENT), ("k", 2 * CENT)]
    assert await books.differences() == {}


async def test_bookings_commit_in_the_order_of_their_transactions_whichever_replica_makes_them(books: Books) -> None:
    await books.top_up("acme", 1000 * CENT)
    seen: list[int] = []

    async def watch(done: asyncio.Event) -> None:
        while not done.is_set():
            found = await asyncio.to_thread(
                books.sql, "SELECT DISTINCT transaction_id FROM usage_records ORDER BY transaction_id"
            )
            ids_seen = [row[0] for row in found]
            assert ids_seen[: len(seen)] == seen
            seen[:] = ids_seen

    async with books_in(books.url) as other:
        done = asyncio.Event()
        watching = asyncio.create_task(watch(done))
        stores = (books.bookings, other.bookings)
        await asyncio.gather(*(stores[n % 2].book([usage(cost_nano=CENT) for _ in range(5)]) for n in range(40)))
        done.set()
        await watching
    assert await books.balance("acme") == 800 * CENT
    assert await books.differences() == {}


async def test_an_orphan_is_corrected_once_by_its_real_event(books: Books) -> None:
    await books.top_up("acme", 10 * CENT)
    await books.grants.raise_grant("g", "acme", "auth-1", 5 * CENT, 30, "", 0)
    orphan = usage(cost_nano=3 * CENT, status=ORPHANED, estimated=True, grant_id="g", output_tokens=99)
    real = orphan._replace(cost_nano=CENT, status=1, estimated=False, output_tokens=20)
    booked = await books.bookings.book([orphan])
    corrected = await books.bookings.book([real, real])
    assert corrected.events == 0
    assert corrected.transaction_id > booked.transaction_id
    assert await books.balance("acme") == 9 * CENT
    assert await books.bookings.book([real]) == (0, 0)
    assert await books.bookings.book([orphan]) == (0, 0)
    assert await books.balance("acme") == 9 * CENT
    assert books.sql("SELECT status, cost_nano, output_tokens FROM usage_records") == [(1, CENT, 20)]
    assert books.sql("SELECT attempts, estimated, output_tokens FROM usage_rollups") == [(1, 0, 20)]
    assert books.one("SELECT spent_nano FROM grants") == 3 * CENT  # as its holder settled it
    corrects = books.one("SELECT corrects_transaction_id FROM transactions WHERE kind = 'correction'")
    assert corrects == booked.transaction_id
    assert await books.differences() == {}


async def test_a_correction_upwards_takes_what_the_balance_has_and_the_rest_is_shortfall(books: Books) -> None:
    await books.top_up("acme", 3 * CENT)
    orphan = usage(cost_nano=2 * CENT, status=ORPHANED, upstream_cost_nano=1)
    await books.bookings.book([orphan])
    await books.bookings.book([orphan._replace(cost_nano=5 * CENT, status=1, upstream_cost_nano=4)])
    assert await books.balance("acme") == 0
    assert books.one("SELECT shortfall_nano FROM usage_records") == 2 * CENT
    assert await books.differences() == {}


async def test_a_correction_is_paid_by_credit_that_came_since(books: Books) -> None:
    orphan = usage(cost_nano=2 * CENT, status=ORPHANED)
    await books.bookings.book([orphan])
    assert books.one("SELECT shortfall_nano FROM usage_records") == 2 * CENT
    await books.top_up("acme", 5 * CENT)
    await books.bookings.book([orphan._replace(status=1)])
    assert await books.balance("acme") == 3 * CENT
    assert books.one("SELECT shortfall_nano FROM usage_records") == 0
    assert await books.differences() == {}


async def test_many_corrections_by_two_ledgers_at_once_leave_the_books_in_order(books: Books) -> None:
    tenants = [f"t{n}" for n in range(6)]
    orphans, reals = [], []
    for n in range(2 * CORRECTIONS_MOST + 50):
        request_id, tenant = ids.request_id(NOW_MS + n % 3 * HOUR_MS), tenants[n % 6]
        told = usage(tenant, 2 * CENT, request_id=request_id, status=ORPHANED, estimated=True, grant_id=f"g-{tenant}")
        orphans.append(told)
        served = told._replace(status=1, estimated=False, cost_nano=n % 4 * CENT, model="opus" if n % 5 else "haiku")
        reals.append(served._replace(attempt=1 if n % 7 else 2))  # of which the first reached no upstream
    for n, tenant in enumerate(tenants):
        await books.top_up(tenant, (100 if n < 2 else 1000) * CENT)  # two cannot pay it all
        await books.grants.raise_grant(f"g-{tenant}", tenant, "auth-1", 50 * CENT, 30, "", 0)
    await books.bookings.book(orphans)
    async with books_in(books.url) as other, asyncio.timeout(60):
        await asyncio.gather(
            books.bookings.book(reals),
            other.bookings.book(reals[::-1]),
            *(books.bookings.book([usage(tenant, CENT) for tenant in tenants]) for _ in range(5)),
            *(other.top_up(tenant, CENT) for tenant in tenants),
        )
    assert books.one("SELECT count(*) FROM usage_records WHERE status = %s", ORPHANED) == 0
    assert books.one("SELECT sum(cost_nano) FROM usage_records") == sum(row.cost_nano for row in reals) + 30 * CENT
    assert books.one("SELECT count(*) FROM transactions WHERE kind = 'correction'") == len(orphans)
    together = books.sql("SELECT count(*) FROM transactions WHERE kind = 'correction' GROUP BY xmin::text")
    assert max(count for (count,) in together) == CORRECTIONS_MOST
    assert await books.differences() == {}


async def test_the_shortfall_of_many_at_once_stands_on_records_and_rollups(books: Books) -> None:
    tenants = [f"t{n}" for n in range(5)]
    for n, tenant in enumerate(tenants):
        await books.top_up(tenant, (n + 1) * CENT)
    rows = [
        usage(tenants[n % 5], CENT, request_id=ids.request_id(NOW_MS + n % 3 * HOUR_MS), model=f"m{n % 2}")
        for n in range(150)
    ]
    async with books_in(books.url) as other, asyncio.timeout(60):
        await asyncio.gather(books.bookings.book(rows), other.bookings.book(rows[::-1]))
    assert books.sql("SELECT tenant_id, sum(shortfall_nano) FROM usage_rollups GROUP BY 1 ORDER BY 1") == [
        (tenant, (29 - n) * CENT) for n, tenant in enumerate(tenants)
    ]
    assert await books.differences() == {}


async def test_an_orphan_and_its_real_event_may_come_in_one_batch(books: Books) -> None:
    for status, later in ((ORPHANED, 1), (1, ORPHANED)):
        first = usage(cost_nano=CENT, status=status)
        await books.bookings.book([first, first._replace(status=later, cost_nano=2 * CENT)])
        assert books.one("SELECT status FROM usage_records WHERE request_id = %s", first.request_id) == 1
    assert await books.differences() == {}


async def test_an_orphan_after_the_real_event_is_nothing(books: Books) -> None:
    await books.top_up("acme", 5 * CENT)
    real = usage(cost_nano=CENT)
    await books.bookings.book([real])
    assert await books.bookings.book([real._replace(status=ORPHANED, cost_nano=3 * CENT)]) == (0, 0)
    assert await books.balance("acme") == 4 * CENT


async def test_an_orphaned_attempt_that_the_requests_own_events_do_not_name_reached_no_upstream(books: Books) -> None:
    await books.top_up("acme", 10 * CENT)
    for orphan_first in (True, False):
        orphan = usage(cost_nano=3 * CENT, status=ORPHANED, estimated=True, input_tokens=99)
        served = orphan._replace(attempt=2, cost_nano=CENT, status=1, estimated=False, input_tokens=20)
        for event in (orphan, served) if orphan_first else (served, orphan):
            await books.bookings.book([event])
        booked = books.sql(
            "SELECT attempt, cost_nano FROM usage_records WHERE request_id = %s AND cost_nano > 0", orphan.request_id
        )
        assert booked == [(2, CENT)]
    assert await books.balance("acme") == 8 * CENT
    assert books.sql("SELECT sum(requests), sum(cost_nano) FROM usage_rollups") == [(2, 2 * CENT)]
    assert await books.differences() == {}


async def test_an_event_of_another_tenant_corrects_no_orphan(books: Books) -> None:
    orphan = usage(cost_nano=CENT, status=ORPHANED)
    await books.bookings.book([orphan])
    assert await books.bookings.book([orphan._replace(status=1, tenant_id="other")]) == (0, 0)
    assert books.one("SELECT tenant_id FROM usage_records") == "acme"


async def test_booking_granting_renewing_and_crediting_at_once_neither_deadlock_nor_lose_money(books: Books) -> None:
    tenants = [f"t{n}" for n in range(4)]
    grants = [f"g-{tenant}" for tenant in tenants]
    for tenant, grant in zip(tenants, grants, strict=True):
        await books.top_up(tenant, 1000 * CENT)
        await books.grants.raise_grant(grant, tenant, "auth-1", 10 * CENT, 30, "", 0)

    async def book(turn: int) -> None:
        order = tenants[turn % 4 :] + tenants[: turn % 4]
        orphans = [usage(t, CENT, grant_id=f"g-{t}", status=ORPHANED) for t in order]
        await books.bookings.book(orphans)
        await books.bookings.book([*(o._replace(status=1, cost_nano=2 * CENT) for o in reversed(orphans))])

    async def lend(turn: int) -> None:
        tenant = tenants[turn % 4]
        await books.grants.raise_grant(f"g-{tenant}", tenant, "auth-1", (10 + turn) * CENT, 30, "", 0)
        await books.grants.renew_grants("auth-1", grants[:: 1 - 2 * (turn % 2)], [0] * 4, 30)
        await books.grants.lower_grant(f"g-{tenant}", 5 * CENT)
        await books.top_up(tenant, CENT)

    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        for turn in range(20):
            group.create_task(book(turn))
            group.create_task(lend(turn))
    for tenant in tenants:
        assert await books.balance(tenant) == (1000 + 5 - 20 * 2) * CENT
    assert await books.differences() == {}
