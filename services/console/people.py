"""People: how they come to be, sign in, and change their password."""

import os
import re
from dataclasses import dataclass, field, replace
from typing import Final

from services.console import passwords, sessions
from services.console.clients import Clients
from services.console.passwords import Passwords
from services.console.provider import Identity
from services.console.store import Known, Person, Store
from services.console.throttle import Throttle
from services.shared import ids
from tollhouse.v1 import auth_pb2

EMAIL_MOST: Final = 254  # RFC 5321, 4.5.3.1.3, less the angle brackets
_NO_PASSWORD: Final = ""
"""Stored of those who sign in through a provider: no password has this hash."""
_EMAIL: Final = re.compile(r"[^\s@\x00-\x1f\x7f<>\"(),:;\\\[\]]{1,64}@[a-z0-9-]+(\.[a-z0-9-]+)*")


class BadAddress(Exception):
    """Not an e-mail address."""


class WrongPassword(Exception):
    """No person of that address and password may sign in."""


@dataclass(frozen=True)
class Begun:
    """A session that has just begun, and the secret that its cookie holds."""

    person: Person
    secret: str = field(repr=False)


class People:
    """Registers people and signs them in."""

    def __init__(self, store: Store, clients: Clients, hasher: Passwords, throttle: Throttle) -> None:
        self._store = store
        self._clients = clients
        self._passwords = hasher
        self._throttle = throttle

    async def register(self, email: str, password: str, address: str) -> Person:
        """Makes a customer with a tenant of their own. Raises Throttled, BadAddress, Weak, AddressTaken, Refusal."""
        email = normalised(email)
        passwords.check(password, email)
        await self._throttle.register(address)
        return await self.add(email, password)

    async def register_identity(self, identity: Identity, address: str) -> Person:
        """Makes a customer who signs in through a provider, and has no password. Raises Throttled, BadAddress,
        AddressTaken, Refusal."""
        email = normalised(identity.email)
        await self._throttle.register(address)
        person = _new(email, "customer", "")
        await self._store.add_person(person, _NO_PASSWORD, (identity.issuer, identity.subject))
        return await self.with_tenant(person)

    async def add(self, email: str, password: str, role: str = "customer", tenant_id: str = "") -> Person:
        """Makes a person, of this tenant or of one of their own. The row is stored first and holds the tenant's id, so
        that a tenant which auth could not be asked for is asked for again at sign-in, under the same id. Raises
        BadAddress, AddressTaken, Refusal."""
        person = _new(normalised(email), role, tenant_id)
        await self._store.add_person(person, await self._passwords.hash(password))
        return await self.with_tenant(person)

    async def sign_in(self, email: str, password: str, address: str) -> Person:
        """Who has this address and password. Raises Throttled, WrongPassword, Refusal."""
        try:
            email = normalised(email)
        except BadAddress:
            raise WrongPassword from None
        await self._throttle.sign_in(email, address)
        known = await self._verified(email, password)
        await self._throttle.signed_in(email)
        if self._passwords.outdated(known.password_hash):
            await self._store.set_password(known.person_id, await self._passwords.hash(password))
        return await self.with_tenant(known)

    async def begin_session(self, person: Person, address: str, user_agent: str, *, awaits_code: bool = False) -> Begun:
        """Begins a session under a secret that nobody has seen before; one that waits for a code signs nobody in."""
        secret = new_secret()
        await self._store.add_session(
            sessions.secret_hash(secret),
            f"session_{ids.ulid()}",
            person.person_id,
            address,
            user_agent[: sessions.USER_AGENT_MOST],
            awaits_code=awaits_code,
        )
        return Begun(person, secret)

    async def has_password(self, person: Person) -> bool:
        """Whether they have one; who came through a provider has none."""
        known = await self._store.person_by_email(person.email)
        return known is not None and known.password_hash != _NO_PASSWORD

    async def may_change_password(self, person: Person, old: str, new: str, address: str) -> None:
        """Lets somebody who is signed in go on to `set_password`. Raises Throttled, WrongPassword, Weak."""
        passwords.check(new, person.email)
        await self.confirm_password(person, old, address)

    async def set_password(self, person: Person, password: str) -> None:
        """Sets a password and ends all of the person's sessions."""
        await self._store.set_password(person.person_id, await self._passwords.hash(password))
        await self._store.end_sessions(person.person_id)

    async def confirm_password(self, person: Person, password: str, address: str) -> None:
        """Lets somebody who is signed in go on only with their password. Raises Throttled, WrongPassword."""
        await self._throttle.sign_in(person.email, address)
        await self._verified(person.email, password)
        await self._throttle.signed_in(person.email)

    async def knows(self, email: str, password: str) -> bool:
        """Whether that person could sign in with that password."""
        known = await self._store.person_by_email(normalised(email))
        return await self._passwords.verify(known.password_hash if known else _NO_PASSWORD, password)

    async def _verified(self, email: str, password: str) -> Known:
        known = await self._store.person_by_email(email)
        stored = known.password_hash if known else _NO_PASSWORD
        good = await self._passwords.verify(stored, password[: passwords.LONGEST + 1])
        if known is None or not good or not known.enabled:
            raise WrongPassword
        return known

    async def with_tenant(self, person: Person) -> Person:
        """Makes the person's tenant, unless it is known to be there. Raises Refusal."""
        if person.tenant_made:
            return person
        request = auth_pb2.CreateTenantRequest(tenant_id=person.tenant_id, name=person.email)
        await self._clients.auth.CreateTenant(request)
        await self._store.tenant_is_made(person.person_id)
        return replace(person, tenant_made=True)


def _new(email: str, role: str, tenant_id: str) -> Person:
    return Person(
        person_id=f"person_{ids.ulid()}",
        email=email,
        role=role,
        tenant_id=tenant_id or f"t-{ids.ulid()}",
        tenant_made=bool(tenant_id),
        enabled=True,
    )


def normalised(email: str) -> str:
    """The address as it is stored. Raises BadAddress."""
    email = email.strip().lower()
    if len(email) > EMAIL_MOST or not _EMAIL.fullmatch(email):
        raise BadAddress(email)
    return email


def new_secret() -> str:
    """A new session's secret."""
    return sessions.secret_of(os.urandom(sessions.SECRET_BYTES))
