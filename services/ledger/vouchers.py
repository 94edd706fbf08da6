"""Voucher codes: 125 random bits in Crockford's base 32, in groups that people can read out. Pure but for randomness.

https://www.crockford.com/base32.html: no I, L, O or U; what is typed for them is read as 1, 1 and 0.
"""

import hashlib
import secrets
from typing import Final

PREFIX: Final = "TH"
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH: Final = 25
_GROUP: Final = 5
_READ_AS: Final = str.maketrans("ILO", "110", " -\t\n")


def new_code() -> str:
    """A new code, such as TH-4F2K9-...: five groups of five characters."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
    return "-".join((PREFIX, *(body[at : at + _GROUP] for at in range(0, _LENGTH, _GROUP))))


def code_hash(code: str) -> bytes | None:
    """SHA-256 of a code as it was typed, whatever its case, spaces and hyphens; None when it cannot be one."""
    body = code.upper().translate(_READ_AS).removeprefix(PREFIX)
    if len(body) != _LENGTH or any(char not in _ALPHABET for char in body):
        return None
    return hashlib.sha256(body.encode()).digest()
