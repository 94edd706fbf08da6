"""Booking usage: records, entries, balances and grants in one transaction."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from psycopg import Rollback, sql
from psycopg.rows import TupleRow

from services.ledger.settlement import UsageRow
from services.ledger.store.queries import Connection, lock_accounts
from services.shared import clock
from services.shared.database import Pool

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
    + ["text", "int4", "int4", "int2", "int4", "text", "int8", "bytea", "bytea", "int8", "text", "int2", "int8", "int8"]
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


class BookingStore:
    """Usage records and what follows from them."""

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
        await lock_accounts(connection, tenants)
        amounts = [by_tenant[tenant] for tenant in tenants]
        await connection.execute(_CHARGE, {"transaction": booked[0][0], "tenants": tenants, "amounts": amounts})
        await connection.execute(
            "UPDATE grants g SET spent_nano = g.spent_nano + s.cost_nano"
            " FROM unnest(%s::text[], %s::bigint[]) AS s (grant_id, cost_nano) WHERE g.grant_id = s.grant_id",
            (grants, [by_grant[grant] for grant in grants]),
        )


def _month(year: int, month: int) -> datetime:
    return datetime(year + (month - 1) // 12, (month - 1) % 12 + 1, 1, tzinfo=UTC)
