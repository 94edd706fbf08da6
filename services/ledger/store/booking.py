"""Booking usage: records, sums, entries, balances and grants in one transaction.

However many events a booking has, it takes the same few statements. Bookings commit in the order of their transaction
ids, whichever replica makes them, so that whoever has read up to an id has missed nothing before it.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from typing import Final, LiteralString, NamedTuple

import psycopg
from psycopg import Rollback, sql
from psycopg.rows import TupleRow
from psycopg_pool import PoolTimeout

from services.ledger.entries import charge, spread, usage_postings
from services.ledger.settlement import UsageRow
from services.ledger.store.corrections import Corrected, correct_orphans, orphans_tenants
from services.ledger.store.postings import post
from services.ledger.store.queries import (
    ADD_TO_KEY_SPEND,
    ADD_TO_ROLLUPS,
    USAGE_TYPES,
    Connection,
    lock_accounts,
    row,
    spend,
)
from services.shared import clock, ids
from services.shared.database import Pool
from services.shared.metrics import SECONDS, Distribution
from services.shared.telemetry import logger
from tollhouse.v1 import events_pb2

_log = logger("booking")

_COLUMNS: Final = ", ".join(UsageRow._fields)
PREPARE: Final = (
    f"CREATE TEMP TABLE incoming ON COMMIT DELETE ROWS AS SELECT {_COLUMNS} FROM usage_records WITH NO DATA"
)
"""What every connection of the pool runs first: the table that bookings are copied into."""

_COPY: Final = f"COPY incoming ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"
_IN_ORDER: Final = "SELECT pg_advisory_xact_lock(hashtext('tollhouse.booking'))"
_ORPHANED: Final = int(events_pb2.USAGE_STATUS_ORPHANED)
_BOOK: Final = f"""
    WITH posting AS (
        INSERT INTO transactions (kind) VALUES ('usage') RETURNING transaction_id
    ), booked AS (
        INSERT INTO usage_records ({_COLUMNS}, transaction_id)
        SELECT {_COLUMNS}, (SELECT transaction_id FROM posting) FROM incoming i
        WHERE i.status <> {_ORPHANED} OR NOT EXISTS ( -- what is missing when a request's own events are here was never
            SELECT FROM usage_records u WHERE (u.request_id, u.created_at) = (i.request_id, i.created_at)
                AND u.final AND u.status <> {_ORPHANED}
        )
        ON CONFLICT DO NOTHING
        RETURNING *
    ), rolled_up AS (
        INSERT INTO usage_rollups AS r
        SELECT date_trunc('hour', created_at, 'UTC'), tenant_id, key_id, model, upstream_account_id,
            count(*) FILTER (WHERE final), count(*), count(*) FILTER (WHERE estimated), sum(input_tokens),
            sum(output_tokens), sum(cache_read_tokens), sum(cache_write_5m_tokens), sum(cache_write_1h_tokens),
            sum(cost_nano), sum(upstream_cost_nano), 0
        FROM booked GROUP BY 1, 2, 3, 4, 5 ORDER BY 2, 1, 3, 4, 5
        {ADD_TO_ROLLUPS}
    ), spent AS (
        INSERT INTO key_spend AS k
        SELECT key_id, min(tenant_id), sum(cost_nano) FROM booked GROUP BY key_id ORDER BY key_id
        {ADD_TO_KEY_SPEND}
    )
    SELECT (SELECT transaction_id FROM posting), tenant_id, grant_id, key_grant_id, sum(cost_nano)::bigint,
        sum(upstream_cost_nano)::bigint, count(*)
    FROM booked GROUP BY tenant_id, grant_id, key_grant_id
"""
_UNPAID: Final = """
    SELECT tenant_id, request_id, attempt, created_at, cost_nano
    FROM usage_records WHERE transaction_id = %s AND tenant_id = ANY(%s) AND cost_nano > 0
    ORDER BY tenant_id, request_id, attempt
"""
# These rollups are those that the booking itself has just changed, so they are locked already.
_SHORTFALL: Final = """
    WITH unpaid AS (
        UPDATE usage_records u SET shortfall_nano = part.nano
        FROM unnest(%s::text[], %s::int2[], %s::timestamptz[], %s::bigint[])
            AS part (request_id, attempt, created_at, nano)
        WHERE (u.request_id, u.attempt, u.created_at) = (part.request_id, part.attempt, part.created_at)
        RETURNING u.*
    )
    UPDATE usage_rollups r SET shortfall_nano = r.shortfall_nano + s.nano
    FROM (
        SELECT tenant_id, date_trunc('hour', created_at, 'UTC') AS hour, key_id, model, upstream_account_id,
            sum(shortfall_nano)::bigint AS nano
        FROM unpaid GROUP BY 1, 2, 3, 4, 5
    ) AS s
    WHERE (r.tenant_id, r.hour, r.key_id, r.model, r.upstream_account_id)
        = (s.tenant_id, s.hour, s.key_id, s.model, s.upstream_account_id)
"""
_OF_MONTH: Final = "WHERE created_at >= %s AND created_at < %s"
_LOCK_TIMEOUT_MS: Final = 2000
"""How long a partition waits for bookings and reads under way: all that come after it wait behind it."""


class Booked(NamedTuple):
    """What a booking did. `transaction_id` is its last one, 0 when all of it had been booked before."""

    transaction_id: int
    events: int


class Totals(NamedTuple):
    """What bookings came to, corrections apart; money in nano-dollars."""

    events: int = 0
    cost_nano: int = 0
    upstream_cost_nano: int = 0
    shortfall_nano: int = 0

    def plus(self, other: "Totals") -> "Totals":
        """Both together."""
        return Totals(*map(sum, zip(self, other, strict=True)))


class BookingStore:
    """Usage records and what follows from them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.totals = Totals()
        """Since the process began."""
        self.durations = Distribution(SECONDS)
        """How long bookings took, in seconds."""

    async def ensure_partitions(self, months_ahead: int = 3) -> None:
        """Makes the monthly partitions of usage_records from this month on; existing ones stay. A month that cannot be
        made now is booked elsewhen meanwhile, and tried again at the next call."""
        now = datetime.fromtimestamp(clock.now_ms() / 1000, UTC)
        for offset in range(months_ahead + 1):
            begin, end = _month(now.year, now.month + offset), _month(now.year, now.month + offset + 1)
            try:
                async with self._pool.connection() as connection:
                    await _ensure_partition(connection, begin, end)
            except (psycopg.Error, PoolTimeout) as error:
                _log.warning("partition_postponed", month=f"{begin:%Y-%m}", error=repr(error))

    async def book(self, rows: Sequence[UsageRow]) -> Booked:
        """Books usage in one transaction (I1, I4). Rows booked before are passed over, so redelivery does no harm; one
        that was booked as an orphan before is corrected. Where they correct many, further transactions do the rest."""
        began_s = clock.monotonic_s()
        booked, left = Booked(0, 0), rows
        while left:
            transaction_id, came_to, left = await self._book(left)
            self.totals = self.totals.plus(came_to)
            booked = Booked(transaction_id or booked.transaction_id, booked.events + came_to.events)
        self.durations.observe(clock.monotonic_s() - began_s)
        return booked

    async def _book(self, rows: Sequence[UsageRow]) -> tuple[int, Totals, Sequence[UsageRow]]:
        """One transaction. Answers its last id, what it came to, and the rows that may correct more."""
        async with self._pool.connection() as connection, connection.transaction():
            async with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
                copy.set_types(list(USAGE_TYPES.values()))
                for record in rows:
                    await copy.write_row(record)
            await connection.execute(_IN_ORDER)
            sums = await (await connection.execute(_BOOK)).fetchall()
            events = sum(int(summed[6]) for summed in sums)
            maybe = events < len(rows) or any(record.attempt > ids.FIRST_ATTEMPT for record in rows)
            orphaned = await orphans_tenants(connection) if maybe else []
            if not sums and not orphaned:
                raise Rollback  # all of it was booked before: leave no empty transaction behind
            if orphaned:  # every account in one go: those of corrections would be locked after those of bookings
                await lock_accounts(connection, sorted({*orphaned, *(summed[1] for summed in sums if summed[4])}))
            shortfall_nano = await self._charge(connection, sums) if sums else 0
            corrected = await correct_orphans(connection) if orphaned else Corrected()
            cost_nano, upstream_cost_nano = (sum(int(summed[column]) for summed in sums) for column in (4, 5))
            transaction_id = corrected.transaction_id or int(sums[0][0])
            left = [] if corrected.all else [row for row in rows if row.request_id >= corrected.last_request_id]
            return transaction_id, Totals(events, cost_nano, upstream_cost_nano, shortfall_nano), left
        return 0, Totals(), []

    async def _charge(self, connection: Connection, sums: Sequence[TupleRow]) -> int:
        """Posts what was booked. Locks accounts first, then grants, as everybody does. Answers the shortfall."""
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
        unpaid = {tenant_id: made.shortfall_nano for tenant_id, made in charges.items() if made.shortfall_nano}
        if unpaid:
            await _note_shortfalls(connection, transaction_id, unpaid)
        return sum(unpaid.values())


async def _note_shortfalls(connection: Connection, transaction_id: int, unpaid_nano: Mapping[str, int]) -> None:
    """Says on the records which usage the balances of these tenants did not pay for, and in the rollups how much."""
    found = await (await connection.execute(_UNPAID, (transaction_id, list(unpaid_nano)))).fetchall()
    noted: list[tuple[str, int, datetime, int]] = []
    for tenant_id, records in groupby(found, key=itemgetter(0)):
        _log.warning("shortfall", tenant_id=tenant_id, nano=unpaid_nano[tenant_id])
        usage = list(records)
        parts = spread(unpaid_nano[tenant_id], [cost_nano for *_, cost_nano in usage])
        noted += [
            (request_id, attempt, created_at, part_nano)
            for (_, request_id, attempt, created_at, _), part_nano in zip(usage, parts, strict=True)
            if part_nano
        ]
    await connection.execute(_SHORTFALL, [list(column) for column in zip(*noted, strict=True)])


async def _ensure_partition(connection: Connection, begin: datetime, end: datetime) -> None:
    """Makes one month's partition. What a wrong clock has dated there before lies in the default partition, in the way
    of it, and is moved: all of it in one transaction, so that nobody sees a record twice or not at all."""
    name, month = f"usage_records_{begin:%Y_%m}", (begin, end)
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(hashtext('usage_records'))")
        (exists,) = await row(connection, "SELECT to_regclass(%s) IS NOT NULL", (name,))
        if exists:
            return
        await connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_MS}ms'".encode())
        (astray,) = await row(connection, f"SELECT EXISTS (SELECT FROM usage_records_elsewhen {_OF_MONTH})", month)
        if not astray:
            await connection.execute(_partition("CREATE TABLE {} PARTITION OF usage_records {}", name, month))
            return
        # Nobody may book into the month between the move and the partition.
        await connection.execute("LOCK TABLE usage_records IN ACCESS EXCLUSIVE MODE")
        await connection.execute(_partition("CREATE TABLE {} (LIKE usage_records INCLUDING ALL)", name, month))
        moved = await connection.execute(
            sql.SQL(
                "WITH astray AS (DELETE FROM usage_records_elsewhen "
                + _OF_MONTH
                + " RETURNING *) INSERT INTO {} SELECT * FROM astray"
            ).format(sql.Identifier(name)),
            month,
        )
        await connection.execute(_partition("ALTER TABLE usage_records ATTACH PARTITION {} {}", name, month))
        _log.warning("partition_made_of_strays", month=f"{begin:%Y-%m}", records=moved.rowcount)


def _partition(statement: LiteralString, name: str, month: tuple[datetime, datetime]) -> sql.Composed:
    bounds = sql.SQL("FOR VALUES FROM ({}) TO ({})").format(*map(sql.Literal, month))
    return sql.SQL(statement).format(sql.Identifier(name), bounds)


def _month(year: int, month: int) -> datetime:
    return datetime(year + (month - 1) // 12, (month - 1) % 12 + 1, 1, tzinfo=UTC)
