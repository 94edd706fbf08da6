"""Balances, and what changes them beside usage."""

from services.ledger.store.queries import BALANCE, OUTSTANDING, lock_accounts, row, row_or_none
from services.shared.database import Pool


class BalanceStore:
    """Prepaid balances."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def top_up(self, tenant_id: str, amount_nano: int, idempotency_key: str, reason: str) -> tuple[int, bool]:
        """Credits a balance once for each idempotency key. Answers the balance and whether the key was used before."""
        async with self._pool.connection() as connection, connection.transaction():
            await lock_accounts(connection, [tenant_id])
            posted = await row_or_none(
                connection,
                "INSERT INTO transactions (kind, idempotency_key, reason) VALUES ('top_up', %s, %s)"
                " ON CONFLICT (idempotency_key) DO NOTHING RETURNING transaction_id",
                (f"{tenant_id}/{idempotency_key}", reason),
            )
            if posted is not None:
                await connection.execute(
                    """
                    WITH posted AS (
                        INSERT INTO entries (transaction_id, debit_account_id, credit_account_id, amount_nano)
                        SELECT %(transaction)s, clearing.ledger_account_id, prepaid.ledger_account_id, %(amount)s
                        FROM ledger_accounts clearing, ledger_accounts prepaid
                        WHERE clearing.kind = 'top_up_clearing' AND clearing.tenant_id = ''
                            AND prepaid.kind = 'prepaid' AND prepaid.tenant_id = %(tenant)s
                    )
                    UPDATE ledger_accounts
                    SET balance_nano = balance_nano + CASE kind WHEN 'prepaid' THEN %(amount)s ELSE -%(amount)s END
                    WHERE (kind = 'prepaid' AND tenant_id = %(tenant)s) OR (kind = 'top_up_clearing' AND tenant_id = '')
                    """,
                    {"transaction": posted[0], "amount": amount_nano, "tenant": tenant_id},
                )
            balance = await row(connection, BALANCE, (tenant_id,))
            return int(balance[0]), posted is None

    async def balance(self, tenant_id: str) -> tuple[int, int]:
        """A tenant's balance and the part of it that is out in grants, unspent."""
        async with self._pool.connection() as connection:
            found = await row_or_none(connection, BALANCE, (tenant_id,))
            outstanding = await row(connection, OUTSTANDING, (tenant_id,))
            return (int(found[0]) if found else 0), int(outstanding[0])
