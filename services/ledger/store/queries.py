"""What the SQL modules share: single rows, and the order in which accounts are locked."""

from collections.abc import Sequence
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

Connection = AsyncConnection[TupleRow]

BALANCE: Final = "SELECT balance_nano FROM ledger_accounts WHERE kind = 'prepaid' AND tenant_id = %s"
OUTSTANDING: Final = """
    SELECT coalesce(sum(greatest(amount_nano - spent_nano, 0)), 0)::bigint FROM grants
    WHERE tenant_id = %s AND key_id = ''
"""


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
