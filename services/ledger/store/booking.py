"""Booking usage: records, sums, entries, balances and grants in one transaction.

However many events a booking has, it takes the same few statements. Bookings commit in the order of their transaction
ids, whichever replica makes them, so that whoever has read up to an id has missed nothing before it.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from psycopg import Rollback, sql
from psycopg.rows import TupleRow

from services.ledger.entries import Charge, charge, spread, usage_postings
from services.ledger.settlement import UsageRow
from services.ledger.store.corrections import correct_orphans, orphans_tenants
from services.ledger.store.postings import post
from services.ledger.store.queries import Connection, lock_accounts, spend
from services.shared import clock
from services.shared.database import Pool
from services.shared.telemetry import logger

_log = logger("booking")

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
_IN_ORDER: Final = "SELECT pg_advisory_xact_lock(hashtext('tollhouse.booking'))"
_BOOK: Final = f"""
    WITH posting AS (
        INSERT INTO transactions (kind) VALUES ('usage') RETURNING transaction_id
    ), booked AS (
        INSERT INTO usage_records ({_COLUMNS}, transaction_id)
        SELECT {_COLUMNS}, (SELECT transaction_id FROM posting) FROM incoming
        ON CONFLICT DO NOTHING
        RETURNING *
    ), rolled_up AS (
        INSERT INTO usage_rollups AS r
        SELECT date_trunc('hour', created_at, 'UTC'), tenant_id, key_id, model, upstream_account_id,
            count(*) FILTER (WHERE final), count(*), count(*) FILTER (WHERE estimated), sum(input_tokens),
            sum(output_tokens), sum(cache_read_tokens), sum(cache_write_5m_tokens), sum(cache_write_1h_tokens),
            sum(cost_nano), sum(upstream_cost_nano), 0
        FROM booked GROUP BY 1, 2, 3, 4, 5 ORDER BY 2, 1, 3, 4, 5
        ON CONFLICT (tenant_id, hour, key_id, model, upstream_account_id) DO UPDATE SET
            requests = r.requests + excluded.requests, attempts = r.attempts + excluded.attempts,
            estimated = r.estimated + excluded.estimated, input_tokens = r.input_tokens + excluded.input_tokens,
            output_tokens = r.output_tokens + excluded.output_tokens,
            cache_read_tokens = r.cache_read_tokens + excluded.cache_read_tokens,
            cache_write_5m_tokens = r.cache_write_5m_tokens + excluded.cache_write_5m_tokens,
            cache_write_1h_tokens = r.cache_write_1h_tokens + excluded.cache_write_1h_tokens,
            cost_nano = r.cost_nano + excluded.cost_nano,
            upstream_cost_nano = r.upstream_cost_nano + excluded.upstream_cost_nano
    ), spent AS (
        INSERT INTO key_spend AS k
        SELECT key_id, min(tenant_id), sum(cost_nano) FROM booked GROUP BY key_id ORDER BY key_id
        ON CONFLICT (key_id) DO UPDATE SET spent_nano = k.spent_nano + excluded.spent_nano
    )
    SELECT (SELECT transaction_id FROM posting), tenant_id, grant_id, key_grant_id, sum(cost_nano)::bigint,
        sum(upstream_cost_nano)::bigint, count(*)
    FROM booked GROUP BY tenant_id, grant_id, key_grant_id
"""
_UNPAID: Final = """
    SELECT request_id, attempt, created_at, cost_nano, date_trunc('hour', created_at, 'UTC'), key_id, model,
        upstream_account_id
    FROM usage_records WHERE transaction_id = %s AND tenant_id = %s AND cost_nano > 0 ORDER BY request_id, attempt
"""
_SHORTFALL: Final = """
    UPDATE usage_records SET shortfall_nano = %s WHERE request_id = %s AND attempt = %s AND created_at = %s
"""
_SHORTFALL_ROLLUP: Final = """
    UPDATE usage_rollups SET shortfall_nano = shortfall_nano + %s
    WHERE tenant_id = %s AND hour = %s AND key_id = %s AND model = %s AND upstream_account_id = %s
"""


class Booked(NamedTuple):
    """What a booking did. `transaction_id` is its last one, 0 when all of it had been booked before."""

    transaction_id: int
    events: int


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

    async def book(self, rows: Sequence[UsageRow]) -> Booked:
        """Books usage in one transaction (I1, I4). Rows booked before are passed over, so redelivery does no harm; one
        that was booked as an orphan before is corrected."""
        async with self._pool.connection() as connection, connection.transaction():
            async with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
                copy.set_types(_COPY_TYPES)
                for row in rows:
                    await copy.write_row(row)
            await connection.execute(_IN_ORDER)
            sums = await (await connection.execute(_BOOK)).fetchall()
            events = sum(int(row[6]) for row in sums)
            orphaned = await orphans_tenants(connection) if events < len(rows) else []
            if not sums and not orphaned:
                raise Rollback  # all of it was booked before: leave no empty transaction behind
            if orphaned:  # every account in one go: corrections would lock them one by one, in the order of requests
                await lock_accounts(connection, sorted({*orphaned, *(row[1] for row in sums if row[4])}))
            if sums:
                await self._charge(connection, sums)
            corrected = await correct_orphans(connection) if orphaned else 0
            return Booked(corrected or int(sums[0][0]), events)
        return Booked(0, 0)

    async def _charge(self, connection: Connection, sums: Sequence[TupleRow]) -> None:
        """Posts what was booked. Locks accounts first, then grants, as everybody does."""
        costs: dict[str, int] = {}
        spent: dict[str, int] = {}
        transaction_id, upstream_cost_nano = int(sums[0][0]), 0
        for _, tenant_id, grant_id, key_grant_id, cost_nano, our_cost_nano, _ in sums:
            upstream_cost_nano += our_cost_nano
            if cost_nano:
                costs[tenant_id] = costs.get(tenant_id, 0) + cost_nano
                spent[grant_id] = spent.get(grant_id, 0) + cost_nano
                if key_grant_id:
                    spent[key_grant_id] = spent.get(key_grant_id, 0) + cost_nano
        balances = await lock_accounts(connection, sorted(costs)) if costs else {}
        charges = {tenant_id: charge(balances[tenant_id], cost_nano) for tenant_id, cost_nano in costs.items()}
        await post(connection, transaction_id, usage_postings(charges, upstream_cost_nano))
        await spend(connection, spent)
        for tenant_id, made in charges.items():
            if made.shortfall_nano:
                await self._note_shortfall(connection, transaction_id, tenant_id, made)

    async def _note_shortfall(self, connection: Connection, transaction_id: int, tenant_id: str, made: Charge) -> None:
        """Says on the records which usage the balance did not pay for."""
        _log.warning("shortfall", tenant_id=tenant_id, nano=made.shortfall_nano)
        rows = await (await connection.execute(_UNPAID, (transaction_id, tenant_id))).fetchall()
        for row, part_nano in zip(rows, spread(made.shortfall_nano, [row[3] for row in rows]), strict=True):
            if part_nano:
                request_id, attempt, created_at, _, hour, key_id, model, account_id = row
                await connection.execute(_SHORTFALL, (part_nano, request_id, attempt, created_at))
                await connection.execute(_SHORTFALL_ROLLUP, (part_nano, tenant_id, hour, key_id, model, account_id))


def _month(year: int, month: int) -> datetime:
    return datetime(year + (month - 1) // 12, (month - 1) % 12 + 1, 1, tzinfo=UTC)
