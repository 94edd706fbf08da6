"""Credit grants."""

from collections.abc import Sequence

from services.ledger.store.queries import BALANCE, OUTSTANDING, lock_accounts, row, row_or_none
from services.shared.database import Pool


class GrantStore:
    """Slices of balances that auth places holds in."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def raise_grant(
        self, grant_id: str, tenant_id: str, holder: str, want_nano: int, ttl_s: float
    ) -> tuple[int, int]:
        """Raises a grant's total towards `want_nano` as far as the balance goes (I2). Answers the total and what the
        balance has left outside grants."""
        async with self._pool.connection() as connection, connection.transaction():
            await lock_accounts(connection, [tenant_id])
            balance = int((await row(connection, BALANCE, (tenant_id,)))[0])
            outstanding = int((await row(connection, OUTSTANDING, (tenant_id,)))[0])
            available = max(0, balance - outstanding)
            grant = await row_or_none(connection, "SELECT amount_nano FROM grants WHERE grant_id = %s", (grant_id,))
            amount = int(grant[0]) if grant else 0
            growth = max(0, min(want_nano - amount, available))
            await connection.execute(
                "INSERT INTO grants (grant_id, tenant_id, holder, amount_nano, expires_at)"
                " VALUES (%s, %s, %s, %s, now() + make_interval(secs => %s))"
                " ON CONFLICT (grant_id) DO UPDATE SET amount_nano = excluded.amount_nano,"
                " expires_at = excluded.expires_at",
                (grant_id, tenant_id, holder, amount + growth, ttl_s),
            )
            return amount + growth, available - growth

    async def renew_grants(self, holder: str, grant_ids: Sequence[str], ttl_s: float) -> list[str]:
        """Puts off the expiry of those of a holder's grants that are open still, and answers them."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "UPDATE grants SET expires_at = now() + make_interval(secs => %s)"
                " WHERE holder = %s AND grant_id = ANY(%s) RETURNING grant_id",
                (ttl_s, holder, list(grant_ids)),
            )
            return [str(row[0]) for row in await cursor.fetchall()]

    async def lower_grant(self, grant_id: str, settled_nano: int) -> None:
        """Lowers a grant to what was settled in it: the rest is free at once, that part when its events are booked."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE grants SET amount_nano = least(amount_nano, %s) WHERE grant_id = %s", (settled_nano, grant_id)
            )

    async def expire_grants(self) -> int:
        """Deletes grants whose holder stopped renewing them, and answers how many had something left."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "DELETE FROM grants WHERE expires_at < now() RETURNING amount_nano > spent_nano"
            )
            return sum(1 for (left,) in await cursor.fetchall() if left)
