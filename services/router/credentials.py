"""Upstream credentials at rest: sealed under the master key, bound to their upstream account."""

import base64
import binascii

from services.shared import sealing
from services.shared.sealing import Unsealable

__all__ = ["Sealer", "Unsealable"]


class Sealer(sealing.Sealer):
    """Seals and opens credentials. `master_key` is base64 of 32 bytes; raises ValueError otherwise."""

    def __init__(self, master_key: str) -> None:
        try:
            super().__init__(base64.b64decode(master_key, validate=True))
        except (binascii.Error, ValueError):
            raise ValueError("the master key is not base64 of 32 bytes") from None
