"""Reading sums of usage: of hours, of days, or of a whole time.

Rollups tell everything apart; totals are the same sums in a few cuts that tell less apart, and of days (see migration
0007). A question is answered from the smallest cut that tells apart what it asks for.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, time
from typing import Final

from psycopg import sql
from psycopg.rows import class_row

from services.ledger.store.queries import in_time
from services.shared.database import Pool

_DIMENSIONS: Final = ("tenant_id", "key_id", "model", "upstream_account_id")
_FILTERS: Final = ("tenant_id", "key_id", "model")
_CUTS: Final = (
    ("hour: model", "hour", frozenset(("model",))),
    ("hour: tenant, model", "hour", frozenset(("tenant_id", "model"))),
    ("day: model, account", "day", frozenset(("model", "upstream_account_id"))),
    ("day: tenant", "day", frozenset(("tenant_id",))),
    ("day: tenant, model, account", "day", frozenset(("tenant_id", "model", "upstream_account_id"))),
    ("day: tenant, key, model", "day", frozenset(("tenant_id", "key_id", "model"))),
)
"""Names, periods and what they tell apart; of each period the smallest first."""


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
    """Sums of one hour or day, or of the whole time; money in nano-dollars. What is not told apart is ""."""

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


class TotalStore:
    """Sums that booking keeps."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def buckets(self, period: str, groups: Sequence[str], of: RollupFilter, limit: int) -> list[Bucket]:
        """Sums by `period` ("hour" or "day", of UTC, or "whole" for all of the time) and by the
        columns `groups`; at most `limit` of them."""
        only = {name: value for name in _FILTERS if (value := getattr(of, name))}
        days = period == "day" or (period == "whole" and is_midnight(of.from_at) and is_midnight(of.to_at))
        cut = cut_for("day" if days else "hour", {*groups, *only})
        told = sql.SQL(", ").join(
            sql.Identifier(name) if name in groups else sql.SQL("'' AS {}").format(sql.Identifier(name))
            for name in _DIMENSIONS
        )
        sums = sql.SQL(", ").join(
            sql.SQL("sum({0})::bigint AS {0}").format(sql.Identifier(field.name)) for field in fields(Bucket)[5:]
        )
        wanted = sql.SQL(" ").join(sql.SQL("AND {} = %s").format(sql.Identifier(name)) for name in only)
        source, at = (sql.SQL("usage_totals"), "start_at") if cut else (sql.SQL("usage_rollups"), "hour")
        begin = sql.SQL("date_trunc({}, {}, 'UTC')").format(period, sql.Identifier(at))
        query = sql.SQL(
            "SELECT {begin} AS start_at, {told}, {sums} FROM {source} WHERE {cut} {at} >= %s AND {at} < %s {only}"
            " GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 2, 3, 4, 5 LIMIT %s"
        ).format(
            begin=sql.Literal(of.from_at) if period == "whole" else begin,
            told=told,
            sums=sums,
            source=source,
            cut=sql.SQL("cut = {} AND").format(cut) if cut else sql.SQL(""),
            at=sql.Identifier(at),
            only=wanted,
        )
        parameters = [of.from_at, of.to_at, *only.values(), limit]
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(Bucket)) as cursor:
            with in_time():
                await cursor.execute(query, parameters)
            return await cursor.fetchall()


def cut_for(length: str, told: set[str]) -> str:
    """The smallest cut of totals, of hours or of days, that tells these columns apart; empty where only rollups do."""
    return next((name for name, of, columns in _CUTS if of == length and told <= columns), "")


def is_midnight(at: datetime) -> bool:
    """Whether a day of UTC begins then."""
    return at.astimezone(UTC).time() == time.min
