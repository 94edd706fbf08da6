"""Reading usage: requests, sums of hours and days, and attempts in the order of booking."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from psycopg import sql
from psycopg.errors import QueryCanceled
from psycopg.rows import class_row

from services.ledger.records import BookedAttempt, Position
from services.ledger.store.queries import row
from services.shared.database import Pool
from services.shared.errors import Kind, Refusal

_COLUMNS: Final = ", ".join(f"r.{field.name}" for field in fields(BookedAttempt))
_GROUPS: Final = ("tenant_id", "key_id", "model", "upstream_account_id")
_FILTERS: Final = ("tenant_id", "key_id", "model")


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which of a tenant's requests are listed; None and "" for no limit. `before` is the position behind which a page
    begins, `from_at` is inclusive, `to_at` is not."""

    tenant_id: str
    key_id: str = ""
    model: str = ""
    idempotency_key: str = ""
    status: int = 0
    from_at: datetime | None = None
    to_at: datetime | None = None
    before: tuple[datetime, str] | None = None


@dataclass(frozen=True, slots=True)
class RollupFilter:
    """Which hours are summed; "" for no limit. `from_at` is inclusive, `to_at` is not."""

    from_at: datetime
    to_at: datetime
    tenant_id: str = ""
    key_id: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Sums of one hour or day; money in nano-dollars. What is not told apart is ""."""

    start_at: datetime
    tenant_id: str
    key_id: str
    model: str
    upstream_account_id: str
    requests: int
    attempts: int
    estimated: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    cost_nano: int
    upstream_cost_nano: int


class UsageStore:
    """Usage records, as attempts; those of one request stand together, in their order."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def of_requests(self, asked: Sequence[tuple[str, datetime]]) -> list[BookedAttempt]:
        """The attempts of these requests, each named by its id and the instant in it."""
        request_ids, instants = [request_id for request_id, _ in asked], [created_at for _, created_at in asked]
        return await self._attempts(
            f"SELECT {_COLUMNS} FROM unnest(%s::text[], %s::timestamptz[]) AS asked (request_id, created_at)"
            " JOIN usage_records r USING (request_id, created_at)"
            " WHERE r.created_at BETWEEN %s AND %s ORDER BY request_id, attempt",
            [request_ids, instants, min(instants), max(instants)],
        )

    async def page(self, wanted: UsageFilter, limit: int) -> list[BookedAttempt]:
        """The attempts of a tenant's requests that fit, newest request first, of at most `limit` requests."""
        where, having, parameters = _conditions(wanted)
        return await self._attempts(
            "WITH page AS (SELECT created_at, request_id FROM usage_records"
            f" WHERE {where} GROUP BY created_at, request_id {having}"
            " ORDER BY created_at DESC, request_id DESC LIMIT %s)"
            f" SELECT {_COLUMNS} FROM page JOIN usage_records r USING (created_at, request_id)"
            " ORDER BY r.created_at DESC, r.request_id DESC, r.attempt",
            [*parameters, limit],
        )

    async def booked_after(self, position: Position, head: int, tenant_id: str, limit: int) -> list[BookedAttempt]:
        """The next attempts behind a position in the order of booking, up to the transaction `head`."""
        of_tenant = " AND r.tenant_id = %s" if tenant_id else ""
        return await self._attempts(
            f"SELECT {_COLUMNS} FROM usage_records r"
            " WHERE r.transaction_id BETWEEN %s AND %s AND (r.transaction_id, r.request_id, r.attempt) > (%s, %s, %s)"
            f"{of_tenant} ORDER BY r.transaction_id, r.request_id, r.attempt LIMIT %s",
            [position.transaction_id, head, *position, *([tenant_id] if tenant_id else []), limit],
        )

    async def head(self) -> int:
        """The newest transaction that booked usage; 0 when there is none."""
        async with self._pool.connection() as connection:
            return int((await row(connection, "SELECT coalesce(max(transaction_id), 0) FROM usage_records", ()))[0])

    async def buckets(self, period: str, groups: Sequence[str], of: RollupFilter, limit: int) -> list[Bucket]:
        """Sums of hours by `period` ("hour" or "day", of UTC) and by the columns `groups`; at most `limit` of them."""
        told = sql.SQL(", ").join(
            sql.Identifier(name) if name in groups else sql.SQL("'' AS {}").format(sql.Identifier(name))
            for name in _GROUPS
        )
        only = {name: value for name in _FILTERS if (value := getattr(of, name))}
        sums = sql.SQL(", ").join(
            sql.SQL("sum({0})::bigint AS {0}").format(sql.Identifier(field.name)) for field in fields(Bucket)[5:]
        )
        wanted = sql.SQL(" ").join(sql.SQL("AND {} = %s").format(sql.Identifier(name)) for name in only)
        query = sql.SQL(
            "SELECT date_trunc(%s, hour, 'UTC') AS start_at, {told}, {sums} FROM usage_rollups"
            " WHERE hour >= %s AND hour < %s {only} GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5 LIMIT %s"
        ).format(told=told, sums=sums, only=wanted)
        parameters = [period, of.from_at, of.to_at, *only.values(), limit]
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(Bucket)) as cursor:
            with _in_time():
                await cursor.execute(query, parameters)
            return await cursor.fetchall()

    async def held_nano(self, tenant_id: str) -> int:
        """What is held for a tenant's requests, in nano-dollars, as the holders of its grants said at their last
        renewal."""
        async with self._pool.connection() as connection:
            query = "SELECT coalesce(sum(held_nano), 0)::bigint FROM grants WHERE tenant_id = %s AND key_id = ''"
            return int((await row(connection, query, (tenant_id,)))[0])

    async def _attempts(self, query: str, parameters: Sequence[Any]) -> list[BookedAttempt]:
        async with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(BookedAttempt)) as cursor,
        ):
            with _in_time():
                await cursor.execute(query.encode(), parameters)
            return await cursor.fetchall()


@contextlib.contextmanager
def _in_time() -> Iterator[None]:
    """Turns the end of Postgres' patience into a refusal."""
    try:
        yield
    except QueryCanceled:
        raise Refusal(
            Kind.INVALID_REQUEST, "reading takes too long: ask for less time with from and to, or for fewer conditions"
        ) from None


def _conditions(wanted: UsageFilter) -> tuple[str, str, list[Any]]:
    """WHERE, HAVING and their parameters. All attempts of a request have its key, model and idempotency key; its status
    is that of its last attempt."""
    conditions, parameters = ["tenant_id = %s"], [wanted.tenant_id]
    optional: list[tuple[str, Any]] = [
        ("key_id = %s", wanted.key_id),
        ("model = %s", wanted.model),
        ("idempotency_key = %s", wanted.idempotency_key),
        ("created_at >= %s", wanted.from_at),
        ("created_at < %s", wanted.to_at),
    ]
    for condition, value in optional:
        if value:
            conditions.append(condition)
            parameters.append(value)
    if wanted.before is not None:
        conditions.append("(created_at, request_id) < (%s, %s)")
        parameters += wanted.before  # type: ignore[arg-type]
    if not wanted.status:
        return " AND ".join(conditions), "", parameters
    having = "HAVING (array_agg(status ORDER BY attempt DESC))[1] = %s"
    return " AND ".join(conditions), having, [*parameters, wanted.status]
