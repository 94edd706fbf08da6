"""What the SQL modules share: single rows, patience, and the order in which accounts are locked."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.errors import QueryCanceled
from psycopg.rows import TupleRow

from services.ledger.settlement import UsageRow
from services.shared.errors import Kind, Refusal

Connection = AsyncConnection[TupleRow]

BALANCE: Final = "SELECT balance_nano FROM ledger_accounts WHERE kind = 'prepaid' AND tenant_id = %s"
OUTSTANDING: Final = """
    SELECT coalesce(sum(greatest(amount_nano - spent_nano, 0)), 0)::bigint FROM grants
    WHERE tenant_id = %s AND key_id = ''
"""
USAGE_TYPES: Final = dict(
    zip(
        UsageRow._fields,
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
        + ["text", "int4", "int4", "int2", "int4", "text", "int8", "bytea", "bytea", "int8", "text", "int2"]
        + ["int8"] * 2,
        strict=True,
    )
)
"""The columns of usage_records that usage comes with, and their types."""
_SUMS: Final = (
    "requests",
    "attempts",
    "estimated",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
    "cost_nano",
    "upstream_cost_nano",
    "shortfall_nano",
)
ADD_TO_ROLLUPS: Final = " ON CONFLICT (tenant_id, hour, key_id, model, upstream_account_id) DO UPDATE SET " + ", ".join(
    f"{name} = r.{name} + excluded.{name}" for name in _SUMS
)
"""Behind an INSERT INTO usage_rollups AS r: what is there already grows."""
ADD_TO_KEY_SPEND: Final = " ON CONFLICT (key_id) DO UPDATE SET spent_nano = k.spent_nano + excluded.spent_nano"
"""Behind an INSERT INTO key_spend AS k."""
LOCKED_GRANTS: Final = """
    WITH locked AS (SELECT grant_id FROM grants WHERE {which} ORDER BY grant_id FOR UPDATE)
"""
"""In front of a statement that changes several grants: everybody locks them in one order, so that nobody deadlocks."""

_SPEND: Final = (
    LOCKED_GRANTS.format(which="grant_id = ANY(%(grants)s)")
    + """
    UPDATE grants g SET spent_nano = greatest(0, g.spent_nano + s.nano)
    FROM locked, unnest(%(grants)s::text[], %(spent)s::bigint[]) AS s (grant_id, nano)
    WHERE g.grant_id = locked.grant_id AND s.grant_id = g.grant_id
"""
)


async def lock_accounts(connection: Connection, tenants: Sequence[str]) -> dict[str, int]:
    """Locks the tenants' prepaid accounts in one order, so that nobody deadlocks; makes what is missing. Answers the
    balances in nano-dollars."""
    lock = (
        "SELECT tenant_id, balance_nano FROM ledger_accounts WHERE kind = 'prepaid' AND tenant_id = ANY(%s)"
        " ORDER BY tenant_id FOR UPDATE"
    )
    found = await (await connection.execute(lock, (list(tenants),))).fetchall()
    if len(found) < len(set(tenants)):
        await connection.execute(
            "INSERT INTO ledger_accounts (kind, tenant_id) SELECT 'prepaid', t FROM unnest(%s::text[]) AS t ORDER BY t"
            " ON CONFLICT DO NOTHING",
            (list(tenants),),
        )
        found = await (await connection.execute(lock, (list(tenants),))).fetchall()
    return {str(tenant_id): int(balance_nano) for tenant_id, balance_nano in found}


async def row_or_none(connection: Connection, query: str, parameters: tuple[Any, ...]) -> TupleRow | None:
    return await (await connection.execute(query, parameters)).fetchone()


async def row(connection: Connection, query: str, parameters: tuple[Any, ...]) -> TupleRow:
    found = await row_or_none(connection, query, parameters)
    if found is None:
        raise LookupError("a query that always answers a row answered none")
    return found


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """Turns the end of Postgres' patience into a refusal."""
    try:
        yield
    except QueryCanceled:
        raise Refusal(
            Kind.INVALID_REQUEST, "reading takes too long: ask for less time with from and to, or for fewer conditions"
        ) from None


async def spend(connection: Connection, spent_nano: Mapping[str, int]) -> None:
    """Notes what was booked of grants, by their ids; those that ended are passed over."""
    if spent_nano:
        grants = sorted(spent_nano)
        await connection.execute(
            _SPEND.encode(), {"grants": grants, "spent": [spent_nano[grant_id] for grant_id in grants]}
        )
