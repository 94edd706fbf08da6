"""Sessions: the secret in the cookie, its hash in the database, and the token that forms repeat. Pure.

The secret is 256 random bits. Before somebody signs in it stands for nobody and only binds forms to their browser;
signing in always makes a new one, so that one that was planted before is worth nothing (session fixation, see
https://cheatsheetseries.owasp.org/cheatsheets/Session_Management_Cheat_Sheet.html).
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

SECRET_BYTES: Final = 32
USER_AGENT_MOST: Final = 300
"""Characters of a user agent that are kept."""
_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_CSRF: Final = b"tollhouse csrf 1"


@dataclass(frozen=True, slots=True)
class Session:
    """A session as lists show it."""

    session_id: str
    created_at: datetime
    seen_at: datetime
    address: str
    user_agent: str


def secret_of(random: bytes) -> str:
    """What the cookie holds, made of SECRET_BYTES random bytes."""
    if len(random) != SECRET_BYTES:
        raise ValueError(f"a session's secret is made of {SECRET_BYTES} bytes")
    return base64.urlsafe_b64encode(random).rstrip(b"=").decode()


def well_formed(secret: str) -> bool:
    """Whether we may have made this secret."""
    return _SECRET.fullmatch(secret) is not None


def secret_hash(secret: str) -> bytes:
    """What is stored of a secret. It has 256 random bits, so nothing slower than SHA-256 is needed."""
    return hashlib.sha256(secret.encode()).digest()


def csrf_token(secret: str) -> str:
    """What forms of this session repeat. Tells nothing about the secret, and cannot be made without it (the signed
    double-submit of https://cheatsheetseries.owasp.org/cheatsheets/Cross-Site_Request_Forgery_Prevention_Cheat_Sheet.html,
    signed with the session's own secret)."""
    return hmac.new(secret.encode(), _CSRF, hashlib.sha256).hexdigest()


def same_token(secret: str, token: str) -> bool:
    """Whether `token` is this session's, in constant time."""
    return hmac.compare_digest(csrf_token(secret).encode(), token.encode())
