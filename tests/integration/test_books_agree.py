"""Booking and grants against a real Postgres."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from services.embedded import ports, postgres
from services.embedded.process import Child
from services.embedded.state import StateFolder
from services.ledger.entries import Account
from services.ledger.settlement import UsageRow, instant
from services.ledger.store.audit import Deed
from services.ledger.store.balances import BalanceStore, Movement
from services.ledger.store.booking import PREPARE, BookingStore
from services.ledger.store.grants import GrantStore
from services.ledger.store.verification import Verification
from services.migrate import _ensure_role, _upgrade, migrate, role
from services.shared import clock, database, ids
from services.shared.database import Pool
from services.shared.settings import Secret

PASSWORD = "not-a-guess"
ORPHANED = 7


@asynccontextmanager
async def ledger_pool(tmp_path: Path, before: Callable[[str], None] = lambda url: None) -> AsyncIterator[Pool]:
    folder = StateFolder(tmp_path / "state")
    folder.create()
    port = ports.free(1)[0]
    child = Child(await postgres.program(folder, port, PASSWORD), folder.log, lambda: None)
    child.start()
    try:
        await child.ready(clock.monotonic_s() + 30)
        await asyncio.to_thread(postgres.ensure_database, port, PASSWORD)
        await asyncio.to_thread(before, postgres.database_url(port, PASSWORD))
        await asyncio.to_thread(migrate, postgres.database_url(port, PASSWORD), {"ledger": PASSWORD})
        url = Secret(f"postgresql://{role('ledger')}:{PASSWORD}@127.0.0.1:{port}/{postgres.DATABASE}")
        pool = await database.connect(url, service="ledger", size=4, prepare=PREPARE)
        try:
            yield pool
        finally:
            await pool.close()
    finally:
        await child.stop()


@pytest.fixture(scope="module")
def with_pool(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Callable[[Pool], Awaitable[None]]], None]:
    def run(test: Callable[[Pool], Awaitable[None]]) -> None:
        async def go() -> None:
            async with ledger_pool(tmp_path_factory.mktemp("booking")) as pool:
                await test(pool)

        asyncio.run(go())

    return run


def usage(tenant: str, cost_nano: int, **changed: Any) -> UsageRow:
    created_ms = clock.now_ms()
    values: tuple[Any, ...] = (
        *(instant(created_ms), ids.request_id(created_ms), 1, True, tenant, f"key-{tenant}", "m", "um", "acc", ""),
        *(1, 200, True, False, 1, 2, 3, 4, 5, cost_nano, 1, f"grant-{tenant}", 10, 5, 0, 1_000_000),
        *(f"cap-{tenant}", 0, b"", b"", 0, "", 0, cost_nano // 2, 1),
    )
    return UsageRow(*values)._replace(**changed)


async def top_up(balances: BalanceStore, tenant: str, amount_nano: int) -> None:
    movement = Movement("top_up", Account("top_up_clearing"), amount_nano, "1")
    await balances.move(tenant, movement, Deed("test", "top_up", tenant, "test"))


async def query(pool: Pool, text: str) -> list[Any]:
    async with pool.connection() as connection:
        return await (await connection.execute(text.encode())).fetchall()


async def assert_books_agree(pool: Pool) -> None:
    assert [check for check in await Verification(pool).run() if check.differences] == []


Run = Callable[[Callable[[Pool], Awaitable[None]]], None]


def test_books_agree_through_redelivery_shortfalls_and_corrections(with_pool: Run) -> None:
    async def scenario(pool: Pool) -> None:
        bookings, balances, grants = BookingStore(pool), BalanceStore(pool), GrantStore(pool)
        await bookings.ensure_partitions()
        await top_up(balances, "a", 1_000)
        await top_up(balances, "b", 100)
        await grants.raise_grant("grant-a", "a", "auth-1", 800, 60, "", 0)
        await grants.raise_grant("cap-a", "a", "auth-1", 800, 60, "key-a", 700)
        rows = [usage("a", 300), usage("a", 200), usage("b", 80), usage("b", 50), usage("c", 0)]
        first = await bookings.book([*rows, rows[0]])
        assert first.events == 5
        assert tuple(await bookings.book(rows)) == (0, 0)
        assert await query(pool, "SELECT sum(shortfall_nano) FROM usage_records WHERE tenant_id = 'b'") == [(30,)]
        spent = await query(pool, "SELECT grant_id, amount_nano, spent_nano FROM grants ORDER BY 1")
        assert spent == [("cap-a", 700, 500), ("grant-a", 800, 500)]
        await assert_books_agree(pool)

        lost = [usage("a", 400, status=ORPHANED), usage("b", 70, status=ORPHANED)]
        assert (await bookings.book(lost)).events == 2
        await assert_books_agree(pool)
        found = [
            lost[0]._replace(status=1, cost_nano=150, model="other"),
            lost[1]._replace(status=1, cost_nano=90, upstream_cost_nano=1),
        ]
        corrected = await bookings.book([*found, usage("a", 10)])
        assert corrected.events == 1
        await assert_books_agree(pool)
        assert tuple(await bookings.book([*found, *lost])) == (0, 0)
        assert (await balances.balance("a"))[0] == 1_000 - 500 - 150 - 10
        kinds = await query(
            pool, "SELECT kind, count(*), count(corrects_transaction_id) FROM transactions GROUP BY 1 ORDER BY 1"
        )
        assert kinds == [("correction", 2, 2), ("top_up", 2, 0), ("usage", 3, 0)]

    with_pool(scenario)


def test_usage_becomes_visible_in_the_order_of_its_transactions(with_pool: Run) -> None:
    async def scenario(pool: Pool) -> None:
        bookings = BookingStore(pool)
        await top_up(BalanceStore(pool), "a", 10_000)
        seen: list[set[int]] = []

        async def watch() -> None:
            while True:
                seen.append({int(row[0]) for row in await query(pool, "SELECT transaction_id FROM usage_records")})

        watching = asyncio.create_task(watch())
        await asyncio.gather(*(bookings.book([usage("a", 1), usage("b", 1)]) for _ in range(40)))
        watching.cancel()
        final = {int(row[0]) for row in await query(pool, "SELECT transaction_id FROM usage_records")}
        assert len(final) == 40
        for ids_seen in seen:
            assert all(number in ids_seen for number in final if number <= max(ids_seen, default=0))
        await assert_books_agree(pool)

    with_pool(scenario)


def test_books_that_were_tampered_with_are_found_out(with_pool: Run) -> None:
    async def scenario(pool: Pool) -> None:
        await top_up(BalanceStore(pool), "a", 1_000)
        await BookingStore(pool).book([usage("a", 40), usage("b", 5)])
        await assert_books_agree(pool)
        for table, column, where, broken in (
            (
                "ledger_accounts",
                "balance_nano",
                "kind = 'revenue'",
                {"every balance is the sum of its entries", "all balances sum to zero"},
            ),
            ("usage_rollups", "attempts", "tenant_id = 'a'", {"rollups sum up usage records"}),
            ("key_spend", "spent_nano", "tenant_id = 'a'", {"what keys spent is the sum of their usage"}),
            (
                "usage_records",
                "shortfall_nano",
                "tenant_id = 'a'",
                {
                    "usage costs what its entries say",
                    "the shortfall is explained by usage records",
                    "rollups sum up usage records",
                },
            ),
        ):
            for change in ("+ 1", "- 1"):
                await query(pool, f"UPDATE {table} SET {column} = {column} {change} WHERE {where} RETURNING 1")
                found = {check.name for check in await Verification(pool).run() if check.differences}
                assert found == (broken if change == "+ 1" else set())

    with_pool(scenario)


OLD_BOOKS = """
    SET search_path = ledger;
    INSERT INTO ledger_accounts (kind, tenant_id, balance_nano) VALUES ('prepaid', 'a', 700), ('prepaid', 'b', 450);
    UPDATE ledger_accounts SET balance_nano = 350 WHERE kind = 'revenue';
    UPDATE ledger_accounts SET balance_nano = -1500 WHERE kind = 'top_up_clearing';
    INSERT INTO transactions (kind, idempotency_key) VALUES ('top_up', 'a/1'), ('top_up', 'b/1'), ('usage', NULL);
    INSERT INTO entries SELECT v.t, d.ledger_account_id, c.ledger_account_id, v.amount
    FROM (VALUES (1, 'top_up_clearing', '', 'prepaid', 'a', 1000),
        (2, 'top_up_clearing', '', 'prepaid', 'b', 500),
        (3, 'prepaid', 'a', 'revenue', '', 300), (3, 'prepaid', 'b', 'revenue', '', 50))
        AS v (t, dk, dt, ck, ct, amount)
    JOIN ledger_accounts d ON d.kind = v.dk AND d.tenant_id = v.dt
    JOIN ledger_accounts c ON c.kind = v.ck AND c.tenant_id = v.ct;
    INSERT INTO prices (model, input_pico, output_pico, cache_read_pico, cache_write_5m_pico, cache_write_1h_pico)
        VALUES ('m', 1, 2, 3, 4, 5);
    INSERT INTO grants (grant_id, tenant_id, holder, amount_nano, spent_nano, expires_at)
        VALUES ('grant-a', 'a', 'auth-1', 400, 300, now() + interval '1 h');
    INSERT INTO usage_records SELECT v.at::timestamptz, v.id, v.attempt, v.final, v.tenant, 'key-' || v.tenant, 'm',
        'um', 'acc', '', 1, 200, true, false, 1, 2, 3, 4, 5, v.cost, 1, 'grant-' || v.tenant, 10, 5, 3
    FROM (VALUES ('2026-09-21 10:59Z', 'r1', 1, false, 'a', 100), ('2026-09-21 10:59Z', 'r1', 2, true, 'a', 150),
        ('2026-09-21 11:00Z', 'r2', 1, true, 'a', 50), ('2026-09-21 11:30Z', 'r3', 1, true, 'b', 50))
        AS v (at, id, attempt, final, tenant, cost);
"""


def test_books_of_the_first_version_are_migrated_with_their_sums(tmp_path: Path) -> None:
    def first_version(url: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            _ensure_role(connection, "ledger", PASSWORD)
            _upgrade(url, "ledger", "0001")
            connection.execute(OLD_BOOKS.encode())

    async def scenario() -> None:
        async with ledger_pool(tmp_path, first_version) as pool:
            await assert_books_agree(pool)
            assert await BalanceStore(pool).balance("a") == (700, 100)
            assert await query(pool, "SELECT * FROM key_spend ORDER BY 1") == [("key-a", "a", 300), ("key-b", "b", 50)]
            rollups = "SELECT tenant_id, requests, attempts, cost_nano FROM usage_rollups ORDER BY tenant_id, hour"
            assert await query(pool, rollups) == [("a", 1, 2, 250), ("a", 1, 1, 50), ("b", 1, 1, 50)]
            await BookingStore(pool).book([usage("a", 20), usage("b", 500)])
            await assert_books_agree(pool)
            assert await BalanceStore(pool).balance("b") == (0, 0)

    asyncio.run(scenario())
