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
    """Seals and opens secrets. Raises ValueError unless `key` has 32 bytes."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key has not {KEY_BYTES} bytes")
        self._aead = AESGCM(key)

    def seal(self, secret: str, owner_id: str) -> bytes:
        """version, nonce, ciphertext with its tag."""
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._aead.encrypt(nonce, secret.encode(), owner_id.encode())

    def open(self, sealed: bytes, owner_id: str) -> str:
        """The secret. Raises Unsealable."""
        if sealed[:1] != _VERSION:
            raise Unsealable("sealed in a form of another version")
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return self._aead.decrypt(nonce, ciphertext, owner_id.encode()).decode()
        except (InvalidTag, ValueError):  # ValueError: cut short
            raise Unsealable("sealed under another key or for another owner") from None
