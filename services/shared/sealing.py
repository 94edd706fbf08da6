"""Secrets at rest: sealed with AES-256-GCM under a key of 32 bytes, bound to whose they are."""

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

KEY_BYTES: Final = 32
_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12


class Unsealable(Exception):
    """Something sealed that this key does not open, or that belongs to another owner."""


class Sealer:
    """Seals secrets under `key`, and opens what was sealed under it or one of `others`, so that keys can be changed
    while everything runs. Raises ValueError unless each has 32 bytes."""

    def __init__(self, key: bytes, *others: bytes) -> None:
        if any(len(each) != KEY_BYTES for each in (key, *others)):
            raise ValueError(f"the key has not {KEY_BYTES} bytes")
        self._aead = AESGCM(key)
        self._others = [AESGCM(other) for other in others]

    def seal(self, secret: str, owner_id: str) -> bytes:
        """version, nonce, ciphertext with its tag."""
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._aead.encrypt(nonce, secret.encode(), owner_id.encode())

    def open(self, sealed: bytes, owner_id: str) -> str:
        """The secret. Raises Unsealable."""
        return self._opened(sealed, owner_id)[0]

    def resealed(self, sealed: bytes, owner_id: str) -> bytes | None:
        """The same sealed anew, when it is under another key than the one that seals; else None. Raises Unsealable."""
        secret, aead = self._opened(sealed, owner_id)
        return None if aead is self._aead else self.seal(secret, owner_id)

    def _opened(self, sealed: bytes, owner_id: str) -> tuple[str, AESGCM]:
        if sealed[:1] != _VERSION:
            raise Unsealable("sealed in a form of another version")
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        for aead in (self._aead, *self._others):
            try:
                return aead.decrypt(nonce, ciphertext, owner_id.encode()).decode(), aead
            except (InvalidTag, ValueError):  # ValueError: cut short
                continue
        raise Unsealable("sealed under another key or for another owner")
