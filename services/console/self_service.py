"""What people do about themselves, by pages and by programs: password, one-time codes, sessions, access tokens.

What does not go is a Problem whose `param` is the field that is at fault: a page says it there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from services.console import access_tokens, problems
from services.console.access_tokens import AccessToken, Scope
from services.console.console import Console
from services.console.one_time_codes import uri
from services.console.passwords import Weak
from services.console.people import WrongPassword
from services.console.problems import Problem
from services.console.store import Person
from services.console.throttle import Throttled
from services.shared import clock, ids

_NOT_YOURS: Final = "That is not your password."
_NO_CODE: Final = "That code is not good, or was used before."


@dataclass(frozen=True, slots=True)
class Device:
    """What an authenticator is given, once: the secret, and the same as the address in a picture."""

    secret: str
    uri: str


async def change_password(console: Console, person: Person, old: str, new: str, address: str) -> None:
    """Sets a new password; every session of the person ends, so that whoever has learned the secret of one is out too.
    Raises Problem."""
    try:
        await console.people.may_change_password(person, old, new, address)
    except WrongPassword:
        raise Problem(400, _NOT_YOURS, param="old_password") from None
    except Weak as weak:
        raise Problem(400, str(weak), param="new_password") from None
    except Throttled as throttled:
        raise problems.of_throttled(throttled) from None
    await console.people.set_password(person, new)


# ---- one-time codes ----


async def begin_codes(console: Console, person: Person, issuer: str) -> Device:
    """Makes a secret for a device; codes are on once one of it was confirmed. Raises Problem."""
    await console.codes.begin(person)
    device = await begun_codes(console, person, issuer)
    if device is None:
        raise Problem(409, "One-time codes are on already.")
    return device


async def begun_codes(console: Console, person: Person, issuer: str) -> Device | None:
    """What waits to be confirmed, if anything does."""
    secret = await console.codes.begun(person)
    return Device(secret, uri(secret, person.email, issuer)) if secret else None


async def confirm_codes(console: Console, person: Person, code: str) -> list[str]:
    """Turns codes on once the device has made a good one; answers the recovery codes, this once. Raises Problem."""
    try:
        return await console.codes.turn_on(person, await console.codes.shown(person, code))
    except WrongPassword:
        raise Problem(400, _NO_CODE, param="code") from None
    except Throttled as throttled:
        raise problems.of_throttled(throttled) from None


async def drop_codes(console: Console, person: Person, password: str, code: str, address: str) -> None:
    """Turns codes off; takes the password or, of those who have none, a code, so that an unattended browser or a lost
    token is not enough. Raises Problem."""
    has_password = await console.people.has_password(person)
    try:
        if has_password:
            await console.people.confirm_password(person, password, address)
        else:
            await console.codes.check(person, code)
    except WrongPassword:
        wrong, param = (_NOT_YOURS, "password") if has_password else (_NO_CODE, "code")
        raise Problem(400, wrong, param=param) from None
    except Throttled as throttled:
        raise problems.of_throttled(throttled) from None
    await console.codes.drop(person)


# ---- sessions ----


async def end_session(console: Console, person: Person, session_id: str) -> None:
    """Ends one of the person's own sessions. Raises Problem."""
    if not await console.store.end_session(person.person_id, session_id):
        raise Problem(404, "There is no such session.")


# ---- access tokens ----


async def make_token(
    console: Console, person: Person, name: str, scopes: Sequence[Scope], days: int
) -> tuple[str, str]:
    """Makes an access token; answers its id and the secret, this once. Raises Problem."""
    name, now = name.strip(), _now()
    for param, why in token_faults(person, name, scopes, days).items():
        raise Problem(400, why, param=param)
    running = [token for token in await console.tokens.of_person(person.person_id) if not token.ended(now)]
    if len(running) >= access_tokens.PER_PERSON_MOST:
        raise Problem(409, f"You have {len(running)} access tokens. Revoke one first.")
    secret = access_tokens.secret_of(os.urandom(access_tokens.SECRET_BYTES))
    labels, ends = [scope.label for scope in scopes], now + timedelta(days=days)
    token = AccessToken(f"token_{ids.ulid()}", person.person_id, name, labels, now, ends, None, None)
    await console.tokens.add(token, access_tokens.secret_hash(secret))
    return token.token_id, secret


def token_faults(person: Person, name: str, scopes: Sequence[Scope], days: int) -> dict[str, str]:
    """What is wrong with an access token that somebody wants, by field."""
    found = {}
    if not name or len(name) > access_tokens.NAME_MOST or not name.isprintable():
        found["name"] = f"A name of at most {access_tokens.NAME_MOST} characters is needed."
    if not scopes:
        found["scopes"] = "Choose at least one thing that it may do."
    elif not set(scopes) <= set(access_tokens.grantable(person.is_operator)):
        found["scopes"] = "Some of this is for operators to grant."
    if not 1 <= days < access_tokens.DAYS_MOST:
        found["days"] = "Choose when it ends."
    return found


async def revoke_token(console: Console, person: Person, token_id: str) -> None:
    """Ends one of the person's own tokens, at once and for good. Raises Problem."""
    if not await console.tokens.revoke(person.person_id, token_id):
        raise Problem(404, "There is no such access token.")


def _now() -> datetime:
    return datetime.fromtimestamp(clock.now_ms() / clock.MS_PER_S, UTC)
