"""Sealed copies of client keys, for brands that show keys again.

They are sealed under a key that is derived from the pepper, so that a deployment keeps no further secret: whoever has
the database alone reads no key, and whoever has the pepper alone has nothing to open. Losing the pepper loses every
client key anyway.
"""

from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from services.shared.sealing import KEY_BYTES, Sealer

_PURPOSE: Final = b"tollhouse: sealed copies of client keys, 1"
"""Keeps what is derived apart from what the pepper itself keys (RFC 5869 section 3.2)."""


def sealer_of(pepper: bytes, *others: bytes) -> Sealer:
    """What seals keys under the pepper, and opens those under it or another one, each bound to its key id."""
    return Sealer(*(HKDF(SHA256(), KEY_BYTES, salt=None, info=_PURPOSE).derive(each) for each in (pepper, *others)))
