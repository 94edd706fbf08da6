"""Who calls the management API: a person with a session, or with an access token."""

from dataclasses import dataclass
from typing import Final

from starlette.requests import Request

from services.console import access_tokens
from services.console.access_tokens import Scope
from services.console.console import console_of
from services.console.problems import Problem
from services.console.store import Person, SignedIn
from services.console.throttle import Throttled
from services.console.visit import visit_of

_ASKS_FOR_TOKEN: Final = {"www-authenticate": 'Bearer realm="management API"'}
_EMAIL_SHOWN: Final = 150  # the ledger's actors have 200 characters


@dataclass(frozen=True, slots=True)
class Caller:
    """A person, what they came with, and what that may do."""

    person: Person
    token_id: str
    """Empty for a session."""
    scopes: frozenset[Scope]
    address: str

    @property
    def tenant_id(self) -> str:
        """Whose keys, usage and balance: never taken from what a request says."""
        return self.person.tenant_id

    @property
    def session_id(self) -> str:
        """The session that the caller came with; empty for an access token."""
        return self.person.session_id if isinstance(self.person, SignedIn) else ""

    @property
    def actor(self) -> str:
        """Who did it, for the audit log: the person, and the token if there is one."""
        email = self.person.email[:_EMAIL_SHOWN]
        return f"{email} via {self.token_id}" if self.token_id else email

    def check(self, scope: Scope) -> None:
        """Raises Problem unless this may be done."""
        if scope.for_operators and not self.person.is_operator:
            raise Problem(403, "This is for operators.")
        if scope not in self.scopes:
            raise Problem(403, f"The access token has not the scope {scope.label}.", "token_scope")


async def caller_of(request: Request) -> Caller:
    """Who calls; counts the call. Raises Problem."""
    caller = await _with_token(request) if "authorization" in request.headers else _with_session(request)
    try:
        await console_of(request).throttle.call(caller.token_id or caller.person.person_id)
    except Throttled as throttled:
        raise _patience(throttled) from None
    return caller


async def _with_token(request: Request) -> Caller:
    console, address = console_of(request), visit_of(request).address
    token = access_tokens.bearer(request.headers["authorization"])
    owner = await console.tokens.owner(access_tokens.secret_hash(token)) if token else None
    if owner is None:
        try:
            await console.throttle.bad_token(address)
        except Throttled as throttled:
            raise _patience(throttled) from None
        said = "is not known, has expired or was revoked" if token else "is needed; an API key is none"
        raise Problem(401, f"An access token {said}.", headers=_ASKS_FOR_TOKEN)
    scopes = access_tokens.effective(owner.scopes, owner.is_operator)
    return Caller(owner, owner.token_id, scopes, address)


def _with_session(request: Request) -> Caller:
    visit = visit_of(request)
    if visit.person is None:
        raise Problem(401, "Sign in, or send an access token in Authorization.", "token_missing", "", _ASKS_FOR_TOKEN)
    scopes = frozenset(access_tokens.grantable(visit.person.is_operator))
    return Caller(visit.person, "", scopes, visit.address)


def _patience(throttled: Throttled) -> Problem:
    wait_s = max(1, round(throttled.wait_s))
    return Problem(429, f"Too many calls; the next one fits in {wait_s} s.", headers={"retry-after": str(wait_s)})
