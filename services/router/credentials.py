"""Upstream credentials at rest: sealed with AES-256-GCM under the master key, bound to their upstream account."""

import base64
import binascii
import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_VERSION: Final = b"\x01"
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32


class Unsealable(Exception):
    """A sealed credential that this master key does not open, or that belongs to another account."""


class Sealer:
    """Seals and opens credentials. `master_key` is base64 of 32 bytes; raises ValueError otherwise."""

    def __init__(self, master_key: str) -> None:
        try:
            key = base64.b64decode(master_key, validate=True)
        except binascii.Error:
            key = b""
        if len(key) != _KEY_BYTES:
            raise ValueError("the master key is not base64 of 32 bytes")
        self._aead = AESGCM(key)

    def seal(self, credential: str, account_id: str) -> bytes:
        """version, nonce, ciphertext with its tag."""
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._aead.encrypt(nonce, credential.encode(), account_id.encode())

    def open(self, sealed: bytes, account_id: str) -> str:
        """The credential. Raises Unsealable."""
        if sealed[:1] != _VERSION:
            raise Unsealable("sealed in a form of another version")
        nonce, ciphertext = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            return self._aead.decrypt(nonce, ciphertext, account_id.encode()).decode()
        except (InvalidTag, ValueError):  # ValueError: cut short
            raise Unsealable("sealed under another master key or for another account") from None
