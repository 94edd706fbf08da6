"""Reading usage."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from psycopg.rows import class_row

from services.shared.database import Pool

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


class UsageStore:
    """Usage records, as requests."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

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
