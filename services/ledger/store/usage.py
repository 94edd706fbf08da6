"""Reading usage: requests, and attempts in the order of booking."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from psycopg.rows import class_row

from services.ledger.records import BookedAttempt, Position
from services.ledger.store.queries import in_time, row
from services.shared.database import Pool

_COLUMNS: Final = ", ".join(f"r.{field.name}" for field in fields(BookedAttempt))


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
        where, parameters = _conditions(wanted)
        return await self._attempts(
            "WITH page AS (SELECT DISTINCT created_at, request_id FROM usage_records u"
            f" WHERE {where} ORDER BY created_at DESC, request_id DESC LIMIT %s)"
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
            with in_time():
                await cursor.execute(query.encode(), parameters)
            return await cursor.fetchall()


def _conditions(wanted: UsageFilter) -> tuple[str, list[Any]]:
    """WHERE and its parameters. All attempts of a request have its key, model and idempotency key; its status is that
    of its last attempt."""
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
    if wanted.status:
        # As a constant: of a parameter the planner does not know whether the index of statuses but OK has it.
        conditions.append(f"status = {int(wanted.status)}")
        conditions.append(
            "NOT EXISTS (SELECT FROM usage_records l WHERE (l.request_id, l.created_at) = (u.request_id, u.created_at)"
            " AND l.attempt > u.attempt)"
        )
    return " AND ".join(conditions), parameters
