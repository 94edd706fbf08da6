"""Who calls the ledger, and what they may do.

Two questions that are kept apart: `Callers.identify` finds out who is calling from what the call brings (a service
token; a client certificate would be one more way), `permit` says from the caller and the method alone whether it may.
"""

import hashlib
import hmac
import secrets
import string
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from services.shared import clock
from services.shared.errors import Kind, Refusal
from services.shared.settings import Secret
from tollhouse.v1 import tokens_pb2

TOKEN_PREFIX: Final = "thst_"  # noqa: S105  # how a token begins, not a token
_ALPHABET: Final = string.ascii_letters + string.digits
_LENGTH: Final = 43  # 256 bits
_MAX_TOKEN_LENGTH: Final = 256
_USAGE_METHODS: Final = "/tollhouse.v1.UsageService/"

USAGE: Final = tokens_pb2.TOKEN_SCOPE_USAGE
INTERNAL: Final = tokens_pb2.TOKEN_SCOPE_INTERNAL


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling. `tenant_id` is the one whose usage it may read, empty for all."""

    name: str
    scope: tokens_pb2.TokenScope.ValueType
    tenant_id: str

    @property
    def reads_all(self) -> bool:
        """Whether it may read every tenant's usage, and what serving it cost us."""
        return not self.tenant_id

    def tenant(self, asked: str) -> str:
        """The tenant that a question for `asked` is about: its own where none is named, empty for all. Raises Refusal
        when it may not ask about that one."""
        if "\0" in asked:  # which Postgres takes in no text
            raise Refusal(Kind.INVALID_REQUEST, "tenant_id holds a NUL character")
        if self.reads_all or asked in ("", self.tenant_id):
            return asked or self.tenant_id
        raise Refusal(Kind.TOKEN_SCOPE, f"the service token reads the usage of {self.tenant_id!r} only")


caller: ContextVar[Caller] = ContextVar("caller")
"""Who made the call that is being answered. Set before every handler."""


def new_token() -> str:
    """A new service token."""
    return TOKEN_PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))


def token_hash(token: str) -> bytes:
    """SHA-256: 32 bytes, all that is kept of a token. Its 256 random bits need neither salt nor stretching."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def bearer_token(header: str | None) -> str:
    """The token of an `authorization` header. Raises Refusal."""
    scheme, _, token = (header or "").strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Refusal(Kind.TOKEN_MISSING, "no service token: send it as the metadata `authorization: Bearer TOKEN`")
    if len(token) > _MAX_TOKEN_LENGTH:
        raise Refusal(Kind.TOKEN_UNKNOWN, "the service token is malformed")
    return token


def permit(who: Caller, method: str) -> None:
    """Raises Refusal when the caller may not call `method`, such as `/tollhouse.v1.UsageService/GetUsage`."""
    if who.scope == INTERNAL or (who.scope == USAGE and method.startswith(_USAGE_METHODS)):
        return
    raise Refusal(Kind.TOKEN_SCOPE, f"the service token has not the scope for {method}")


Find = Callable[[bytes], Awaitable[Caller | None]]
"""The caller whose token has this hash, from where tokens are kept; None when there is none that is good."""


class Callers:
    """Callers by their token: the deployment's own internal tokens, and those that `find` knows. What was found is
    remembered for `ttl_s`, unknown tokens too; at most `limit` of them."""

    def __init__(self, internal: Sequence[Secret], find: Find, ttl_s: float, limit: int) -> None:
        self._internal_hashes = [token_hash(token.reveal()) for token in internal]
        self._find = find
        self._ttl_s = ttl_s
        self._limit = limit
        self._known: dict[bytes, tuple[Caller | None, float]] = {}
        self._generation = 0

    async def guard(self, method: str, context: Any) -> None:
        """Lets a call pass whose caller may make it, and keeps who that is in `caller`. Raises Refusal."""
        who = await self.identify(dict(context.invocation_metadata() or ()))
        permit(who, method)
        caller.set(who)

    async def identify(self, metadata: dict[str, Any]) -> Caller:
        """Who brings this metadata. Raises Refusal."""
        hashed = token_hash(bearer_token(metadata.get("authorization")))
        if any(hmac.compare_digest(hashed, internal) for internal in self._internal_hashes):
            return _INTERNAL
        known, until_s = self._known.get(hashed, (None, 0.0))
        if until_s <= clock.monotonic_s():
            known = await self._look_up(hashed)
        if known is None:
            raise Refusal(Kind.TOKEN_UNKNOWN, "the service token is not known, expired or was revoked")
        return known

    def forget(self, hashed: bytes) -> None:
        """Asks for this token anew when it comes next."""
        self._generation += 1
        self._known.pop(hashed, None)

    async def _look_up(self, hashed: bytes) -> Caller | None:
        generation = self._generation
        found = await self._find(hashed)
        if generation == self._generation:  # else what was found may be older than a revocation
            self._known.pop(hashed, None)
            if len(self._known) >= self._limit:
                del self._known[next(iter(self._known))]  # the oldest
            self._known[hashed] = found, clock.monotonic_s() + self._ttl_s
        return found


_INTERNAL: Final = Caller("internal", INTERNAL, "")
