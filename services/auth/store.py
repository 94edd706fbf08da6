"""auth's SQL: tenants, keys, plans and brands."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any, Final, TypeVar

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from services.shared.database import Pool

T = TypeVar("T")

Limits = list[dict[str, Any]]
"""As `policies.stored` has them."""


class HostTaken(Exception):
    """A host that another brand has; its text is the host."""


class PrefixInUse(Exception):
    """A brand whose keys begin with a prefix that it would have no more; its text is that prefix."""


@dataclass(frozen=True, slots=True)
class TenantRow:
    """A row of tenants."""

    tenant_id: str
    name: str
    enabled: bool
    created_at: datetime
    plan: str | None
    limits: Limits


@dataclass(frozen=True, slots=True)
class TenantFilter:
    """Which tenants are listed; what is empty stands for all. `after` is the id of the last one of the page before."""

    search: str = ""
    plan: str = ""
    disabled: bool = False
    newest_first: bool = False
    after: str = ""


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A row of plans."""

    name: str
    limits: Limits


@dataclass(frozen=True, slots=True)
class BrandRow:
    """A row of brands, and its hosts."""

    name: str
    is_default: bool
    form: dict[str, Any]
    """As `brands.stored` has it."""
    hosts: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key to add."""

    key_id: str
    tenant_id: str
    name: str
    key_hash: bytes
    pepper_id: bytes
    hint: str
    expires_at: datetime | None = None
    spend_cap_nano: int | None = None
    idempotency_key: str | None = None
    group_name: str = "default"
    plan: str | None = None
    brand: str | None = None
    models: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    sealed: bytes | None = None
    limits: Limits = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyForm:
    """What people may change of a key, all of it."""

    key_id: str
    name: str
    enabled: bool
    expires_at: datetime | None
    spend_cap_nano: int | None
    group_name: str
    plan: str | None
    limits: Limits
    models: list[str]
    addresses: list[str]


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A row of keys, and what its tenant and the plans of both say."""

    key_id: str
    tenant_id: str
    name: str
    key_hash: bytes
    pepper_id: bytes | None
    """Of which pepper; None when that was not noted."""
    hint: str
    enabled: bool
    expires_at: datetime | None
    spend_cap_nano: int | None
    created_at: datetime
    group_name: str
    plan: str | None
    limits: Limits
    brand: str | None
    models: list[str]
    addresses: list[str]
    revealable: bool
    plan_limits: Limits | None
    tenant_enabled: bool
    tenant_plan: str | None
    tenant_limits: Limits
    tenant_plan_limits: Limits | None


_TENANT: Final = "tenant_id, name, enabled, created_at, plan, limits"
_KEYS: Final = (
    "SELECT k.key_id, k.tenant_id, k.name, k.key_hash, k.pepper_id, k.hint, k.enabled, k.expires_at,"
    " k.spend_cap_nano, k.created_at, k.group_name, k.plan, k.limits, k.brand, k.models, k.addresses,"
    " k.sealed IS NOT NULL AS revealable, kp.limits AS plan_limits, t.enabled AS tenant_enabled,"
    " t.plan AS tenant_plan, t.limits AS tenant_limits, tp.limits AS tenant_plan_limits"
    " FROM keys k JOIN tenants t USING (tenant_id)"
    " LEFT JOIN plans kp ON kp.name = k.plan LEFT JOIN plans tp ON tp.name = t.plan"
)
_BRANDS: Final = (
    "SELECT b.name, b.is_default, b.form,"
    " coalesce(array_agg(h.host ORDER BY h.position) FILTER (WHERE h.host IS NOT NULL), '{}') AS hosts"
    " FROM brands b LEFT JOIN brand_hosts h ON h.brand = b.name"
)
_PREFIX_IN_USE: Final = (
    "SELECT b.form->>'key_prefix' FROM brands b"
    " WHERE b.name = %s AND EXISTS (SELECT FROM keys k WHERE k.brand = b.name)"
)
_NEW_KEY: Final = tuple(column.name for column in fields(NewKey))
_ADD_KEY: Final = (
    f"INSERT INTO keys ({', '.join(_NEW_KEY)}) VALUES ({', '.join(f'%({name})s' for name in _NEW_KEY)})"
    " ON CONFLICT (tenant_id, idempotency_key) DO NOTHING"
)
_UPDATE_KEY: Final = (
    f"UPDATE keys SET {', '.join(f'{column.name} = %({column.name})s' for column in fields(KeyForm)[1:])}"
    " WHERE key_id = %(key_id)s"
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

    async def add_key(self, key: NewKey) -> str:
        """Adds a key; the tenant must exist. Answers its id, or that of the key that was made under the same
        idempotency key before. Raises ForeignKeyViolation when there is no such plan or brand."""
        async with self._pool.connection() as connection:
            await connection.execute(_ADD_KEY.encode(), _parameters(key))
            made = await connection.execute(
                "SELECT key_id FROM keys WHERE key_id = %s OR (tenant_id = %s AND idempotency_key = %s)",
                (key.key_id, key.tenant_id, key.idempotency_key),
            )
            row = await made.fetchone()
            return str(row[0]) if row else key.key_id

    async def rehash_key(self, key: KeyRow, key_hash: bytes, pepper_id: bytes, sealed: bytes | None) -> None:
        """Keeps a key under its hash by another pepper, with its sealed copy; does nothing when that was done."""
        await self._run(
            "UPDATE keys SET key_hash = %s, pepper_id = %s, sealed = %s, hashed_at = now()"
            " WHERE key_id = %s AND key_hash = %s",
            (key_hash, pepper_id, sealed, key.key_id, key.key_hash),
        )

    async def note_pepper(self, hashes: Sequence[bytes], pepper_id: bytes) -> None:
        """Notes of which pepper these hashes are, where another one or none is noted."""
        await self._run(
            "UPDATE keys SET pepper_id = %s WHERE key_hash = ANY(%s) AND pepper_id IS DISTINCT FROM %s",
            (pepper_id, list(hashes), pepper_id),
        )

    async def sealed_key(self, key_id: str) -> bytes | None:
        """A key's sealed copy, if there is one."""
        async with self._pool.connection() as connection:
            found = await connection.execute("SELECT sealed FROM keys WHERE key_id = %s", (key_id,))
            row = await found.fetchone()
        return bytes(row[0]) if row and row[0] is not None else None

    async def set_key_access(self, key_id: str, models: list[str], addresses: list[str]) -> None:
        """Sets which models a key may call and from which addresses."""
        await self._run("UPDATE keys SET models = %s, addresses = %s WHERE key_id = %s", (models, addresses, key_id))

    async def update_key(self, form: KeyForm) -> None:
        """Replaces what may be changed of a key. Raises ForeignKeyViolation when there is no such plan."""
        async with self._pool.connection() as connection:
            await connection.execute(_UPDATE_KEY.encode(), _parameters(form))

    async def set_key_spend_cap(self, key_id: str, spend_cap_nano: int | None) -> None:
        """Sets or lifts what a key may spend over its life."""
        await self._run("UPDATE keys SET spend_cap_nano = %s WHERE key_id = %s", (spend_cap_nano, key_id))

    async def set_key_policy(self, key_id: str, group: str, plan: str | None, limits: Limits) -> None:
        """Sets a key's group, plan and limits. Raises ForeignKeyViolation when there is no such plan."""
        await self._run(
            "UPDATE keys SET group_name = %s, plan = %s, limits = %s WHERE key_id = %s",
            (group, plan, Jsonb(limits), key_id),
        )

    async def set_key_enabled(self, key_id: str, enabled: bool) -> None:
        """Enables or disables a key."""
        await self._run("UPDATE keys SET enabled = %s WHERE key_id = %s", (enabled, key_id))

    async def delete_key(self, key_id: str) -> None:
        """Deletes a key, if it exists."""
        await self._run("DELETE FROM keys WHERE key_id = %s", (key_id,))

    async def tenants(self, wanted: TenantFilter, limit: int | None) -> tuple[list[TenantRow], int]:
        """The tenants that fit, at most `limit` of them, and how many fit on all pages."""
        fits = (
            "(%(search)s = '' OR strpos(lower(tenant_id || ' ' || name), lower(%(search)s)) > 0)"
            " AND (%(plan)s = '' OR plan = %(plan)s) AND NOT (%(disabled)s AND enabled)"
        )
        compare, order = ("<", "DESC") if wanted.newest_first else (">", "ASC")
        behind = (
            f"(%(after)s = '' OR (created_at, tenant_id) {compare}"
            " (SELECT created_at, tenant_id FROM tenants WHERE tenant_id = %(after)s))"
        )
        values = {**asdict(wanted), "limit": limit}
        query = (
            f"SELECT {_TENANT} FROM tenants WHERE {fits} AND {behind}"
            f" ORDER BY created_at {order}, tenant_id {order} LIMIT %(limit)s"
        )
        async with self._pool.connection() as connection:
            async with connection.cursor(row_factory=class_row(TenantRow)) as cursor:
                await cursor.execute(query.encode(), values)
                rows = await cursor.fetchall()
            counted = await connection.execute(f"SELECT count(*) FROM tenants WHERE {fits}".encode(), values)
            total = await counted.fetchone()
        return rows, int(total[0]) if total else 0

    async def tenant(self, tenant_id: str) -> TenantRow | None:
        """One tenant."""
        return await self._one(TenantRow, f"SELECT {_TENANT} FROM tenants WHERE tenant_id = %s", (tenant_id,))

    async def add_tenant(self, tenant_id: str, name: str, plan: str | None) -> None:
        """Adds a tenant, unless it exists. Raises ForeignKeyViolation when there is no such plan."""
        await self._run(
            "INSERT INTO tenants (tenant_id, name, plan) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (tenant_id, name, plan),
        )

    async def set_tenant_enabled(self, tenant_id: str, enabled: bool) -> None:
        """Enables or disables a tenant."""
        await self._run("UPDATE tenants SET enabled = %s WHERE tenant_id = %s", (enabled, tenant_id))

    async def set_tenant_policy(self, tenant_id: str, plan: str | None, limits: Limits) -> None:
        """Sets a tenant's plan and limits. Raises ForeignKeyViolation when there is no such plan."""
        await self._run(
            "UPDATE tenants SET plan = %s, limits = %s WHERE tenant_id = %s", (plan, Jsonb(limits), tenant_id)
        )

    async def plans(self) -> list[PlanRow]:
        """Every plan, by name."""
        return await self._all(PlanRow, 'SELECT name, limits FROM plans ORDER BY name COLLATE "C"', ())

    async def put_plan(self, name: str, limits: Limits) -> None:
        """Adds a plan, or replaces its limits."""
        await self._run(
            "INSERT INTO plans (name, limits) VALUES (%s, %s)"
            " ON CONFLICT (name) DO UPDATE SET limits = EXCLUDED.limits",
            (name, Jsonb(limits)),
        )

    async def delete_plan(self, name: str) -> None:
        """Deletes a plan, if it exists. Raises ForeignKeyViolation while a tenant or a key has it."""
        await self._run("DELETE FROM plans WHERE name = %s", (name,))

    async def brands(self) -> list[BrandRow]:
        """Every brand, by name."""
        return await self._all(BrandRow, _BRANDS + ' GROUP BY b.name ORDER BY b.name COLLATE "C"', ())

    async def brand(self, name: str) -> BrandRow | None:
        """One brand; the default one where the name is empty."""
        where = " WHERE b.name = %s OR (%s = '' AND b.is_default) GROUP BY b.name"
        return await self._one(BrandRow, _BRANDS + where, (name, name))

    async def put_brand(self, name: str, hosts: Sequence[str], is_default: bool, form: dict[str, Any]) -> None:
        """Adds a brand, or replaces it whole; a default one takes the place of the one before. One that reveals no
        keys keeps no copy of any. All or nothing. Raises HostTaken, PrefixInUse."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute("LOCK TABLE brands IN SHARE ROW EXCLUSIVE MODE")  # one at a time; reads go on
            found = await connection.execute(_PREFIX_IN_USE.encode(), (name,))
            in_use = await found.fetchone()
            if in_use is not None and in_use[0] != form["key_prefix"]:
                raise PrefixInUse(in_use[0])
            if is_default:
                await connection.execute(
                    "UPDATE brands SET is_default = false WHERE is_default AND name <> %s", (name,)
                )
            await connection.execute(
                "INSERT INTO brands (name, is_default, form) VALUES (%s, %s, %s)"
                " ON CONFLICT (name) DO UPDATE SET is_default = excluded.is_default, form = excluded.form",
                (name, is_default, Jsonb(form)),
            )
            await connection.execute("DELETE FROM brand_hosts WHERE brand = %s", (name,))
            for position, host in enumerate(hosts):
                added = await connection.execute(
                    "INSERT INTO brand_hosts (host, brand, position) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                    (host, name, position),
                )
                if not added.rowcount:
                    raise HostTaken(host)
            if not form.get("reveal"):
                await connection.execute(
                    "UPDATE keys SET sealed = NULL WHERE brand = %s AND sealed IS NOT NULL", (name,)
                )

    async def delete_brand(self, name: str) -> None:
        """Deletes a brand, if it exists. Raises ForeignKeyViolation while a key has it."""
        await self._run("DELETE FROM brands WHERE name = %s", (name,))

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


def _parameters(row: NewKey | KeyForm) -> dict[str, Any]:
    """A row's columns by name."""
    return {column.name: getattr(row, column.name) for column in fields(row)} | {"limits": Jsonb(row.limits)}
