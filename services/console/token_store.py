"""SQL of the management API: access tokens, and the answers that are given again under an idempotency key."""

from dataclasses import dataclass
from typing import Any, Final, LiteralString

from psycopg.rows import class_row

from services.console.access_tokens import AccessToken
from services.console.store import Person
from services.shared.database import Pool

_OF_PERSON: Final = """
    SELECT token_id, person_id, name, scopes, created_at, expires_at, used_at, revoked_at FROM access_tokens
    WHERE person_id = %s AND least(expires_at, revoked_at) > now() - interval '30 days'
    ORDER BY created_at DESC LIMIT 200
"""
# A call that has not ended after a minute is taken for lost, and its key may be used again.
_CLAIM: Final = """
    INSERT INTO api_answers AS a (person_id, idempotency_key, fingerprint) VALUES (%s, %s, %s)
    ON CONFLICT (person_id, idempotency_key) DO UPDATE SET created_at = now()
    WHERE a.status IS NULL AND a.fingerprint = excluded.fingerprint AND a.created_at < now() - interval '1 minute'
    RETURNING true
"""


@dataclass(frozen=True, slots=True)
class TokenOwner(Person):
    """Whose token this is, and which."""

    token_id: str
    scopes: list[str]


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What an idempotency key was used for; without a status its first call is still under way."""

    fingerprint: bytes
    status: int | None
    sealed: bytes | None


class TokenStore:
    """Access tokens and kept answers, in the schema `console`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    # ---- access tokens ----

    async def add(self, token: AccessToken, secret_hash: bytes) -> None:
        """Adds a token."""
        await self._run(
            "INSERT INTO access_tokens (token_id, secret_hash, person_id, name, scopes, expires_at)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            token.token_id,
            secret_hash,
            token.person_id,
            token.name,
            token.scopes,
            token.expires_at,
        )

    async def of_person(self, person_id: str) -> list[AccessToken]:
        """A person's tokens, newest first; those that ended a month ago or longer are left out."""
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(AccessToken)) as rows:
            await rows.execute(_OF_PERSON, (person_id,))
            return await rows.fetchall()

    async def revoke(self, person_id: str, token_id: str) -> bool:
        """Ends one of a person's tokens for good; answers whether they have such a token."""
        return await self._run(
            "UPDATE access_tokens SET revoked_at = coalesce(revoked_at, now()) WHERE person_id = %s AND token_id = %s",
            person_id,
            token_id,
        )

    async def owner(self, secret_hash: bytes) -> TokenOwner | None:
        """Whose token this is, if it is good: neither expired nor revoked, and its owner may sign in. Notes that it was
        used, once a minute at most."""
        found = (
            "SELECT p.person_id, p.email, p.role, p.tenant_id, p.tenant_made, p.enabled, t.token_id, t.scopes"
            " FROM access_tokens t JOIN people p USING (person_id)"
            " WHERE t.secret_hash = %s AND t.revoked_at IS NULL AND t.expires_at > now() AND p.enabled"
        )
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(TokenOwner)) as rows:
            await rows.execute(found, (secret_hash,))
            owner = await rows.fetchone()
            if owner is not None:
                await connection.execute(
                    "UPDATE access_tokens SET used_at = now() WHERE token_id = %s"
                    " AND (used_at IS NULL OR used_at < now() - interval '1 minute')",
                    (owner.token_id,),
                )
        return owner

    # ---- kept answers ----

    async def claim(self, person_id: str, idempotency_key: str, fingerprint: bytes) -> KeptAnswer | None:
        """Claims a key for a call that begins. None when it may go on, else what the key was used for before."""
        async with self._pool.connection() as connection:
            if await (await connection.execute(_CLAIM, (person_id, idempotency_key, fingerprint))).fetchone():
                return None
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(KeptAnswer)) as rows:
            await rows.execute(
                "SELECT fingerprint, status, sealed FROM api_answers WHERE person_id = %s AND idempotency_key = %s",
                (person_id, idempotency_key),
            )
            return await rows.fetchone() or KeptAnswer(fingerprint, None, None)  # given up this very moment

    async def keep(self, person_id: str, idempotency_key: str, status: int, sealed: bytes) -> None:
        """Keeps the answer of a call that ended."""
        await self._run(
            "UPDATE api_answers SET status = %s, sealed = %s WHERE person_id = %s AND idempotency_key = %s",
            status,
            sealed,
            person_id,
            idempotency_key,
        )

    async def give_up(self, person_id: str, idempotency_key: str) -> None:
        """Lets the key be used again: its call changed nothing."""
        await self._run(
            "DELETE FROM api_answers WHERE person_id = %s AND idempotency_key = %s AND status IS NULL",
            person_id,
            idempotency_key,
        )

    async def sweep(self) -> None:
        """Forgets answers of more than a day ago, and tokens that ended a year ago."""
        await self._run("DELETE FROM api_answers WHERE created_at < now() - interval '1 day'")
        await self._run("DELETE FROM access_tokens WHERE least(expires_at, revoked_at) < now() - interval '1 year'")

    async def _run(self, query: LiteralString, *parameters: Any) -> bool:
        async with self._pool.connection() as connection:
            return (await connection.execute(query, parameters)).rowcount > 0
