"""router's SQL: upstream accounts and their models."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from psycopg.rows import class_row

from services.shared import ids
from services.shared.database import Pool


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An upstream account with its models; the credential is sealed."""

    upstream_account_id: str
    name: str
    kind: str
    base_url: str
    credential_sealed: bytes
    priority: int
    enabled: bool
    created_at: datetime
    models: dict[str, str]


_ACCOUNTS: Final = """
    SELECT a.upstream_account_id, a.name, a.kind, a.base_url, a.credential_sealed, a.priority, a.enabled, a.created_at,
        coalesce(jsonb_object_agg(m.model, m.upstream_model) FILTER (WHERE m.model IS NOT NULL), '{}') AS models
    FROM upstream_accounts a LEFT JOIN upstream_models m USING (upstream_account_id)
    GROUP BY a.upstream_account_id ORDER BY a.priority, a.name
"""


class Store:
    """All that router keeps, in the schema `router`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def accounts(self) -> list[AccountRow]:
        """Every upstream account, by priority and name."""
        async with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(AccountRow)) as cursor,
        ):
            await cursor.execute(_ACCOUNTS)
            return await cursor.fetchall()

    async def account_id(self, name: str) -> str:
        """The id of the account of this name, or a new one for it."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT upstream_account_id FROM upstream_accounts WHERE name = %s", (name,)
            )
            row = await cursor.fetchone()
            return str(row[0]) if row else f"acc_{ids.ulid()}"

    async def put_account(
        self,
        account_id: str,
        name: str,
        kind: str,
        base_url: str,
        credential_sealed: bytes,
        priority: int,
        enabled: bool,
        models: Mapping[str, str],
    ) -> None:
        """Stores an account and exactly these models."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(
                "INSERT INTO upstream_accounts"
                " (upstream_account_id, name, kind, base_url, credential_sealed, priority, enabled)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s)"
                " ON CONFLICT (upstream_account_id) DO UPDATE SET kind = excluded.kind, base_url = excluded.base_url,"
                " credential_sealed = excluded.credential_sealed,"
                " priority = excluded.priority, enabled = excluded.enabled",
                (account_id, name, kind, base_url, credential_sealed, priority, enabled),
            )
            await connection.execute(
                "DELETE FROM upstream_models WHERE upstream_account_id = %s AND model <> ALL(%s)",
                (account_id, list(models)),
            )
            await connection.execute(
                "INSERT INTO upstream_models (upstream_account_id, model, upstream_model)"
                " SELECT %s, m, u FROM unnest(%s::text[], %s::text[]) AS t (m, u)"
                " ON CONFLICT (upstream_account_id, model) DO UPDATE SET upstream_model = excluded.upstream_model",
                (account_id, list(models), list(models.values())),
            )

    async def set_enabled(self, name: str, enabled: bool) -> None:
        """Enables or disables an account."""
        async with self._pool.connection() as connection:
            await connection.execute("UPDATE upstream_accounts SET enabled = %s WHERE name = %s", (enabled, name))

    async def delete(self, name: str) -> None:
        """Deletes an account, if it exists."""
        async with self._pool.connection() as connection:
            await connection.execute("DELETE FROM upstream_accounts WHERE name = %s", (name,))
