"""The audit log: what people did, written in the transaction in which it was done."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from services.ledger.store.queries import Connection
from services.shared.database import Pool


@dataclass(frozen=True, slots=True)
class Deed:
    """Who does what, to whom or what, and why."""

    actor: str
    action: str
    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class AuditRow:
    """A row of the log; details as JSON."""

    audit_id: int
    at: datetime
    actor: str
    action: str
    target: str
    reason: str
    details: str


async def log(connection: Connection, deed: Deed, details: Mapping[str, Any]) -> None:
    """Writes a row."""
    await connection.execute(
        "INSERT INTO audit (actor, action, target, reason, details) VALUES (%s, %s, %s, %s, %s)",
        (deed.actor, deed.action, deed.target, deed.reason, Jsonb(dict(details))),
    )


class AuditStore:
    """Reads the log."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def record(self, idempotency_key: str, deed: Deed, details: Mapping[str, str]) -> None:
        """Writes a deed that happens elsewhere, once under its key."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "INSERT INTO audit (actor, action, target, reason, details, idempotency_key)"
                " VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (idempotency_key) DO NOTHING",
                (deed.actor, deed.action, deed.target, deed.reason, Jsonb(dict(details)), idempotency_key),
            )

    async def page(self, limit: int, before_id: int | None, target: str, actor: str, action: str) -> list[AuditRow]:
        """The latest rows first, from behind `before_id`; of one target, actor and action, of all where it is empty."""
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(AuditRow)) as cursor:
            await cursor.execute(
                "SELECT audit_id, at, actor, action, target, reason, details::text AS details FROM audit"
                " WHERE (%(before)s::bigint IS NULL OR audit_id < %(before)s)"
                " AND (%(target)s = '' OR target = %(target)s) AND (%(actor)s = '' OR actor = %(actor)s)"
                " AND (%(action)s = '' OR action = %(action)s) ORDER BY audit_id DESC LIMIT %(limit)s",
                {"before": before_id, "target": target, "actor": actor, "action": action, "limit": limit},
            )
            return await cursor.fetchall()
