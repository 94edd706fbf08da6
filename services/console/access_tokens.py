"""Access tokens of the management API: what they look like and what they may. Pure.

A token is `tha_` and 256 random bits. It acts for the person who made it, within its scopes, and never for longer than
that person may: one who is no operator any more has no operator's token.
"""

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

PREFIX: Final = "tha_"
SECRET_BYTES: Final = 32
NAME_MOST: Final = 50
"""Characters of a token's name."""
DAYS_MOST: Final = 366
PER_PERSON_MOST: Final = 50
"""Tokens that a person may have at a time, those that ended not counted."""
_SECRET: Final = re.compile(r"tha_[A-Za-z0-9_-]{43}")


class Scope(Enum):
    """One thing that a token may do, and whether only operators can grant it."""

    def __init__(self, label: str, for_operators: bool, meaning: str) -> None:
        self.label = label
        self.for_operators = for_operators
        self.meaning = meaning

    KEYS_READ = ("keys:read", False, "List keys, without their secrets")
    KEYS_WRITE = ("keys:write", False, "Make, change and delete keys")
    KEYS_REVEAL = ("keys:reveal", False, "Show a key's secret, where the brand keeps it")
    ACCOUNT_READ = ("account:read", False, "Read balance, usage, payments, sessions and who this is")
    ACCOUNT_WRITE = ("account:write", False, "Change password and one-time codes, end sessions, revoke access tokens")
    BILLING_WRITE = ("billing:write", False, "Redeem vouchers and begin payments")
    ADMIN_READ = ("admin:read", True, "Read everything that operators see")
    ADMIN_WRITE = ("admin:write", True, "Run the gateway: tenants, keys, money, accounts, prices")
    ADMIN_PEOPLE = ("admin:people", True, "Add people, and let them in or shut them out")


BY_LABEL: Final = {scope.label: scope for scope in Scope}


@dataclass(frozen=True, slots=True)
class AccessToken:
    """A token without its secret."""

    token_id: str
    person_id: str
    name: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    revoked_at: datetime | None

    def ended(self, now: datetime) -> bool:
        """Whether it is good for nothing any more."""
        return self.revoked_at is not None or self.expires_at <= now


def secret_of(random: bytes) -> str:
    """What the caller sends, made of SECRET_BYTES random bytes."""
    if len(random) != SECRET_BYTES:
        raise ValueError(f"a token is made of {SECRET_BYTES} bytes")
    return PREFIX + base64.urlsafe_b64encode(random).rstrip(b"=").decode()


def secret_hash(secret: str) -> bytes:
    """What is stored of a token. It has 256 random bits, so nothing slower than SHA-256 is needed."""
    return hashlib.sha256(secret.encode()).digest()


def bearer(header: str) -> str | None:
    """The token in an `Authorization` header; None unless we may have made it. A bare token is taken too: clients of
    such gateways send it either way."""
    scheme, _, rest = header.strip().partition(" ")
    said = rest.strip() if scheme.lower() == "bearer" else header.strip()
    return said if _SECRET.fullmatch(said) else None


def effective(scopes: Iterable[str], is_operator: bool) -> frozenset[Scope]:
    """What these labels grant to somebody who is an operator, or not; labels of another version grant nothing."""
    known = {BY_LABEL[label] for label in scopes if label in BY_LABEL}
    return frozenset(scope for scope in known if is_operator or not scope.for_operators)


def grantable(is_operator: bool) -> tuple[Scope, ...]:
    """What a person may grant, in the order in which it is shown."""
    return tuple(scope for scope in Scope if is_operator or not scope.for_operators)
