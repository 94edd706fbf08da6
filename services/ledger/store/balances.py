"""Balances, and what changes them beside usage."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg.rows import class_row

from services.ledger.entries import Account, Posting, prepaid
from services.ledger.store.audit import Deed, log
from services.ledger.store.postings import post
from services.ledger.store.queries import BALANCE, OUTSTANDING, Connection, lock_accounts, row, row_or_none
from services.shared.database import Pool

_OPEN: Final = """
    INSERT INTO transactions (kind, idempotency_key, reason, actor, tenant_id, corrects_transaction_id)
    VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (idempotency_key) DO NOTHING RETURNING transaction_id
"""
_MADE: Final = """
    SELECT t.transaction_id, t.kind, t.corrects_transaction_id,
        CASE d.kind WHEN 'prepaid' THEN -e.amount_nano ELSE e.amount_nano END,
        CASE d.kind WHEN 'prepaid' THEN c.kind ELSE d.kind END
    FROM transactions t JOIN entries e USING (transaction_id)
    JOIN ledger_accounts d ON d.ledger_account_id = e.debit_account_id
    JOIN ledger_accounts c ON c.ledger_account_id = e.credit_account_id
    WHERE t.idempotency_key = %s
"""
_CORRECTED: Final = """
    SELECT 1 FROM transactions t JOIN entries e USING (transaction_id)
    JOIN ledger_accounts a ON a.ledger_account_id IN (e.debit_account_id, e.credit_account_id)
    WHERE t.transaction_id = %s AND a.kind = 'prepaid' AND a.tenant_id = %s LIMIT 1
"""
_TRANSACTIONS: Final = """
    SELECT t.transaction_id, t.kind, m.amount_nano, t.reason, t.actor, t.created_at,
        coalesce(t.corrects_transaction_id, 0) AS corrects_transaction_id
    FROM (
        SELECT transaction_id, sum(amount_nano)::bigint AS amount_nano FROM (
            SELECT e.transaction_id, e.amount_nano FROM page JOIN entries e USING (transaction_id)
                JOIN own ON e.credit_account_id = own.ledger_account_id
            UNION ALL
            SELECT e.transaction_id, -e.amount_nano FROM page JOIN entries e USING (transaction_id)
                JOIN own ON e.debit_account_id = own.ledger_account_id
        ) AS sides GROUP BY transaction_id
    ) AS m JOIN transactions t USING (transaction_id) ORDER BY t.transaction_id DESC
"""
_OWN: Final = """
    WITH own AS (SELECT ledger_account_id FROM ledger_accounts WHERE kind = 'prepaid' AND tenant_id = %(tenant)s)
"""
_SIDE: Final = """
    (
        SELECT DISTINCT transaction_id FROM entries
        WHERE {side}_account_id = (SELECT ledger_account_id FROM own) AND transaction_id < %(before)s
        ORDER BY transaction_id DESC LIMIT %(limit)s
    )
"""
_ALL: Final = (
    _OWN
    + f", page AS ({_SIDE.format(side='credit')} UNION {_SIDE.format(side='debit')}"
    + " ORDER BY transaction_id DESC LIMIT %(limit)s)"
    + _TRANSACTIONS
)
"""Of each side of the account the newest, by its index: never the whole history to sort it."""
_WITHOUT_USAGE: Final = (
    _OWN
    + """
    , page AS (
        SELECT transaction_id FROM transactions
        WHERE tenant_id = %(tenant)s AND tenant_id <> '' AND kind <> 'usage' AND transaction_id < %(before)s
        ORDER BY transaction_id DESC LIMIT %(limit)s
    )
    """
    + _TRANSACTIONS
)
_NEWEST: Final = 1 << 62


class NotFree(Exception):
    """The balance has less that is not set aside for requests; `free_nano` is what it has, `granted_nano` what is out
    in grants."""

    def __init__(self, free_nano: int, granted_nano: int) -> None:
        super().__init__(str(free_nano))
        self.free_nano = free_nano
        self.granted_nano = granted_nano


class KeyReused(Exception):
    """The idempotency key stands for something else."""


class NoSuchTransaction(Exception):
    """What is to be corrected is no transaction of this tenant."""


@dataclass(frozen=True, slots=True)
class Movement:
    """Money that moves by hand: a transaction's kind, and the account at the other side of the tenant's balance.

    `amount_nano` is what the balance gains, below 0 for what it loses.
    """

    kind: str
    other: Account
    amount_nano: int
    idempotency_key: str
    corrects_transaction_id: int | None = None
    key_space: str = ""
    """Tells our own keys from those that callers make."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What a movement led to."""

    transaction_id: int
    balance_nano: int
    repeated: bool


@dataclass(frozen=True, slots=True)
class TransactionRow:
    """A transaction as one tenant sees it."""

    transaction_id: int
    kind: str
    amount_nano: int
    reason: str
    actor: str
    created_at: datetime
    corrects_transaction_id: int


class BalanceStore:
    """Prepaid balances."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def move(self, tenant_id: str, movement: Movement, deed: Deed) -> Moved:
        """Moves money once for each tenant and idempotency key. Raises NotFree, KeyReused."""
        async with self._pool.connection() as connection, connection.transaction():
            return await move(connection, tenant_id, movement, deed)

    async def balances(self, tenant_ids: list[str]) -> dict[str, int]:
        """What tenants have, in nano-dollars; those that never had anything are left out."""
        async with self._pool.connection() as connection:
            found = await connection.execute(
                "SELECT tenant_id, balance_nano FROM ledger_accounts WHERE kind = 'prepaid' AND tenant_id = ANY(%s)",
                (tenant_ids,),
            )
            return {str(tenant_id): int(balance_nano) for tenant_id, balance_nano in await found.fetchall()}

    async def balance(self, tenant_id: str) -> tuple[int, int]:
        """A tenant's balance and the part of it that is out in grants, unspent."""
        async with self._pool.connection() as connection:
            found = await row_or_none(connection, BALANCE, (tenant_id,))
            outstanding = await row(connection, OUTSTANDING, (tenant_id,))
            return (int(found[0]) if found else 0), int(outstanding[0])

    async def key_spend(self, tenant_id: str, key_ids: Sequence[str]) -> dict[str, int]:
        """What keys of a tenant, of any when it is empty, have spent over their lives, in nano-dollars; those that
        spent nothing are left out."""
        async with self._pool.connection() as connection:
            found = await connection.execute(
                "SELECT key_id, spent_nano FROM key_spend WHERE key_id = ANY(%s) AND (%s = '' OR tenant_id = %s)",
                (list(key_ids), tenant_id, tenant_id),
            )
            return {str(key_id): int(spent_nano) for key_id, spent_nano in await found.fetchall()}

    async def transactions(
        self, tenant_id: str, limit: int, before_id: int | None, *, without_usage: bool = False
    ) -> list[TransactionRow]:
        """What moved a balance, newest first, from behind `before_id`."""
        async with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(TransactionRow)) as cursor,
        ):
            said = {"tenant": tenant_id, "before": _NEWEST if before_id is None else before_id, "limit": limit}
            await cursor.execute((_WITHOUT_USAGE if without_usage else _ALL).encode(), said)
            return await cursor.fetchall()


async def move(connection: Connection, tenant_id: str, movement: Movement, deed: Deed) -> Moved:
    """Moves money inside a transaction of the caller."""
    balance_nano = (await lock_accounts(connection, [tenant_id]))[tenant_id]
    key = f"{tenant_id}/{movement.key_space}{movement.idempotency_key}"
    corrects = movement.corrects_transaction_id
    if corrects and await row_or_none(connection, _CORRECTED, (corrects, tenant_id)) is None:
        raise NoSuchTransaction
    opened = await row_or_none(connection, _OPEN, (movement.kind, key, deed.reason, deed.actor, tenant_id, corrects))
    if opened is None:
        transaction_id, *made = await row(connection, _MADE, (key,))
        if made != [movement.kind, corrects, movement.amount_nano, movement.other.kind]:
            raise KeyReused
        return Moved(int(transaction_id), balance_nano, True)
    transaction_id = int(opened[0])
    own, other, amount_nano = prepaid(tenant_id), movement.other, movement.amount_nano
    if amount_nano < 0:
        granted_nano = int((await row(connection, OUTSTANDING, (tenant_id,)))[0])
        free_nano = balance_nano - granted_nano
        if -amount_nano > free_nano:
            raise NotFree(max(0, free_nano), granted_nano)
        await post(connection, transaction_id, [Posting(own, other, -amount_nano)])
    else:
        await post(connection, transaction_id, [Posting(other, own, amount_nano)])
    await log(connection, deed, {"transaction_id": transaction_id, "amount_nano": amount_nano})
    return Moved(transaction_id, balance_nano + amount_nano, False)
