"""Service tokens, and the public keys of receipts."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from psycopg.rows import class_row

from services.ledger.store.queries import row_or_none
from services.shared.database import Pool

_COLUMNS: Final = "token_id, token_hash, name, scope, tenant_id, created_at, expires_at, revoked_at, last_used_on"
_LISTED: Final = 1000


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A service token, without its secret."""

    token_id: str
    token_hash: bytes
    name: str
    scope: int
    tenant_id: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_on: date | None


@dataclass(frozen=True, slots=True)
class ReceiptKeyRow:
    """A public key that signs receipts, or did; Ed25519, 32 bytes."""

    kid: str
    public_key: bytes
    created_at: datetime


class TokenStore:
    """Service tokens by their hash."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, token_hash: bytes) -> TokenRow | None:
        """The token of this hash if it is good now; notes the day on which it was used."""
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(TokenRow)) as cursor:
            await cursor.execute(
                f"SELECT {_COLUMNS} FROM service_tokens WHERE token_hash = %s AND revoked_at IS NULL"
                " AND (expires_at IS NULL OR expires_at > now())",
                (token_hash,),
            )
            found = await cursor.fetchone()
            if found is not None:
                await connection.execute(
                    "UPDATE service_tokens SET last_used_on = (now() AT TIME ZONE 'UTC')::date"
                    " WHERE token_id = %s AND last_used_on IS DISTINCT FROM (now() AT TIME ZONE 'UTC')::date",
                    (found.token_id,),
                )
            return found

    async def add(
        self, token_id: str, token_hash: bytes, name: str, scope: int, tenant_id: str, expires_at: datetime | None
    ) -> TokenRow:
        """Keeps a new token."""
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(TokenRow)) as cursor:
            await cursor.execute(
                "INSERT INTO service_tokens (token_id, token_hash, name, scope, tenant_id, expires_at)"
                f" VALUES (%s, %s, %s, %s, %s, %s) RETURNING {_COLUMNS}",
                (token_id, token_hash, name, scope, tenant_id, expires_at),
            )
            [added] = await cursor.fetchall()
            return added

    async def newest(self) -> list[TokenRow]:
        """The tokens, newest first, revoked ones too."""
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(TokenRow)) as cursor:
            await cursor.execute(
                f"SELECT {_COLUMNS} FROM service_tokens ORDER BY created_at DESC, token_id DESC LIMIT {_LISTED}"
            )
            return await cursor.fetchall()

    async def revoke(self, token_id: str) -> TokenRow | None:
        """Revokes a token; None when there is none of this id."""
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(TokenRow)) as cursor:
            await cursor.execute(
                "UPDATE service_tokens SET revoked_at = coalesce(revoked_at, now()) WHERE token_id = %s"
                f" RETURNING {_COLUMNS}",
                (token_id,),
            )
            return await cursor.fetchone()


class ReceiptKeyStore:
    """The public keys of receipts: added, never removed."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def add(self, kid: str, public_key: bytes) -> None:
        """Keeps a public key; one that is known stays as it is."""
        async with self._pool.connection() as connection:
            await row_or_none(
                connection,
                "INSERT INTO receipt_keys (kid, public_key) VALUES (%s, %s) ON CONFLICT DO NOTHING RETURNING kid",
                (kid, public_key),
            )

    async def newest(self) -> list[ReceiptKeyRow]:
        """The keys, newest first."""
        async with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(ReceiptKeyRow)) as cursor,
        ):
            await cursor.execute(
                f"SELECT kid, public_key, created_at FROM receipt_keys ORDER BY created_at DESC, kid LIMIT {_LISTED}"
            )
            return await cursor.fetchall()
