"""The console's SQL: people, their sessions, and what throttles attempts."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeVar

from psycopg.errors import UniqueViolation
from psycopg.rows import class_row

from services.console.sessions import Session
from services.shared.database import Pool

T = TypeVar("T")

_PERSON: Final = "p.person_id, p.email, p.role, p.tenant_id, p.tenant_made, p.enabled"
_LIVE: Final = "s.seen_at > now() - %(idle)s AND s.created_at > now() - %(whole)s"
# The bucket's content flows off evenly: `empty_at` moves by one attempt's share of the window. An attempt fits while
# the bucket would be empty within one window; where it does not, nothing is written and no row comes back.
_TAKE: Final = """
    INSERT INTO throttles AS t (bucket, empty_at) VALUES (%(bucket)s, now() + %(share)s)
    ON CONFLICT (bucket) DO UPDATE SET empty_at = greatest(t.empty_at, now()) + %(share)s
    WHERE greatest(t.empty_at, now()) + %(share)s <= now() + %(window)s
    RETURNING 0
"""
_WAIT: Final = "SELECT extract(epoch FROM empty_at + %s - now() - %s)::float8 FROM throttles WHERE bucket = %s"


class AddressTaken(Exception):
    """Somebody has that address already."""


class IdentityTaken(Exception):
    """An identity of a provider that is somebody else's."""


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may sign in."""

    person_id: str
    email: str
    role: str
    """`customer` or `operator`."""
    tenant_id: str
    """Whose keys, usage and balance they see."""
    tenant_made: bool
    enabled: bool

    @property
    def is_operator(self) -> bool:
        """Whether they may run the gateway."""
        return self.role == "operator"


@dataclass(frozen=True, slots=True)
class SignedIn(Person):
    """A person, and the session that they come with."""

    session_id: str


@dataclass(frozen=True, slots=True)
class SealedCodes:
    """Whose codes are made of what, sealed."""

    person_id: str
    sealed: bytes


@dataclass(frozen=True, slots=True)
class CodeSecret:
    """What one-time codes are made of, and the time step of the last one that was accepted."""

    sealed: bytes
    last_step: int


@dataclass(frozen=True, slots=True)
class Known(Person):
    """A person, and what their password must match."""

    password_hash: str = field(repr=False)


class Store:
    """All that the console keeps, in the schema `console`.

    Args:
        idle: after so long without a request a session ends.
        whole: after so long it ends in any case.
    """

    def __init__(self, pool: Pool, idle: timedelta, whole: timedelta) -> None:
        self._pool = pool
        self._times = {"idle": idle, "whole": whole}

    # ---- people ----

    async def add_person(self, person: Person, password_hash: str, identity: tuple[str, str] | None = None) -> None:
        """Adds a person, and the issuer and subject that they are known by, if any. Raises AddressTaken."""
        try:
            async with self._pool.connection() as connection, connection.transaction():
                await connection.execute(
                    "INSERT INTO people (person_id, email, role, tenant_id, tenant_made, enabled, password_hash)"
                    " VALUES (%(person_id)s, %(email)s, %(role)s, %(tenant_id)s, %(tenant_made)s, %(enabled)s,"
                    " %(password_hash)s)",
                    {**asdict(person), "password_hash": password_hash},
                )
                if identity is not None:
                    await connection.execute(
                        "INSERT INTO identities (issuer, subject, person_id) VALUES (%s, %s, %s)",
                        (*identity, person.person_id),
                    )
        except UniqueViolation:
            raise AddressTaken(person.email) from None

    async def person_by_email(self, email: str) -> Known | None:
        """The person of an address in lower case."""
        return await self._one(Known, f"SELECT {_PERSON}, p.password_hash FROM people p WHERE email = %s", email)

    async def person_by_identity(self, issuer: str, subject: str) -> Person | None:
        """The person whom a provider knows under this subject."""
        query = (
            f"SELECT {_PERSON} FROM people p JOIN identities i USING (person_id) WHERE i.issuer = %s AND i.subject = %s"
        )
        return await self._one(Person, query, issuer, subject)

    async def add_identity(self, issuer: str, subject: str, person_id: str) -> None:
        """Connects an identity to a person; doing so again does no harm. Raises IdentityTaken."""
        kept = await self._run(
            "INSERT INTO identities AS i (issuer, subject, person_id) VALUES (%s, %s, %s)"
            " ON CONFLICT (issuer, subject) DO UPDATE SET created_at = i.created_at"
            " WHERE i.person_id = excluded.person_id",
            issuer,
            subject,
            person_id,
        )
        if not kept:
            raise IdentityTaken(subject)

    async def people(self) -> list[Person]:
        """Everybody, oldest first."""
        return await self._all(Person, f"SELECT {_PERSON} FROM people p ORDER BY created_at, person_id")

    async def people_page(self, search: str, after: str, limit: int) -> list[Person]:
        """People in whose address this stands, newest first, from behind the one of the id `after`."""
        query = (
            f"SELECT {_PERSON} FROM people p WHERE (%s = '' OR strpos(p.email, lower(%s)) > 0) AND (%s = ''"
            " OR (p.created_at, p.person_id) < (SELECT created_at, person_id FROM people WHERE person_id = %s))"
            " ORDER BY p.created_at DESC, p.person_id DESC LIMIT %s"
        )
        return await self._all(Person, query, search, search, after, after, limit)

    async def person(self, person_id: str) -> Person | None:
        """The person of an id."""
        return await self._one(Person, f"SELECT {_PERSON} FROM people p WHERE p.person_id = %s", person_id)

    async def set_role(self, person_id: str, role: str) -> None:
        """Makes a person an operator or a customer; their sessions know it with their next request."""
        await self._run("UPDATE people SET role = %s WHERE person_id = %s", role, person_id)

    async def tenant_is_made(self, person_id: str) -> None:
        """Notes that auth has the person's tenant."""
        await self._run("UPDATE people SET tenant_made = true WHERE person_id = %s", person_id)

    async def set_password(self, person_id: str, password_hash: str) -> None:
        """Replaces a password's hash."""
        await self._run("UPDATE people SET password_hash = %s WHERE person_id = %s", password_hash, person_id)

    async def set_enabled(self, person_id: str, enabled: bool) -> None:
        """Lets a person in, or shuts them out: their sessions end at once, for good."""
        await self._run("UPDATE people SET enabled = %s WHERE person_id = %s", enabled, person_id)
        if not enabled:
            await self.end_sessions(person_id)

    # ---- sessions ----

    async def add_session(
        self,
        secret_hash: bytes,
        session_id: str,
        person_id: str,
        address: str,
        user_agent: str,
        *,
        awaits_code: bool = False,
    ) -> None:
        """Begins a session, or one that waits for a one-time code."""
        await self._run(
            "INSERT INTO sessions (secret_hash, session_id, person_id, address, user_agent, awaits_code)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            secret_hash,
            session_id,
            person_id,
            address,
            user_agent,
            awaits_code,
        )

    async def awaiting_code(self, secret_hash: bytes) -> SignedIn | None:
        """Who has shown the password under this secret, a few minutes ago at most, and not a code yet."""
        query = (
            f"SELECT {_PERSON}, s.session_id FROM sessions s JOIN people p USING (person_id)"
            " WHERE s.secret_hash = %s AND s.awaits_code AND p.enabled AND s.created_at > now() - interval '10 minutes'"
        )
        return await self._one(SignedIn, query, secret_hash)

    async def signed_in(self, secret_hash: bytes) -> SignedIn | None:
        """Whose session this is, if it still runs. Notes that it was used, once a minute at most."""
        query = (
            f"SELECT {_PERSON}, s.session_id, s.seen_at < now() - interval '1 minute' AS stale"
            f" FROM sessions s JOIN people p USING (person_id)"
            f" WHERE s.secret_hash = %(hash)s AND p.enabled AND NOT s.awaits_code AND {_LIVE}"
        )
        async with self._pool.connection() as connection:
            found = await connection.execute(query.encode(), {"hash": secret_hash, **self._times})
            row = await found.fetchone()
            if row is None:
                return None
            *fields, stale = row
            if stale:
                await connection.execute("UPDATE sessions SET seen_at = now() WHERE secret_hash = %s", (secret_hash,))
        return SignedIn(*fields)

    async def sessions(self, person_id: str) -> list[Session]:
        """A person's running sessions, the one that was used last first."""
        query = (
            "SELECT s.session_id, s.created_at, s.seen_at, s.address, s.user_agent FROM sessions s"
            f" WHERE s.person_id = %(person)s AND NOT s.awaits_code AND {_LIVE} ORDER BY s.seen_at DESC, s.session_id"
        )
        async with (
            self._pool.connection() as connection,
            connection.cursor(row_factory=class_row(Session)) as cursor,
        ):
            await cursor.execute(query.encode(), {"person": person_id, **self._times})
            return await cursor.fetchall()

    async def end_session(self, person_id: str, session_id: str) -> bool:
        """Ends one session of a person; answers whether there was one."""
        return await self._run("DELETE FROM sessions WHERE person_id = %s AND session_id = %s", person_id, session_id)

    async def end_sessions(self, person_id: str, but: str = "") -> None:
        """Ends all sessions of a person, but for one."""
        await self._run("DELETE FROM sessions WHERE person_id = %s AND session_id <> %s", person_id, but)

    # ---- one-time codes ----

    async def has_codes(self, person_id: str) -> bool:
        """Whether a person signs in with codes."""
        return await self.code_secret(person_id, confirmed=True) is not None

    async def code_secret(self, person_id: str, *, confirmed: bool) -> CodeSecret | None:
        """What a person's codes are made of."""
        query = "SELECT sealed, last_step FROM one_time_codes WHERE person_id = %s AND confirmed = %s"
        return await self._one(CodeSecret, query, person_id, confirmed)

    async def sealed_codes(self, after: str, limit: int) -> list[SealedCodes]:
        """What everybody's codes are made of, by person from the one after `after` on."""
        query = "SELECT person_id, sealed FROM one_time_codes WHERE person_id > %s ORDER BY person_id LIMIT %s"
        return await self._all(SealedCodes, query, after, limit)

    async def reseal_codes(self, codes: SealedCodes, sealed: bytes) -> bool:
        """Keeps the same sealed anew, unless it has changed meanwhile; answers whether it did."""
        query = "UPDATE one_time_codes SET sealed = %s WHERE person_id = %s AND sealed = %s"
        return await self._run(query, sealed, codes.person_id, codes.sealed)

    async def put_code_secret(self, person_id: str, sealed: bytes) -> None:
        """Keeps a secret that is not confirmed yet, in place of another such; a confirmed one stays."""
        await self._run(
            "INSERT INTO one_time_codes AS c (person_id, sealed) VALUES (%s, %s)"
            " ON CONFLICT (person_id) DO UPDATE SET sealed = excluded.sealed WHERE NOT c.confirmed",
            person_id,
            sealed,
        )

    async def confirm_codes(
        self, person_id: str, kept: CodeSecret, step: int, recovery_hashes: Sequence[bytes]
    ) -> bool:
        """From now on codes of this secret are asked for; the recovery codes are these. Answers False, and changes
        nothing, when another secret waits, or this one no more."""
        async with self._pool.connection() as connection, connection.transaction():
            confirmed = await connection.execute(
                "UPDATE one_time_codes SET confirmed = true, last_step = %s"
                " WHERE person_id = %s AND sealed = %s AND NOT confirmed",
                (step, person_id, kept.sealed),
            )
            if not confirmed.rowcount:
                return False
            await connection.execute("DELETE FROM recovery_codes WHERE person_id = %s", (person_id,))
            await connection.execute(
                "INSERT INTO recovery_codes (person_id, code_hash) SELECT %s, unnest(%s::bytea[])",
                (person_id, list(recovery_hashes)),
            )
            return True

    async def use_code_step(self, person_id: str, step: int) -> bool:
        """Notes a code's time step; answers whether it was not used before."""
        query = "UPDATE one_time_codes SET last_step = %s WHERE person_id = %s AND last_step < %s"
        return await self._run(query, step, person_id, step)

    async def use_recovery_code(self, person_id: str, code_hashes: Sequence[bytes]) -> bool:
        """Uses a recovery code up, which may be kept under any of these; answers whether there was one."""
        return await self._run(
            "DELETE FROM recovery_codes WHERE person_id = %s AND code_hash = ANY(%s)", person_id, list(code_hashes)
        )

    async def recovery_codes_left(self, person_id: str) -> int:
        """How many are not used."""
        async with self._pool.connection() as connection:
            found = await connection.execute("SELECT count(*) FROM recovery_codes WHERE person_id = %s", (person_id,))
            row = await found.fetchone()
        return int(row[0]) if row else 0

    async def drop_codes(self, person_id: str) -> None:
        """Asks for codes no more."""
        await self._run("DELETE FROM one_time_codes WHERE person_id = %s", person_id)

    # ---- throttles ----

    async def take(self, bucket: str, most: int, window_s: float) -> float:
        """Takes one attempt of `most` in a window; answers 0, or how many seconds to wait where none is left."""
        share, window = timedelta(seconds=window_s / most), timedelta(seconds=window_s)
        values = {"bucket": bucket, "share": share, "window": window}
        async with self._pool.connection() as connection:
            taken = await (await connection.execute(_TAKE.encode(), values)).fetchone()
            if taken is not None:
                return 0.0
            wait = await (await connection.execute(_WAIT.encode(), (share, window, bucket))).fetchone()
        return max(1.0, float(wait[0])) if wait else 1.0

    async def forgive(self, bucket: str) -> None:
        """Empties a bucket."""
        await self._run("DELETE FROM throttles WHERE bucket = %s", bucket)

    async def sweep(self) -> None:
        """Forgets what has ended: sessions, and buckets that are empty."""
        async with self._pool.connection() as connection:
            await connection.execute(f"DELETE FROM sessions s WHERE NOT ({_LIVE})".encode(), self._times)
            await connection.execute("DELETE FROM throttles WHERE empty_at < now()")

    async def _run(self, query: str, *parameters: Any) -> bool:
        async with self._pool.connection() as connection:
            return (await connection.execute(query.encode(), parameters)).rowcount > 0

    async def _all(self, kind: type[T], query: str, *parameters: Any) -> list[T]:
        async with self._pool.connection() as connection, connection.cursor(row_factory=class_row(kind)) as cursor:
            await cursor.execute(query.encode(), parameters)
            return await cursor.fetchall()

    async def _one(self, kind: type[T], query: str, *parameters: Any) -> T | None:
        rows = await self._all(kind, query, *parameters)
        return rows[0] if rows else None
