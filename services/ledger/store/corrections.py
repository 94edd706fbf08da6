"""Corrections: an attempt that was booked as orphaned, by what its lost edge last said, and whose real event came after
all. The record becomes the real one, and the difference a transaction of its own (I4). Rare, and so done one by one."""

from typing import Any, Final

from psycopg.rows import dict_row

from services.ledger.entries import Charge, charge, correction_postings
from services.ledger.settlement import UsageRow
from services.ledger.store.postings import post
from services.ledger.store.queries import Connection, lock_accounts, row, spend
from tollhouse.v1 import events_pb2

_ORPHANED: Final = int(events_pb2.USAGE_STATUS_ORPHANED)
# An event may have come twice, so this asks whether there is one and joins nothing.
_FOUND: Final = f"""
    FROM usage_records u WHERE u.status = {_ORPHANED} AND EXISTS (
        SELECT FROM incoming i
        WHERE (i.request_id, i.created_at) = (u.request_id, u.created_at) AND (i.attempt = u.attempt OR i.final)
            AND (i.tenant_id, i.key_id) = (u.tenant_id, u.key_id) AND i.status <> {_ORPHANED}
    )
"""
_ORPHANS: Final = f"SELECT u.* {_FOUND} ORDER BY u.request_id, u.attempt FOR UPDATE OF u"
_TENANTS: Final = f"SELECT DISTINCT u.tenant_id {_FOUND}"
_REAL: Final = f"""
    SELECT * FROM incoming
    WHERE request_id = %s AND attempt = %s AND created_at = %s AND status <> {_ORPHANED} LIMIT 1
"""
_NEVER_REACHED: Final = {
    "status": int(events_pb2.USAGE_STATUS_UPSTREAM_FAULT),
    "final": False,
    "estimated": False,
    **dict.fromkeys(
        (
            "input_tokens",
            "output_tokens",
            "cache_read_tokens",
            "cache_write_5m_tokens",
            "cache_write_1h_tokens",
            "requests",
            "cost_nano",
            "upstream_cost_nano",
        ),
        0,
    ),
}
"""What becomes of an orphaned attempt of which a request's own events, which come together, say nothing: it reached no
upstream."""
_REPLACE: Final = (
    "UPDATE usage_records SET "
    + ", ".join(f"{name} = %({name})s" for name in UsageRow._fields)
    + ", shortfall_nano = %(shortfall_nano)s, transaction_id = %(transaction_id)s"
    " WHERE request_id = %(request_id)s AND attempt = %(attempt)s AND created_at = %(created_at)s"
)
_ROLL: Final = """
    INSERT INTO usage_rollups AS r VALUES (
        date_trunc('hour', %(created_at)s::timestamptz, 'UTC'), %(tenant_id)s, %(key_id)s, %(model)s,
        %(upstream_account_id)s, %(sign)s * %(final)s::int, %(sign)s, %(sign)s * %(estimated)s::int,
        %(sign)s * %(input_tokens)s, %(sign)s * %(output_tokens)s, %(sign)s * %(cache_read_tokens)s,
        %(sign)s * %(cache_write_5m_tokens)s, %(sign)s * %(cache_write_1h_tokens)s, %(sign)s * %(cost_nano)s,
        %(sign)s * %(upstream_cost_nano)s, %(sign)s * %(shortfall_nano)s
    )
    ON CONFLICT (tenant_id, hour, key_id, model, upstream_account_id) DO UPDATE SET
        requests = r.requests + excluded.requests, attempts = r.attempts + excluded.attempts,
        estimated = r.estimated + excluded.estimated, input_tokens = r.input_tokens + excluded.input_tokens,
        output_tokens = r.output_tokens + excluded.output_tokens,
        cache_read_tokens = r.cache_read_tokens + excluded.cache_read_tokens,
        cache_write_5m_tokens = r.cache_write_5m_tokens + excluded.cache_write_5m_tokens,
        cache_write_1h_tokens = r.cache_write_1h_tokens + excluded.cache_write_1h_tokens,
        cost_nano = r.cost_nano + excluded.cost_nano,
        upstream_cost_nano = r.upstream_cost_nano + excluded.upstream_cost_nano,
        shortfall_nano = r.shortfall_nano + excluded.shortfall_nano
"""
_OPEN: Final = (
    "INSERT INTO transactions (kind, tenant_id, corrects_transaction_id, reason)"
    " VALUES ('correction', %s, %s, 'the event of an orphaned attempt was found') RETURNING transaction_id"
)


async def orphans_tenants(connection: Connection) -> list[str]:
    """Whose accounts `correct_orphans` is going to touch."""
    return [str(tenant_id) for (tenant_id,) in await (await connection.execute(_TENANTS)).fetchall()]


async def correct_orphans(connection: Connection) -> int:
    """Corrects what `incoming` knows better. Answers the last transaction that it took, 0 when there was nothing."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_ORPHANS)
        orphans = await cursor.fetchall()
    transaction_id = 0
    for orphan in orphans:
        async with connection.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(_REAL, (orphan["request_id"], orphan["attempt"], orphan["created_at"]))
            real = await cursor.fetchone()
        transaction_id = await _correct(connection, orphan, real or orphan | _NEVER_REACHED)
    return transaction_id


async def _correct(connection: Connection, orphan: dict[str, Any], real: dict[str, Any]) -> int:
    tenant_id = orphan["tenant_id"]
    before = Charge(orphan["cost_nano"] - orphan["shortfall_nano"], orphan["shortfall_nano"])
    balance_nano = (await lock_accounts(connection, [tenant_id]))[tenant_id]
    after = charge(balance_nano + before.charged_nano, real["cost_nano"])
    (transaction_id,) = await row(connection, _OPEN, (tenant_id, orphan["transaction_id"]))
    postings = correction_postings(tenant_id, before, after, orphan["upstream_cost_nano"], real["upstream_cost_nano"])
    await post(connection, transaction_id, postings)
    real |= {"shortfall_nano": after.shortfall_nano, "transaction_id": transaction_id}
    await connection.execute(_REPLACE, real)
    await connection.execute(_ROLL, orphan | {"sign": -1})
    await connection.execute(_ROLL, real | {"sign": 1})
    more_nano = real["cost_nano"] - orphan["cost_nano"]
    await connection.execute(
        "UPDATE key_spend SET spent_nano = spent_nano + %s WHERE key_id = %s", (more_nano, orphan["key_id"])
    )
    await spend(connection, _more_spent(orphan, real))
    return int(transaction_id)


def _more_spent(orphan: dict[str, Any], real: dict[str, Any]) -> dict[str, int]:
    """What a correction adds to grants. It takes nothing back: in the grant of the orphan its holder has settled what
    was booked first, and a grant stays until that much is spent of it."""
    spent: dict[str, int] = {}
    for name in ("grant_id", "key_grant_id"):
        before_nano = orphan["cost_nano"] if orphan[name] == real[name] else 0
        if real[name] and real["cost_nano"] > before_nano:
            spent[real[name]] = real["cost_nano"] - before_nano
    return spent
