"""Vouchers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg.rows import class_row

from services.ledger.entries import Account
from services.ledger.store.audit import Deed, log
from services.ledger.store.balances import KeyReused, Moved, Movement, move
from services.ledger.store.queries import lock_accounts, row, row_or_none
from services.shared.database import Pool

_OTHER_SIDE: Final = {"sold": Account("top_up_clearing"), "gift": Account("promotional")}
_KEY_SPACE: Final = "voucher\x1f"
"""No caller's key begins with this: theirs are printable."""
_REDEEM: Final = """
    UPDATE vouchers v SET redeemed_by = %s, redeemed_at = now()
    FROM voucher_batches b
    WHERE v.code_hash = %s AND b.batch_id = v.batch_id AND v.redeemed_by IS NULL AND NOT v.void
        AND (b.expires_at IS NULL OR b.expires_at > now())
    RETURNING v.voucher_id, b.amount_nano, b.funding
"""
_BATCHES: Final = """
    WITH page AS (
        SELECT batch_id, funding, amount_nano, vouchers, expires_at, created_at FROM voucher_batches
        WHERE (%(batch)s = '' OR batch_id = %(batch)s) AND (%(after)s = '' OR (created_at, batch_id) <
            (SELECT created_at, batch_id FROM voucher_batches WHERE batch_id = %(after)s))
        ORDER BY created_at DESC, batch_id DESC LIMIT %(limit)s
    )
    SELECT p.batch_id, p.funding, p.amount_nano, p.vouchers, became.redeemed, became.voided, p.expires_at, p.created_at
    FROM page p CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE v.redeemed_by IS NOT NULL) AS redeemed, count(*) FILTER (WHERE v.void) AS voided
        FROM vouchers v WHERE v.batch_id = p.batch_id
    ) AS became ORDER BY p.created_at DESC, p.batch_id DESC
"""
_STATE: Final = """
    CASE WHEN v.redeemed_by IS NOT NULL THEN 'redeemed' WHEN v.void THEN 'void'
        WHEN b.expires_at <= now() THEN 'expired' ELSE 'open' END
"""


@dataclass(frozen=True, slots=True)
class VoucherRow:
    """A voucher without its code; `state` is open, redeemed, void or expired."""

    voucher_id: int
    batch_id: str
    amount_nano: int
    state: str
    redeemed_by: str
    redeemed_at: datetime | None
    expires_at: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Batch:
    """Vouchers that are made together."""

    batch_id: str
    funding: str
    amount_nano: int
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class BatchRow:
    """A batch, and what became of its vouchers."""

    batch_id: str
    funding: str
    amount_nano: int
    vouchers: int
    redeemed: int
    voided: int
    expires_at: datetime | None
    created_at: datetime


class VoucherStore:
    """Made once, redeemed once."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create(self, batch: Batch, hashes: Sequence[bytes], deed: Deed) -> bool:
        """Makes a batch; False when the same was made already. Raises KeyReused when another has its id."""
        async with self._pool.connection() as connection, connection.transaction():
            made = await row_or_none(
                connection,
                "INSERT INTO voucher_batches (batch_id, funding, amount_nano, vouchers, expires_at)"
                " VALUES (%s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING 1",
                (batch.batch_id, batch.funding, batch.amount_nano, len(hashes), batch.expires_at),
            )
            if made is None:
                found = await row(
                    connection,
                    "SELECT funding, amount_nano, vouchers FROM voucher_batches WHERE batch_id = %s",
                    (batch.batch_id,),
                )
                if found != (batch.funding, batch.amount_nano, len(hashes)):
                    raise KeyReused
                return False
            await connection.execute(
                "INSERT INTO vouchers (batch_id, code_hash) SELECT %s, h FROM unnest(%s::bytea[]) AS h",
                (batch.batch_id, list(hashes)),
            )
            await log(connection, deed, {"vouchers": len(hashes), "amount_nano": batch.amount_nano})
            return True

    async def find(self, code_hash: bytes) -> VoucherRow | None:
        """The voucher of a code."""
        rows = await self._rows("v.code_hash = %s", (code_hash,), 1)
        return rows[0] if rows else None

    async def of_batch(
        self, batch_id: str, limit: int, before_id: int | None = None, state: str = ""
    ) -> list[VoucherRow]:
        """The vouchers of a batch in a state, of all where that is empty; newest first, from behind `before_id`."""
        where = (
            f"(%s = '' OR v.batch_id = %s) AND (%s::bigint IS NULL OR v.voucher_id < %s) AND (%s = '' OR {_STATE} = %s)"
        )
        return await self._rows(where, (batch_id, batch_id, before_id, before_id, state, state), limit)

    async def batches(self, limit: int, after: str, batch_id: str) -> list[BatchRow]:
        """Batches, newest first, from behind the one of the id `after`; only one where `batch_id` names it."""
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(BatchRow)) as cursor:
            await cursor.execute(_BATCHES, {"limit": limit, "after": after, "batch": batch_id})
            return await cursor.fetchall()

    async def _rows(self, where: str, parameters: tuple[object, ...], limit: int) -> list[VoucherRow]:
        query = (
            f"SELECT v.voucher_id, v.batch_id, b.amount_nano, {_STATE} AS state,"
            " coalesce(v.redeemed_by, '') AS redeemed_by, v.redeemed_at, b.expires_at, b.created_at"
            f" FROM vouchers v JOIN voucher_batches b USING (batch_id) WHERE {where}"
            " ORDER BY v.voucher_id DESC LIMIT %s"
        )
        async with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(VoucherRow)) as cursor,
        ):
            await cursor.execute(query.encode(), (*parameters, limit))
            return await cursor.fetchall()

    async def void(self, batch_id: str, deed: Deed) -> int:
        """Voids what is open of a batch; answers how many."""
        async with self._pool.connection() as connection, connection.transaction():
            voided = await connection.execute(
                "UPDATE vouchers SET void = true WHERE batch_id = %s AND redeemed_by IS NULL AND NOT void", (batch_id,)
            )
            if voided.rowcount:
                await log(connection, deed, {"vouchers": voided.rowcount})
            return voided.rowcount

    async def redeem(self, tenant_id: str, code_hash: bytes, deed: Deed) -> tuple[int, Moved] | None:
        """Credits an open voucher to a tenant: one conditional update decides who gets it. Answers what it was worth;
        None when it is not open."""
        async with self._pool.connection() as connection, connection.transaction():
            await lock_accounts(connection, [tenant_id])
            won = await row_or_none(connection, _REDEEM, (tenant_id, code_hash))
            if won is None:
                return None
            voucher_id, amount_nano, funding = won
            movement = Movement("voucher", _OTHER_SIDE[funding], amount_nano, str(voucher_id), key_space=_KEY_SPACE)
            moved = await move(connection, tenant_id, movement, deed)
            await connection.execute(
                "UPDATE vouchers SET transaction_id = %s WHERE voucher_id = %s", (moved.transaction_id, voucher_id)
            )
            return amount_nano, moved
