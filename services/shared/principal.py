"""Client keys: their form, and the keyed hash that stands for them everywhere but in the client's request."""

import hashlib
import hmac
import secrets
import string
from collections.abc import Iterable, Sequence
from typing import Final

KEY_PREFIX: Final = "sk-th-"
"""What new keys of no brand start with."""

KNOWN_PREFIXES: Final = (KEY_PREFIX, "sk-")
"""What may stand before a key's body, or nothing, whichever brands there are; longest first."""

MASK: Final = "{prefix}...{last4}"
"""How lists show keys of no brand."""

_BODY_ALPHABET: Final = string.ascii_letters + string.digits
_BODY_LENGTH: Final = 43  # 256 bits
MAX_KEY_LENGTH: Final = 256
_PEPPER: Final = b"the id of a pepper of client keys"


def longest_first(prefixes: Iterable[str]) -> tuple[str, ...]:
    """These prefixes and the known ones in the order in which they are tried: one may begin another."""
    return tuple(sorted({*KNOWN_PREFIXES, *prefixes}, key=lambda prefix: (-len(prefix), prefix)))


def new_key(prefix: str = KEY_PREFIX) -> str:
    """A new client key. There is no hyphen or underscore in its body, because prefixes end with one."""
    return prefix + "".join(secrets.choice(_BODY_ALPHABET) for _ in range(_BODY_LENGTH))


def body_of(key: str, prefixes: Sequence[str] = KNOWN_PREFIXES) -> str:
    """The key without the first of `prefixes` that it starts with; `longest_first` has their order."""
    for prefix in prefixes:
        if key.startswith(prefix):
            return key[len(prefix) :]
    return key


def key_hash(key: str, pepper: bytes, prefixes: Sequence[str] = KNOWN_PREFIXES) -> bytes:
    """HMAC-SHA-256 of the key's body: 32 bytes. All that is ever sent of a key, and all that is stored of one whose
    brand does not reveal it."""
    return hmac.digest(pepper, body_of(key, prefixes).encode("utf-8", "surrogateescape"), hashlib.sha256)


def pepper_id(pepper: bytes) -> bytes:
    """8 bytes that tell a pepper from others, and nothing of it."""
    return hmac.digest(pepper, _PEPPER, hashlib.sha256)[:8]


def hint(key: str, prefix: str = KEY_PREFIX, mask: str = MASK) -> str:
    """Enough of a key to recognise it by: `mask` with its {prefix}, {first4} and {last4} filled in."""
    shown = prefix if key.startswith(prefix) else ""
    for place, text in (("{prefix}", shown), ("{first4}", key[:4]), ("{last4}", key[-4:])):
        mask = mask.replace(place, text)
    return mask
