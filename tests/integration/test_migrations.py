"""A database as the first version filled it, brought to the newest revision: nothing is lost, and the books are right.

The rows below are frozen: they are what that version wrote, whatever today's code would write.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

import psycopg
import pytest

from services.migrate import migrate
from services.router.rows import GroupRow
from services.router.store import Store
from services.shared import database, ids
from services.shared.settings import Secret
from tests.books import Books, books_in, database_named, superuser_url, usage
from tests.deployment import Deployment

CENT: Final = 10_000_000
JANUARY = datetime(2026, 1, 31, 23, 30, tzinfo=UTC)
NEXT_HOUR = datetime(2026, 2, 1, 0, 10, tzinfo=UTC)
LONG_AGO = datetime(1999, 12, 31, 12, tzinfo=UTC)
"""Of a wrong clock: it falls into the default partition."""

TENANTS: Final = """
    INSERT INTO auth.tenants (tenant_id, name, enabled) VALUES ('acme', 'Acme', true), ('broke', 'Broke', false);
    INSERT INTO auth.keys (key_id, tenant_id, name, key_hash, hint, enabled, expires_at) VALUES
        ('key_1', 'acme', 'ci', sha256('1'), 'sk-th-...1111', true, NULL),
        ('key_2', 'acme', 'laptop', sha256('2'), 'sk-th-...2222', false, '2027-01-01T00:00:00Z'),
        ('key_3', 'broke', 'ci', sha256('3'), 'sk-th-...3333', true, NULL);
"""
BOOKS: Final = """
    SET ROLE tollhouse_ledger;
    CREATE TABLE ledger.usage_records_2026_01 PARTITION OF ledger.usage_records
        FOR VALUES FROM ('2026-01-01T00:00:00Z') TO ('2026-02-01T00:00:00Z');
    CREATE TABLE ledger.usage_records_2026_02 PARTITION OF ledger.usage_records
        FOR VALUES FROM ('2026-02-01T00:00:00Z') TO ('2026-03-01T00:00:00Z');
    INSERT INTO ledger.prices (model, input_pico, output_pico, cache_read_pico, cache_write_5m_pico,
        cache_write_1h_pico) VALUES ('opus', 15000000, 75000000, 1500000, 18750000, 30000000);
    INSERT INTO ledger.ledger_accounts (kind, tenant_id) VALUES ('prepaid', 'acme'), ('prepaid', 'broke');
    INSERT INTO ledger.grants (grant_id, tenant_id, holder, amount_nano, spent_nano, expires_at)
        VALUES ('g1', 'acme', 'auth-1', 50000000, 30000000, now() + interval '1 minute'),
            ('g2', 'broke', 'auth-1', 10000000, 40000000, now() + interval '1 minute');
"""
ACCOUNTS: Final = """
    INSERT INTO router.upstream_accounts
        (upstream_account_id, name, kind, base_url, credential_sealed, priority, enabled) VALUES
        ('acc_1', 'mine', 'anthropic', 'https://api.anthropic.com', '\\x0102', 10, true),
        ('acc_2', 'sim', 'simulator', 'http://127.0.0.1:7010', '\\x0103', 100, false);
    INSERT INTO router.upstream_models (upstream_account_id, model, upstream_model) VALUES
        ('acc_1', 'opus', 'opus-upstream'), ('acc_1', 'sonnet', 'sonnet'), ('acc_2', 'opus', 'opus');
"""
TOP_UP: Final = """
    WITH t AS (
        INSERT INTO ledger.transactions (kind, idempotency_key, reason) VALUES ('top_up', %(key)s, 'welcome')
        RETURNING transaction_id
    ), e AS (
        INSERT INTO ledger.entries SELECT t.transaction_id, c.ledger_account_id, p.ledger_account_id, %(nano)s
        FROM t, ledger.ledger_accounts c, ledger.ledger_accounts p
        WHERE c.kind = 'top_up_clearing' AND p.tenant_id = %(tenant)s
    )
    UPDATE ledger.ledger_accounts
    SET balance_nano = balance_nano + CASE kind WHEN 'prepaid' THEN %(nano)s ELSE -%(nano)s END
    WHERE tenant_id = %(tenant)s OR kind = 'top_up_clearing'
"""
BOOK: Final = """
    WITH t AS (
        INSERT INTO ledger.transactions (kind) VALUES ('usage') RETURNING transaction_id
    ), e AS (
        INSERT INTO ledger.entries SELECT t.transaction_id, p.ledger_account_id, r.ledger_account_id, %(nano)s
        FROM t, ledger.ledger_accounts p, ledger.ledger_accounts r
        WHERE p.tenant_id = %(tenant)s AND r.kind = 'revenue' AND %(nano)s > 0
    ), u AS (
        INSERT INTO ledger.usage_records SELECT %(at)s, %(request)s, %(attempt)s, %(final)s, %(tenant)s, %(key)s,
            'opus', 'opus-upstream', 'acc_1', 'req_upstream', 1, 200, true, %(estimated)s, 100, 200, 30, 40, 50,
            %(nano)s, 1, 'g1', 1234, 56, t.transaction_id FROM t
    )
    UPDATE ledger.ledger_accounts
    SET balance_nano = balance_nano + CASE kind WHEN 'revenue' THEN %(nano)s ELSE -%(nano)s END
    WHERE tenant_id = %(tenant)s OR kind = 'revenue'
"""


def booked(at: datetime, tenant: str, key: str, nano: int, **fields: Any) -> dict[str, Any]:
    request = ids.request_id(int(at.timestamp() * 1000))
    plain = {"attempt": 1, "final": True, "estimated": False, "request": request}
    return plain | {"at": at, "tenant": tenant, "key": key, "nano": nano} | fields


RETRIED = ids.request_id(int(JANUARY.timestamp() * 1000))
RECORDS = [
    booked(JANUARY, "acme", "key_1", 0, request=RETRIED, final=False),
    booked(JANUARY, "acme", "key_1", 2 * CENT, request=RETRIED, attempt=2),
    booked(JANUARY, "acme", "key_1", CENT, estimated=True),
    booked(NEXT_HOUR, "acme", "key_2", 3 * CENT),
    booked(LONG_AGO, "acme", "key_2", 4 * CENT),
    booked(LONG_AGO, "broke", "key_3", CENT),
    booked(JANUARY, "broke", "key_3", 2 * CENT),
    booked(NEXT_HOUR, "broke", "key_3", CENT),
]


@pytest.fixture
def upgraded(tollhouse: Deployment) -> Iterator[str]:
    """The first revisions, filled, and upgraded."""
    with database_named(superuser_url(tollhouse), f"upgraded_{ids.ulid()}") as url:
        migrate(url, {}, "0001")
        with psycopg.connect(url) as connection:
            connection.execute(TENANTS)
            connection.execute(ACCOUNTS)
            connection.execute(BOOKS)
            for tenant, nano in (("acme", 100 * CENT), ("broke", 2 * CENT)):
                connection.execute(TOP_UP, {"tenant": tenant, "nano": nano, "key": f"{tenant}/first"})
            for record in RECORDS:
                connection.execute(BOOK, record)
        migrate(url, {})
        yield url


@asynccontextmanager
async def router_store_in(url: str) -> AsyncIterator[Store]:
    """The router's store on a migrated database, as its own role."""
    options = quote("-c search_path=router -c role=tollhouse_router")
    pool = await database.connect(Secret(f"{url}?options={options}"), service="test", size=2)
    try:
        yield Store(pool)
    finally:
        await pool.close()


def facts(books: Books) -> list[Any]:
    return books.sql("SELECT request_id, attempt, cost_nano, shortfall_nano FROM usage_records")


async def test_data_of_the_first_version_is_whole_after_an_upgrade(upgraded: str) -> None:
    async with books_in(upgraded) as books:
        assert {(r["request"], r["attempt"], r["nano"]) for r in RECORDS} == {fact[:3] for fact in facts(books)}
        names = "SELECT tableoid::regclass::text, count(*) FROM usage_records GROUP BY 1"
        assert dict(books.sql(names)) == {
            "usage_records_2026_01": 4,
            "usage_records_2026_02": 2,
            "usage_records_elsewhen": 2,
        }
        assert await books.balance("acme") == 90 * CENT
        assert books.sql("SELECT key_id, tenant_id, spent_nano FROM key_spend ORDER BY 1") == [
            ("key_1", "acme", 3 * CENT),
            ("key_2", "acme", 7 * CENT),
            ("key_3", "broke", 4 * CENT),
        ]
        rollups = (
            "SELECT hour, key_id, requests, attempts, estimated, input_tokens, output_tokens, cost_nano"
            " FROM usage_rollups WHERE tenant_id = 'acme' ORDER BY hour, key_id"
        )
        assert books.sql(rollups) == [
            (LONG_AGO, "key_2", 1, 1, 0, 100, 200, 4 * CENT),
            (JANUARY.replace(minute=0), "key_1", 2, 3, 1, 300, 600, 3 * CENT),
            (NEXT_HOUR.replace(minute=0), "key_2", 1, 1, 0, 100, 200, 3 * CENT),
        ]
        assert books.sql("SELECT count(*), sum(amount_nano) FROM grants") == [(2, 6 * CENT)]
        assert books.sql("SELECT key_id, enabled, spend_cap_nano FROM auth.keys ORDER BY 1") == [
            ("key_1", True, None),
            ("key_2", False, None),
            ("key_3", True, None),
        ]
        assert books.sql("SELECT tenant_id, enabled FROM auth.tenants ORDER BY 1") == [("acme", True), ("broke", False)]


async def test_every_upstream_account_of_the_first_version_is_in_the_default_pool(upgraded: str) -> None:
    async with router_store_in(upgraded) as store:
        stored = await store.everything()
        assert stored.pools == ["default"]
        assert stored.groups == [GroupRow("default", ["default"])]
        assert stored.models == []
        mine, sim = stored.accounts
        assert (mine.upstream_account_id, mine.name, mine.kind, mine.enabled) == ("acc_1", "mine", "anthropic", True)
        assert (mine.credential_sealed, mine.models) == (b"\x01\x02", {"opus": "opus-upstream", "sonnet": "sonnet"})
        assert (mine.pool, mine.weight, mine.headers, mine.proxy, mine.concurrent_limit) == ("default", 100, {}, "", 0)
        assert (sim.pool, sim.enabled, sim.models) == ("default", False, {"opus": "opus"})
        kept = "SELECT count(*) FROM router.upstream_accounts WHERE credential_changed_at = created_at"
        with psycopg.connect(upgraded) as connection:
            assert connection.execute(kept).fetchone() == (2,)


async def test_what_the_version_before_writes_of_an_upstream_account_still_works(upgraded: str) -> None:
    before = ACCOUNTS.replace("acc_", "late_").replace("'mine'", "'late'").replace("'sim'", "'late-sim'")
    with psycopg.connect(upgraded) as connection:
        connection.execute(before.encode())
    async with router_store_in(upgraded) as store:
        late = await store.account("late")
        assert late is not None
        assert (late.pool, late.weight, late.note, late.models["opus"]) == ("default", 100, "", "opus-upstream")


async def test_a_balance_below_zero_becomes_a_shortfall_of_the_last_usage(upgraded: str) -> None:
    async with books_in(upgraded) as books:
        assert await books.balance("broke") == 0
        assert books.one("SELECT balance_nano FROM ledger_accounts WHERE kind = 'shortfall'") == -2 * CENT
        noted = {fact[0]: fact[3] for fact in facts(books)}
        assert [noted[record["request"]] for record in RECORDS[-3:]] == [0, CENT, CENT]
        assert sum(noted.values()) == 2 * CENT
        corrections = "SELECT tenant_id, reason FROM transactions WHERE kind = 'correction'"
        assert books.sql(corrections) == [("broke", "a balance below zero became a shortfall")]


async def test_upgraded_books_are_right_and_go_on(upgraded: str) -> None:
    async with books_in(upgraded) as books:
        assert await books.differences() == {}
        await books.bookings.ensure_partitions()
        await books.top_up("broke", 5 * CENT)
        await books.bookings.book([usage("broke", CENT, key_id="key_3"), usage("acme", CENT, key_id="key_1")])
        assert await books.balance("broke") == 4 * CENT
        assert await books.balance("acme") == 89 * CENT
        assert await books.differences() == {}


async def test_migrating_again_changes_nothing(upgraded: str) -> None:
    async with books_in(upgraded) as books:
        before = facts(books)
        migrate(upgraded, {})
        assert facts(books) == before
