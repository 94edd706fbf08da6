"""Upstream credentials at rest: sealed under the master key, bound to their upstream account."""

import base64
import binascii

from services.shared import sealing
from services.shared.sealing import Unsealable

__all__ = ["Sealer", "Unsealable"]


class Sealer(sealing.Sealer):
    """Seals credentials under the master key, and opens what is under it or another one. Each is base64 of 32 bytes;
    raises ValueError otherwise."""

    def __init__(self, master_key: str, *others: str) -> None:
        try:
            super().__init__(*(base64.b64decode(key, validate=True) for key in (master_key, *others)))
        except (binascii.Error, ValueError):
            raise ValueError("the master key is not base64 of 32 bytes") from None
