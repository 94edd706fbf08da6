"""The ledger's SQL: booking usage, grants, balances, prices.

Locks are always taken in the same order: a tenant's ledger account, then its grants.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from psycopg import AsyncConnection, Rollback, sql
from psycopg.rows import TupleRow, class_row

from services.ledger.settlement import UsageRow, unix_ms
from services.shared import clock
from services.shared.database import Pool
from services.shared.pricing import Rates

Connection = AsyncConnection[TupleRow]

_COLUMNS: Final = ", ".join(UsageRow._fields)
PREPARE: Final = (
    f"CREATE TEMP TABLE incoming ON COMMIT DELETE ROWS AS SELECT {_COLUMNS} FROM usage_records WITH NO DATA"
)
"""What every connection of the pool runs first: the table that bookings are copied into."""

_COPY: Final = f"COPY incoming ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"
_COPY_TYPES: Final = (
    [
        "timestamptz",
        "text",
        "int2",
        "bool",
        "text",
        "text",
        "text",
        "text",
        "text",
        "text",
        "int2",
        "int2",
        "bool",
        "bool",
    ]
    + ["int8"] * 7
    + ["text", "int4", "int4"]
)
_BOOK: Final = f"""
    WITH posting AS (
        INSERT INTO transactions (kind) VALUES ('usage') RETURNING transaction_id
    ), booked AS (
        INSERT INTO usage_records ({_COLUMNS}, transaction_id)
        SELECT {_COLUMNS}, (SELECT transaction_id FROM posting) FROM incoming
        ON CONFLICT DO NOTHING
        RETURNING tenant_id, grant_id, cost_nano
    )
    SELECT (SELECT transaction_id FROM posting), tenant_id, grant_id, sum(cost_nano)::bigint, count(*)
    FROM booked GROUP BY tenant_id, grant_id
"""
_CHARGE: Final = """
    WITH charge AS (
        SELECT a.ledger_account_id, c.amount_nano
        FROM unnest(%(tenants)s::text[], %(amounts)s::bigint[]) AS c (tenant_id, amount_nano)
        JOIN ledger_accounts a ON a.kind = 'prepaid' AND a.tenant_id = c.tenant_id
    ), ours AS (
        SELECT ledger_account_id FROM ledger_accounts WHERE kind = 'revenue' AND tenant_id = ''
    ), posted AS (
        INSERT INTO entries (transaction_id, debit_account_id, credit_account_id, amount_nano)
        SELECT %(transaction)s, charge.ledger_account_id, ours.ledger_account_id, charge.amount_nano FROM charge, ours
    ), debited AS (
        UPDATE ledger_accounts a SET balance_nano = a.balance_nano - charge.amount_nano
        FROM charge WHERE a.ledger_account_id = charge.ledger_account_id
    )
    UPDATE ledger_accounts a SET balance_nano = a.balance_nano + (SELECT sum(amount_nano) FROM charge)
    FROM ours WHERE a.ledger_account_id = ours.ledger_account_id
"""
_OUTSTANDING: Final = """
    SELECT coalesce(sum(greatest(amount_nano - spent_nano, 0)), 0)::bigint FROM grants WHERE tenant_id = %s
"""
_USAGE: Final = """
    SELECT request_id, min(tenant_id) AS tenant_id, min(key_id) AS key_id, min(model) AS model,
        (array_agg(status ORDER BY attempt DESC))[1]::int AS status,
        sum(input_tokens)::bigint AS input_tokens, sum(output_tokens)::bigint AS output_tokens,
        sum(cache_read_tokens)::bigint AS cache_read_tokens,
        sum(cache_write_5m_tokens)::bigint AS cache_write_5m_tokens,
        sum(cache_write_1h_tokens)::bigint AS cache_write_1h_tokens,
        sum(cost_nano)::bigint AS cost_nano, max(price_version) AS price_version, created_at,
        max(duration_ms) AS duration_ms, (array_agg(first_token_ms ORDER BY attempt DESC))[1] AS first_token_ms,
        bool_or(estimated) AS estimated, count(*)::int AS attempts, bool_or(final) AS complete
    FROM usage_records
"""


@dataclass(frozen=True, slots=True)
class UsageSum:
    """One request: the sum over its attempts."""

    request_id: str
    tenant_id: str
    key_id: str
    model: str
    status: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    cost_nano: int
    price_version: int
    created_at: datetime
    duration_ms: int
    first_token_ms: int
    estimated: bool
    attempts: int
    complete: bool


@dataclass(frozen=True, slots=True)
class PriceRow:
    """A price row and its model."""

    model: str
    rates: Rates
    effective_ms: int


class Store:
    """All that the ledger keeps, in the schema `ledger`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def ensure_partitions(self, months_ahead: int = 3) -> None:
        """Makes the monthly partitions of usage_records from this month on; existing ones stay."""
        now = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('usage_records'))")
            for offset in range(months_ahead + 1):
                begin, end = _month(now.year, now.month + offset), _month(now.year, now.month + offset + 1)
                name = sql.Identifier(f"usage_records_{begin:%Y_%m}")
                await connection.execute(
                    sql.SQL(
                        "CREATE TABLE IF NOT EXISTS {} PARTITION OF usage_records FOR VALUES FROM ({}) TO ({})"
                    ).format(name, sql.Literal(begin), sql.Literal(end))
                )

    async def book(self, rows: Iterable[UsageRow]) -> int:
        """Books usage in one transaction (I1, I4): records, entries, balances, grants. Rows booked before are passed
        over, so redelivery does no harm. Answers how many were new."""
        async with self._pool.connection() as connection, connection.transaction():
            async with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
                copy.set_types(_COPY_TYPES)
                for row in rows:
                    await copy.write_row(row)
            booked = await (await connection.execute(_BOOK)).fetchall()
            if not booked:
                raise Rollback  # all of it was booked before: leave no empty transaction behind
            await self._charge(connection, booked)
            return sum(int(count) for *_, count in booked)
        return 0

    async def _charge(self, connection: Connection, booked: Sequence[TupleRow]) -> None:
        by_tenant: dict[str, int] = {}
        by_grant: dict[str, int] = {}
        for _, tenant_id, grant_id, cost_nano, _ in booked:
            if cost_nano:
                by_tenant[tenant_id] = by_tenant.get(tenant_id, 0) + cost_nano
                by_grant[grant_id] = by_grant.get(grant_id, 0) + cost_nano
        if not by_tenant:
            return
        tenants, grants = sorted(by_tenant), sorted(by_grant)
        await _lock_accounts(connection, tenants)
        amounts = [by_tenant[tenant] for tenant in tenants]
        await connection.execute(_CHARGE, {"transaction": booked[0][0], "tenants": tenants, "amounts": amounts})
        await connection.execute(
            "UPDATE grants g SET spent_nano = g.spent_nano + s.cost_nano"
            " FROM unnest(%s::text[], %s::bigint[]) AS s (grant_id, cost_nano) WHERE g.grant_id = s.grant_id",
            (grants, [by_grant[grant] for grant in grants]),
        )

    async def raise_grant(
        self, grant_id: str, tenant_id: str, holder: str, want_nano: int, ttl_s: float
    ) -> tuple[int, int]:
        """Raises a grant's total towards `want_nano` as far as the balance goes (I2). Answers the total and what the
        balance has left outside grants."""
        async with self._pool.connection() as connection, connection.transaction():
            await _lock_accounts(connection, [tenant_id])
            row = await _row(connection, _BALANCE, (tenant_id,))
            balance = int(row[0])
            outstanding = int((await _row(connection, _OUTSTANDING, (tenant_id,)))[0])
            available = max(0, balance - outstanding)
            grant = await _row_or_none(connection, "SELECT amount_nano FROM grants WHERE grant_id = %s", (grant_id,))
            amount = int(grant[0]) if grant else 0
            growth = max(0, min(want_nano - amount, available))
            await connection.execute(
                "INSERT INTO grants (grant_id, tenant_id, holder, amount_nano, expires_at)"
                " VALUES (%s, %s, %s, %s, now() + make_interval(secs => %s))"
                " ON CONFLICT (grant_id) DO UPDATE SET amount_nano = excluded.amount_nano,"
                " expires_at = excluded.expires_at",
                (grant_id, tenant_id, holder, amount + growth, ttl_s),
            )
            return amount + growth, available - growth

    async def renew_grants(self, holder: str, grant_ids: Sequence[str], ttl_s: float) -> list[str]:
        """Puts off the expiry of those of a holder's grants that are open still, and answers them."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "UPDATE grants SET expires_at = now() + make_interval(secs => %s)"
                " WHERE holder = %s AND grant_id = ANY(%s) RETURNING grant_id",
                (ttl_s, holder, list(grant_ids)),
            )
            return [str(row[0]) for row in await cursor.fetchall()]

    async def close_grant(self, grant_id: str, settled_nano: int) -> None:
        """Lowers a grant to what was settled in it: the rest is free at once, that part when its events are booked."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE grants SET amount_nano = least(amount_nano, %s) WHERE grant_id = %s", (settled_nano, grant_id)
            )

    async def expire_grants(self) -> int:
        """Deletes grants whose holder stopped renewing them, and answers how many had something left."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "DELETE FROM grants WHERE expires_at < now() RETURNING amount_nano > spent_nano"
            )
            return sum(1 for (left,) in await cursor.fetchall() if left)

    async def top_up(self, tenant_id: str, amount_nano: int, idempotency_key: str, reason: str) -> tuple[int, bool]:
        """Credits a balance once for each idempotency key. Answers the balance and whether the key was used before."""
        async with self._pool.connection() as connection, connection.transaction():
            await _lock_accounts(connection, [tenant_id])
            row = await _row_or_none(
                connection,
                "INSERT INTO transactions (kind, idempotency_key, reason) VALUES ('top_up', %s, %s)"
                " ON CONFLICT (idempotency_key) DO NOTHING RETURNING transaction_id",
                (f"{tenant_id}/{idempotency_key}", reason),
            )
            if row is not None:
                await connection.execute(
                    """
                    WITH posted AS (
                        INSERT INTO entries (transaction_id, debit_account_id, credit_account_id, amount_nano)
                        SELECT %(transaction)s, clearing.ledger_account_id, prepaid.ledger_account_id, %(amount)s
                        FROM ledger_accounts clearing, ledger_accounts prepaid
                        WHERE clearing.kind = 'top_up_clearing' AND clearing.tenant_id = ''
                            AND prepaid.kind = 'prepaid' AND prepaid.tenant_id = %(tenant)s
                    )
                    UPDATE ledger_accounts
                    SET balance_nano = balance_nano + CASE kind WHEN 'prepaid' THEN %(amount)s ELSE -%(amount)s END
                    WHERE (kind = 'prepaid' AND tenant_id = %(tenant)s) OR (kind = 'top_up_clearing' AND tenant_id = '')
                    """,
                    {"transaction": row[0], "amount": amount_nano, "tenant": tenant_id},
                )
            balance = await _row(connection, _BALANCE, (tenant_id,))
            return int(balance[0]), row is None

    async def balance(self, tenant_id: str) -> tuple[int, int]:
        """A tenant's balance and the part of it that is out in grants, unspent."""
        async with self._pool.connection() as connection:
            row = await _row_or_none(connection, _BALANCE, (tenant_id,))
            outstanding = await _row(connection, _OUTSTANDING, (tenant_id,))
            return (int(row[0]) if row else 0), int(outstanding[0])

    async def set_price(self, model: str, rates: Rates) -> PriceRow:
        """Adds a price row; `rates.price_version` is ignored."""
        async with self._pool.connection() as connection:
            row = await _row(
                connection,
                "INSERT INTO prices (model, input_pico, output_pico, cache_read_pico, cache_write_5m_pico,"
                " cache_write_1h_pico) VALUES (%s, %s, %s, %s, %s, %s) RETURNING " + _PRICE_COLUMNS,
                (model, rates.input, rates.output, rates.cache_read, rates.cache_write_5m, rates.cache_write_1h),
            )
            return _price(row)

    async def prices_in_force(self) -> list[PriceRow]:
        """The newest price row of every model."""
        return await self._prices(
            "SELECT DISTINCT ON (model) " + _PRICE_COLUMNS + " FROM prices ORDER BY model, price_version DESC", ()
        )

    async def prices(self, versions: Iterable[int]) -> list[PriceRow]:
        """The price rows of these versions, those that exist."""
        return await self._prices(
            "SELECT " + _PRICE_COLUMNS + " FROM prices WHERE price_version = ANY(%s)", (list(versions),)
        )

    async def _prices(self, query: str, parameters: tuple[Any, ...]) -> list[PriceRow]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query, parameters)
            return [_price(row) for row in await cursor.fetchall()]

    async def usage(self, request_id: str, created_at: datetime) -> UsageSum | None:
        """What one request used; None when nothing of it is booked."""
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(UsageSum)) as cursor:
            await cursor.execute(
                _USAGE + " WHERE request_id = %s AND created_at = %s GROUP BY request_id, created_at",
                (request_id, created_at),
            )
            return await cursor.fetchone()

    async def usage_page(self, tenant_id: str, limit: int, before: tuple[datetime, str] | None) -> list[UsageSum]:
        """A tenant's requests, newest first, from behind the position `before`."""
        where = " WHERE tenant_id = %s"
        parameters: list[Any] = [tenant_id]
        if before is not None:
            where += " AND (created_at, request_id) < (%s, %s)"
            parameters += before
        query = _USAGE + where + " GROUP BY created_at, request_id ORDER BY created_at DESC, request_id DESC LIMIT %s"
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(UsageSum)) as cursor:
            await cursor.execute(query, [*parameters, limit])
            return await cursor.fetchall()


_BALANCE: Final = "SELECT balance_nano FROM ledger_accounts WHERE kind = 'prepaid' AND tenant_id = %s"
_PRICE_COLUMNS: Final = (
    "price_version, model, input_pico, output_pico, cache_read_pico, cache_write_5m_pico, cache_write_1h_pico,"
    " effective_at"
)


def _price(row: TupleRow) -> PriceRow:
    return PriceRow(model=row[1], rates=Rates(row[0], *row[2:7]), effective_ms=unix_ms(row[7]))


def _month(year: int, month: int) -> datetime:
    return datetime(year + (month - 1) // 12, (month - 1) % 12 + 1, 1, tzinfo=UTC)


async def _lock_accounts(connection: Connection, tenants: Sequence[str]) -> None:
    """Locks the tenants' prepaid accounts in one order, so that bookings never deadlock; makes what is missing."""
    lock = (
        "SELECT tenant_id FROM ledger_accounts WHERE kind = 'prepaid' AND tenant_id = ANY(%s)"
        " ORDER BY tenant_id FOR UPDATE"
    )
    found = await (await connection.execute(lock, (list(tenants),))).fetchall()
    if len(found) < len(tenants):
        await connection.execute(
            "INSERT INTO ledger_accounts (kind, tenant_id) SELECT 'prepaid', t FROM unnest(%s::text[]) AS t ORDER BY t"
            " ON CONFLICT DO NOTHING",
            (list(tenants),),
        )
        await connection.execute(lock, (list(tenants),))


async def _row_or_none(connection: Connection, query: str, parameters: tuple[Any, ...]) -> TupleRow | None:
    return await (await connection.execute(query, parameters)).fetchone()


async def _row(connection: Connection, query: str, parameters: tuple[Any, ...]) -> TupleRow:
    row = await _row_or_none(connection, query, parameters)
    if row is None:
        raise LookupError("a query that always answers a row answered none")
    return row
