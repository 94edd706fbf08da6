"""auth's SQL: tenants and keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from psycopg.rows import class_row

from services.shared.database import Pool

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TenantRow:
    """A row of tenants."""

    tenant_id: str
    name: str
    enabled: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A row of keys, and whether its tenant is enabled."""

    key_id: str
    tenant_id: str
    name: str
    key_hash: bytes
    hint: str
    enabled: bool
    expires_at: datetime | None
    spend_cap_nano: int | None
    created_at: datetime
    tenant_enabled: bool


_TENANT: Final = "tenant_id, name, enabled, created_at"
_KEYS: Final = (
    "SELECT k.key_id, k.tenant_id, k.name, k.key_hash, k.hint, k.enabled, k.expires_at, k.spend_cap_nano,"
    " k.created_at, t.enabled AS tenant_enabled FROM keys k JOIN tenants t USING (tenant_id)"
)


class Store:
    """All that auth keeps, in the schema `auth`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def keys_by_hash(self, hashes: Sequence[bytes]) -> dict[bytes, KeyRow]:
        """The keys of these hashes, those that exist."""
        rows = await self._all(KeyRow, _KEYS + " WHERE k.key_hash = ANY(%s)", (list(hashes),))
        return {bytes(row.key_hash): row for row in rows}

    async def keys(self, tenant_id: str) -> list[KeyRow]:
        """A tenant's keys, all keys when it is empty; oldest first."""
        return await self._all(
            KeyRow, _KEYS + " WHERE %s = '' OR k.tenant_id = %s ORDER BY k.created_at, k.key_id", (tenant_id, tenant_id)
        )

    async def key(self, key_id: str) -> KeyRow | None:
        """One key."""
        return await self._one(KeyRow, _KEYS + " WHERE k.key_id = %s", (key_id,))

    async def add_key(
        self,
        key_id: str,
        tenant_id: str,
        name: str,
        key_hash: bytes,
        hint: str,
        expires_at: datetime | None,
        spend_cap_nano: int | None,
        idempotency_key: str | None,
    ) -> str:
        """Adds a key; the tenant must exist. Answers its id, or that of the key that was made under the same
        idempotency key before."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "INSERT INTO keys"
                " (key_id, tenant_id, name, key_hash, hint, expires_at, spend_cap_nano, idempotency_key)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (tenant_id, idempotency_key) DO NOTHING",
                (key_id, tenant_id, name, key_hash, hint, expires_at, spend_cap_nano, idempotency_key),
            )
            made = await connection.execute(
                "SELECT key_id FROM keys WHERE key_id = %s OR (tenant_id = %s AND idempotency_key = %s)",
                (key_id, tenant_id, idempotency_key),
            )
            row = await made.fetchone()
            return str(row[0]) if row else key_id

    async def set_key_spend_cap(self, key_id: str, spend_cap_nano: int | None) -> None:
        """Sets or lifts what a key may spend over its life."""
        await self._run("UPDATE keys SET spend_cap_nano = %s WHERE key_id = %s", (spend_cap_nano, key_id))

    async def set_key_enabled(self, key_id: str, enabled: bool) -> None:
        """Enables or disables a key."""
        await self._run("UPDATE keys SET enabled = %s WHERE key_id = %s", (enabled, key_id))

    async def delete_key(self, key_id: str) -> None:
        """Deletes a key, if it exists."""
        await self._run("DELETE FROM keys WHERE key_id = %s", (key_id,))

    async def tenants(self) -> list[TenantRow]:
        """Every tenant, oldest first."""
        return await self._all(TenantRow, f"SELECT {_TENANT} FROM tenants ORDER BY created_at, tenant_id", ())

    async def tenant(self, tenant_id: str) -> TenantRow | None:
        """One tenant."""
        return await self._one(TenantRow, f"SELECT {_TENANT} FROM tenants WHERE tenant_id = %s", (tenant_id,))

    async def add_tenant(self, tenant_id: str, name: str) -> None:
        """Adds a tenant, unless it exists."""
        await self._run(
            "INSERT INTO tenants (tenant_id, name) VALUES (%s, %s) ON CONFLICT DO NOTHING", (tenant_id, name)
        )

    async def set_tenant_enabled(self, tenant_id: str, enabled: bool) -> None:
        """Enables or disables a tenant."""
        await self._run("UPDATE tenants SET enabled = %s WHERE tenant_id = %s", (enabled, tenant_id))

    async def _run(self, query: str, parameters: tuple[Any, ...]) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(query.encode(), parameters)

    async def _all(self, kind: type[T], query: str, parameters: tuple[Any, ...]) -> list[T]:
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(kind)) as cursor:
            await cursor.execute(query.encode(), parameters)
            return await cursor.fetchall()

    async def _one(self, kind: type[T], query: str, parameters: tuple[Any, ...]) -> T | None:
        rows = await self._all(kind, query, parameters)
        return rows[0] if rows else None
