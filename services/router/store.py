"""router's SQL: upstream accounts, their models, pools, groups, and what is said of models."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from psycopg.errors import ForeignKeyViolation, NotNullViolation, UniqueViolation
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from services.router.rows import AccountChange, AccountFilter, AccountRow, GroupRow, ModelRow, Stored
from services.shared.database import Pool


class UnknownPool(Exception):
    """What is to be stored names a pool that does not exist."""


class Overtaken(Exception):
    """An upstream account whose name somebody else took, or that somebody deleted, at the same moment."""


class PoolInUse(Exception):
    """A pool that holds upstream accounts or stands in a group."""


_ROWS_AT_A_TIME: Final = 500

_ACCOUNT_COLUMNS: Final = """
    a.upstream_account_id, a.name, a.kind, a.base_url, a.credential_sealed, a.priority, a.enabled, a.created_at,
    a.pool, a.weight, a.headers, a.proxy, a.concurrent_limit, a.requests_limit, a.input_tokens_limit,
    a.output_tokens_limit, a.resale_allowed, a.note,
    coalesce((
        SELECT jsonb_object_agg(m.model, m.upstream_model)
        FROM upstream_models m WHERE m.upstream_account_id = a.upstream_account_id
    ), '{}') AS models
"""
_ACCOUNTS: Final = f"SELECT {_ACCOUNT_COLUMNS} FROM upstream_accounts a ORDER BY a.priority, a.name"
_FITS: Final = """
    (%(name)s = '' OR name = %(name)s) AND (%(pool)s = '' OR pool = %(pool)s) AND NOT (%(disabled)s AND enabled)
    AND (%(search)s = '' OR strpos(lower(name || ' ' || base_url || ' ' || note), lower(%(search)s)) > 0)
    AND (%(ids)s::text[] IS NULL OR upstream_account_id = ANY(%(ids)s))
"""
_NAMES: Final = f"""
    SELECT name FROM upstream_accounts WHERE {_FITS} AND name COLLATE "C" > %(after)s
    ORDER BY name COLLATE "C" LIMIT %(limit)s
"""
_FITTING: Final = f"SELECT count(*) FROM upstream_accounts WHERE {_FITS}"
_ACCOUNT: Final = f"SELECT {_ACCOUNT_COLUMNS} FROM upstream_accounts a WHERE a.name = %s"
_GROUPS: Final = """
    SELECT g."group", coalesce(array_agg(p.pool ORDER BY p.position) FILTER (WHERE p.pool IS NOT NULL), '{}') AS pools
    FROM groups g LEFT JOIN group_pools p USING ("group") GROUP BY g."group" ORDER BY g."group"
"""
_MODELS: Final = """
    SELECT model, display_name, family, attempts_budget_ms, first_byte_ms, idle_ms, total_ms FROM models ORDER BY model
"""
_PUT_ACCOUNT: Final = """
    INSERT INTO upstream_accounts AS a (upstream_account_id, name, kind, base_url, credential_sealed, priority, enabled,
        pool, weight, headers, proxy, concurrent_limit, requests_limit, input_tokens_limit, output_tokens_limit,
        resale_allowed, note)
    VALUES (%(upstream_account_id)s, %(name)s, %(kind)s, %(base_url)s,
        coalesce(%(sealed)s::bytea,
            (SELECT credential_sealed FROM upstream_accounts WHERE upstream_account_id = %(upstream_account_id)s)),
        %(priority)s, %(enabled)s,
        %(pool)s, %(weight)s, %(headers)s, %(proxy)s, %(concurrent)s, %(requests)s, %(input_tokens)s,
        %(output_tokens)s, %(resale_allowed)s, %(note)s)
    ON CONFLICT (upstream_account_id) DO UPDATE SET kind = excluded.kind, base_url = excluded.base_url,
        credential_sealed = coalesce(%(sealed)s::bytea, a.credential_sealed),
        priority = excluded.priority, enabled = excluded.enabled,
        pool = excluded.pool, weight = excluded.weight, headers = excluded.headers, proxy = excluded.proxy,
        concurrent_limit = excluded.concurrent_limit, requests_limit = excluded.requests_limit,
        input_tokens_limit = excluded.input_tokens_limit, output_tokens_limit = excluded.output_tokens_limit,
        resale_allowed = excluded.resale_allowed, note = excluded.note,
        credential_changed_at =
            CASE WHEN %(sealed)s::bytea IS NULL THEN a.credential_changed_at ELSE now() END
"""
_PUT_MODEL: Final = """
    INSERT INTO models (model, display_name, family, attempts_budget_ms, first_byte_ms, idle_ms, total_ms)
    VALUES (%s, %s, %s, %s, %s, %s, %s)
    ON CONFLICT (model) DO UPDATE SET display_name = excluded.display_name, family = excluded.family,
        attempts_budget_ms = excluded.attempts_budget_ms, first_byte_ms = excluded.first_byte_ms,
        idle_ms = excluded.idle_ms, total_ms = excluded.total_ms
"""


class Store:
    """All that router keeps, in the schema `router`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def everything(self) -> Stored:
        """Every upstream account by priority and name, and all that is known of pools, groups and models."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            accounts: list[AccountRow] = []
            async with connection.cursor(row_factory=class_row(AccountRow)) as cursor:
                await cursor.execute(_ACCOUNTS)
                while rows := await cursor.fetchmany(_ROWS_AT_A_TIME):
                    accounts += rows
                    await asyncio.sleep(0)  # rows are made in the event loop: picks are not to wait for thousands
            async with connection.cursor(row_factory=class_row(GroupRow)) as cursor_of_groups:
                groups = await (await cursor_of_groups.execute(_GROUPS)).fetchall()
            async with connection.cursor(row_factory=class_row(ModelRow)) as cursor_of_models:
                models = await (await cursor_of_models.execute(_MODELS)).fetchall()
            pools = await (await connection.execute("SELECT pool FROM pools ORDER BY pool")).fetchall()
            return Stored(accounts, [pool for (pool,) in pools], groups, models)

    async def names(self, wanted: AccountFilter, limit: int) -> tuple[list[str], int]:
        """The names of the upstream accounts that fit, at most `limit` of them, and how many fit on all pages."""
        values = {**asdict(wanted), "limit": limit}
        async with self._pool.connection() as connection:
            page = await connection.execute(_NAMES, values)
            names = [str(name) for (name,) in await page.fetchall()]
            counted = await (await connection.execute(_FITTING, values)).fetchone()
        return names, int(counted[0]) if counted else 0

    async def account(self, name: str) -> AccountRow | None:
        """The upstream account of this name."""
        async with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(AccountRow)) as cursor,
        ):
            await cursor.execute(_ACCOUNT, (name,))
            return await cursor.fetchone()

    async def put_account(self, account_id: str, change: AccountChange, credential_sealed: bytes | None) -> None:
        """Stores an account with exactly these models; without a credential the one that was set last stays. Raises
        UnknownPool, and Overtaken."""
        limits = change.limits
        values: dict[str, Any] = {
            "upstream_account_id": account_id,
            "name": change.name,
            "kind": change.kind,
            "base_url": change.base_url,
            "sealed": credential_sealed,
            "priority": change.priority,
            "enabled": change.enabled,
            "pool": change.pool,
            "weight": change.weight,
            "headers": Jsonb(dict(change.headers)),
            "proxy": change.proxy,
            "concurrent": limits.concurrent,
            "requests": limits.requests,
            "input_tokens": limits.input_tokens,
            "output_tokens": limits.output_tokens,
            "resale_allowed": change.resale_allowed,
            "note": change.note,
        }
        models = change.models
        try:
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute(_PUT_ACCOUNT, values)
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
        except ForeignKeyViolation:
            raise UnknownPool(change.pool) from None
        except (UniqueViolation, NotNullViolation):
            raise Overtaken(change.name) from None

    async def reseal(self, account_id: str, before: bytes, credential_sealed: bytes) -> bool:
        """Replaces the seal of a credential that is the same; False where it was changed meanwhile."""
        async with self._pool.connection() as connection:
            done = await connection.execute(
                "UPDATE upstream_accounts SET credential_sealed = %s"
                " WHERE upstream_account_id = %s AND credential_sealed = %s",
                (credential_sealed, account_id, before),
            )
            return done.rowcount > 0

    async def set_credential(self, account_id: str, credential_sealed: bytes) -> None:
        """Replaces an account's credential, if it exists."""
        await self._run(
            "UPDATE upstream_accounts SET credential_sealed = %s, credential_changed_at = now()"
            " WHERE upstream_account_id = %s",
            credential_sealed,
            account_id,
        )

    async def set_enabled(self, name: str, enabled: bool) -> None:
        """Enables or disables an account, if it exists."""
        await self._run("UPDATE upstream_accounts SET enabled = %s WHERE name = %s", enabled, name)

    async def delete_account(self, name: str) -> None:
        """Deletes an account, if it exists."""
        await self._run("DELETE FROM upstream_accounts WHERE name = %s", name)

    async def put_pool(self, name: str) -> None:
        """Adds a pool, if it is not there."""
        await self._run("INSERT INTO pools (pool) VALUES (%s) ON CONFLICT DO NOTHING", name)

    async def delete_pool(self, name: str) -> None:
        """Deletes a pool, if it exists. Raises PoolInUse."""
        try:
            await self._run("DELETE FROM pools WHERE pool = %s", name)
        except ForeignKeyViolation:
            raise PoolInUse(name) from None

    async def put_group(self, name: str, pools: Sequence[str]) -> None:
        """Stores a group with exactly these pools, in this order. Raises UnknownPool."""
        try:
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute(
                    # The update takes the row's lock: of two at a time one waits for the other.
                    'INSERT INTO groups ("group") VALUES (%s)'
                    ' ON CONFLICT ("group") DO UPDATE SET "group" = excluded."group"',
                    (name,),
                )
                await connection.execute('DELETE FROM group_pools WHERE "group" = %s', (name,))
                await connection.execute(
                    'INSERT INTO group_pools ("group", position, pool)'
                    " SELECT %s, position, pool FROM unnest(%s::text[]) WITH ORDINALITY AS t (pool, position)",
                    (name, list(pools)),
                )
        except ForeignKeyViolation:
            raise UnknownPool(", ".join(pools)) from None

    async def delete_group(self, name: str) -> None:
        """Deletes a group, if it exists."""
        await self._run('DELETE FROM groups WHERE "group" = %s', name)

    async def put_model(self, row: ModelRow) -> None:
        """Stores what is said of a model."""
        await self._run(
            _PUT_MODEL,
            row.model,
            row.display_name,
            row.family,
            row.attempts_budget_ms,
            row.first_byte_ms,
            row.idle_ms,
            row.total_ms,
        )

    async def _run(self, statement: str, *parameters: Any) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(statement.encode(), parameters)
