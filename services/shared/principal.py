"""Client keys: their form, and the keyed hash that stands for them everywhere but in the client's request."""

import hashlib
import hmac
import secrets
import string
from typing import Final

KEY_PREFIX: Final = "sk-th-"
"""What new keys start with."""

KNOWN_PREFIXES: Final = (KEY_PREFIX, "cc_user_", "sk-rr-", "sk-cc-", "sk-")
"""Longest match first where one begins another: any of them may stand before a key's body, or none."""

_BODY_ALPHABET: Final = string.ascii_letters + string.digits
_BODY_LENGTH: Final = 43  # 256 bits
MAX_KEY_LENGTH: Final = 256


def new_key() -> str:
    """A new client key. There is no hyphen in its body, because prefixes have them."""
    return KEY_PREFIX + "".join(secrets.choice(_BODY_ALPHABET) for _ in range(_BODY_LENGTH))


def body_of(key: str) -> str:
    """The key without the longest known prefix that it starts with."""
    for prefix in KNOWN_PREFIXES:
        if key.startswith(prefix):
            return key[len(prefix) :]
    return key


def key_hash(key: str, pepper: bytes) -> bytes:
    """HMAC-SHA-256 of the key's body: 32 bytes. All that is ever stored or sent of a key."""
    return hmac.digest(pepper, body_of(key).encode("utf-8", "surrogateescape"), hashlib.sha256)


def hint(key: str) -> str:
    """Enough of a key to recognise it by: its prefix and last four characters."""
    return f"{key[: len(key) - len(body_of(key))]}...{key[-4:]}"
