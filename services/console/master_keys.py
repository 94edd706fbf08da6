"""The console's master key, and further ones while it is changed."""

import base64
import hashlib
import hmac
from collections.abc import Sequence

from services.console.settings import ConsoleSettings
from services.shared.sealing import Sealer


class MasterKeys:
    """What the console keeps secrets by. The first key makes what is new, each of them reads what is there.

    Args:
        keys: each base64 of 32 bytes; raises ValueError otherwise.
    """

    def __init__(self, *keys: str) -> None:
        self._keys = [base64.b64decode(key, validate=True) for key in keys]
        self.sealer = Sealer(*self._keys)

    @classmethod
    def of(cls, settings: ConsoleSettings) -> "MasterKeys":
        """Those of the settings."""
        others = settings.other_master_keys.each() if settings.other_master_keys else []
        return cls(*(key.reveal() for key in (settings.master_key, *others)))

    @property
    def are_changing(self) -> bool:
        """Whether something may be under another key than the first."""
        return len(self._keys) > 1

    def digests(self, message: bytes) -> Sequence[bytes]:
        """The keyed hash of a message under each key; the first is what is kept of it."""
        return [hmac.digest(key, message, hashlib.sha256) for key in self._keys]
