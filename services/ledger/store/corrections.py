"""Corrections: an attempt that was booked as orphaned, by what its lost edge last said, and whose real event came after
all. The record becomes the real one, and the difference a transaction of its own (I4). Rare, and so done one by one."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from psycopg.rows import dict_row

from services.ledger.entries import Charge, Posting, charge, correction_postings
from services.ledger.store.postings import post_each
from services.ledger.store.queries import (
    ADD_TO_KEY_SPEND,
    ADD_TO_ROLLUPS,
    USAGE_TYPES,
    Connection,
    lock_accounts,
    spend,
)
from tollhouse.v1 import events_pb2

CORRECTIONS_MOST: Final = 200
_ORPHANED: Final = int(events_pb2.USAGE_STATUS_ORPHANED)
# An event may have come twice, so this asks whether there is one and joins nothing.
_FOUND: Final = f"""
    FROM usage_records u WHERE u.status = {_ORPHANED} AND EXISTS (
        SELECT FROM incoming i
        WHERE (i.request_id, i.created_at) = (u.request_id, u.created_at) AND (i.attempt = u.attempt OR i.final)
            AND (i.tenant_id, i.key_id) = (u.tenant_id, u.key_id) AND i.status <> {_ORPHANED}
    )
"""
# In the order of Python's strings, which goes on from there.
_FIRST: Final = f'ORDER BY u.request_id COLLATE "C", u.attempt LIMIT {CORRECTIONS_MOST}'
_ORPHANS: Final = f"SELECT u.* {_FOUND} {_FIRST} FOR UPDATE OF u"
_TENANTS: Final = f"SELECT DISTINCT tenant_id FROM (SELECT u.tenant_id {_FOUND} {_FIRST}) AS orphans"
_KEYS: Final = ("request_id", "attempt", "created_at")
_ONE: Final = (*_KEYS, "tenant_id", "key_id")
_REALS: Final = f"""
    SELECT DISTINCT ON ({", ".join(_ONE)}) * FROM incoming
    WHERE request_id = ANY(%s) AND status <> {_ORPHANED}
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
_KNOWN: Final = USAGE_TYPES | {"shortfall_nano": "int8", "transaction_id": "int8"}
_REPLACE: Final = f"""
    WITH known AS (
        SELECT * FROM unnest({", ".join(f"%({name})s::{kind}[]" for name, kind in _KNOWN.items())})
            AS k ({", ".join(_KNOWN)})
    ), before AS (
        SELECT u.* FROM usage_records u JOIN known USING ({", ".join(_KEYS)})
    ), replaced AS (
        UPDATE usage_records u SET {", ".join(f"{name} = k.{name}" for name in _KNOWN if name not in _KEYS)}
        FROM known k WHERE (u.request_id, u.attempt, u.created_at) = (k.request_id, k.attempt, k.created_at)
        RETURNING u.*
    ), change AS (
        SELECT -1 AS sign, * FROM before UNION ALL SELECT 1, * FROM replaced
    ), spent AS (
        INSERT INTO key_spend AS k
        SELECT key_id, min(tenant_id), sum(sign * cost_nano) FROM change GROUP BY key_id ORDER BY key_id
        {ADD_TO_KEY_SPEND}
    )
    INSERT INTO usage_rollups AS r
    SELECT date_trunc('hour', created_at, 'UTC'), tenant_id, key_id, model, upstream_account_id,
        sum(sign * final::int), sum(sign), sum(sign * estimated::int), sum(sign * input_tokens),
        sum(sign * output_tokens), sum(sign * cache_read_tokens), sum(sign * cache_write_5m_tokens),
        sum(sign * cache_write_1h_tokens), sum(sign * cost_nano), sum(sign * upstream_cost_nano),
        sum(sign * shortfall_nano)
    FROM change GROUP BY 1, 2, 3, 4, 5 ORDER BY 2, 1, 3, 4, 5
    {ADD_TO_ROLLUPS}
"""
"""`before` reads what `replaced` changes as it was: all parts of a statement see one state."""
_OPEN: Final = """
    INSERT INTO transactions (kind, tenant_id, corrects_transaction_id, reason)
    SELECT 'correction', tenant_id, corrects, 'the event of an orphaned attempt was found'
    FROM unnest(%s::text[], %s::bigint[]) AS orphans (tenant_id, corrects)
    RETURNING tenant_id, corrects_transaction_id, transaction_id
"""

_Record = dict[str, Any]


class Corrected(NamedTuple):
    """What was corrected: the last transaction that it took, 0 when there was nothing; whether that was all; and, where
    it was not, the request that it got to."""

    transaction_id: int = 0
    all: bool = True
    last_request_id: str = ""


class _Correction(NamedTuple):
    """An orphan, what it should have been, and what of either the balance paid."""

    orphan: _Record
    real: _Record
    before: Charge
    after: Charge


async def orphans_tenants(connection: Connection) -> list[str]:
    """Whose accounts `correct_orphans` is going to touch."""
    return [str(tenant_id) for (tenant_id,) in await (await connection.execute(_TENANTS)).fetchall()]


async def correct_orphans(connection: Connection) -> Corrected:
    """Corrects what `incoming` knows better, the first `CORRECTIONS_MOST` by their requests. The accounts of
    `orphans_tenants` must be locked. Nobody else changes records and their sums meanwhile: bookings are in order."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        orphans = await (await cursor.execute(_ORPHANS)).fetchall()
        if not orphans:
            return Corrected()
        found = await cursor.execute(_REALS, ([orphan["request_id"] for orphan in orphans],))
        reals = {_one(real): real for real in await found.fetchall()}
    balances = await lock_accounts(connection, sorted({orphan["tenant_id"] for orphan in orphans}))
    corrections = [
        _correction(orphan, reals.get(_one(orphan)) or orphan | _NEVER_REACHED, balances) for orphan in orphans
    ]
    await _open(connection, corrections)
    await post_each(connection, [(made.real["transaction_id"], p) for made in corrections for p in _postings(made)])
    known = {name: [made.real[name] for made in corrections] for name in _KNOWN}
    await connection.execute(_REPLACE, known)
    await spend(connection, _more_spent(corrections))
    last_id = max(made.real["transaction_id"] for made in corrections)
    return Corrected(last_id, len(orphans) < CORRECTIONS_MOST, orphans[-1]["request_id"])


def _one(record: _Record) -> tuple[Any, ...]:
    return tuple(record[name] for name in _ONE)


def _correction(orphan: _Record, real: _Record, balances: dict[str, int]) -> _Correction:
    """Moves the tenant's balance on to what the correction leaves of it."""
    tenant_id = orphan["tenant_id"]
    before = Charge(orphan["cost_nano"] - orphan["shortfall_nano"], orphan["shortfall_nano"])
    after = charge(balances[tenant_id] + before.charged_nano, real["cost_nano"])
    balances[tenant_id] += before.charged_nano - after.charged_nano
    return _Correction(orphan, real | {"shortfall_nano": after.shortfall_nano}, before, after)


async def _open(connection: Connection, corrections: Sequence[_Correction]) -> None:
    """Opens a transaction for each. In which order Postgres answers their ids is not said; those of one tenant that
    correct the same transaction may be swapped."""
    orphans = [made.orphan for made in corrections]
    columns = ([orphan["tenant_id"] for orphan in orphans], [orphan["transaction_id"] for orphan in orphans])
    opened: dict[tuple[str, int], list[int]] = {}
    for tenant_id, corrects, transaction_id in await (await connection.execute(_OPEN, columns)).fetchall():
        opened.setdefault((tenant_id, corrects), []).append(transaction_id)
    for made in corrections:
        made.real["transaction_id"] = opened[made.orphan["tenant_id"], made.orphan["transaction_id"]].pop()


def _postings(made: _Correction) -> list[Posting]:
    ours_before_nano, ours_after_nano = made.orphan["upstream_cost_nano"], made.real["upstream_cost_nano"]
    return correction_postings(made.orphan["tenant_id"], made.before, made.after, ours_before_nano, ours_after_nano)


def _more_spent(corrections: Sequence[_Correction]) -> dict[str, int]:
    """What corrections add to grants. They take nothing back: in the grant of the orphan its holder has settled what
    was booked first, and a grant stays until that much is spent of it."""
    spent: dict[str, int] = {}
    for made in corrections:
        orphan, real = made.orphan, made.real
        for name in ("grant_id", "key_grant_id"):
            before_nano = orphan["cost_nano"] if orphan[name] == real[name] else 0
            if real[name] and real["cost_nano"] > before_nano:
                spent[real[name]] = spent.get(real[name], 0) + real["cost_nano"] - before_nano
    return spent
