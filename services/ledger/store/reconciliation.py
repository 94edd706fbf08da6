"""What needs an operator's eye: usage that balances could not cover, and usage that is not exact."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg.rows import class_row

from services.ledger.store.queries import row
from services.shared.database import Pool
from tollhouse.v1 import events_pb2

_TENANTS_MOST: Final = 50
_SHORTFALL: Final = "SELECT -balance_nano FROM ledger_accounts WHERE kind = 'shortfall'"
_SUMS: Final = (
    "SELECT coalesce(sum(attempts), 0)::bigint, coalesce(sum(estimated), 0)::bigint FROM usage_totals"
    " WHERE cut = 'day: model, account' AND start_at >= date_trunc('day', %s::timestamptz, 'UTC')"
)
_ORPHANED: Final = (
    f"SELECT count(*) FROM usage_records WHERE status = {events_pb2.USAGE_STATUS_ORPHANED}"
    " AND created_at >= date_trunc('day', %s::timestamptz, 'UTC')"
)
_TENANTS: Final = """
    SELECT tenant_id, sum(shortfall_nano)::bigint AS shortfall_nano, sum(estimated)::bigint AS estimated,
        sum(attempts)::bigint AS attempts
    FROM usage_totals WHERE cut = 'day: tenant' AND start_at >= date_trunc('day', %s::timestamptz, 'UTC')
    GROUP BY tenant_id HAVING sum(shortfall_nano) > 0 OR sum(estimated) > 0
    ORDER BY shortfall_nano DESC, estimated DESC, tenant_id LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class TenantSums:
    """One tenant's."""

    tenant_id: str
    shortfall_nano: int
    estimated: int
    attempts: int


@dataclass(frozen=True, slots=True)
class Sums:
    """Of all tenants; the shortfall since the beginning, the others since a day of UTC."""

    shortfall_nano: int
    attempts: int
    estimated: int
    orphaned: int
    tenants: list[TenantSums]


class Reconciliation:
    """Reads sums that booking keeps; `Verification` is what recounts them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def since(self, from_at: datetime) -> Sums:
        """What needs an eye, from the beginning of a day of UTC on."""
        async with self._pool.connection() as connection:
            (shortfall,) = await row(connection, _SHORTFALL, ())
            attempts, estimated = await row(connection, _SUMS, (from_at,))
            (orphaned,) = await row(connection, _ORPHANED, (from_at,))
            async with connection.cursor(row_factory=class_row(TenantSums)) as cursor:
                await cursor.execute(_TENANTS, (from_at, _TENANTS_MOST))
                tenants = await cursor.fetchall()
        return Sums(shortfall, attempts, estimated, orphaned, tenants)
