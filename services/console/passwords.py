"""Passwords: hashed with argon2id, in threads of their own, a few at a time."""

import asyncio
import secrets
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

SHORTEST: Final = 12
LONGEST: Final = 200
_AT_A_TIME: Final = 2
"""Each takes 64 MiB and four threads for tens of milliseconds: more at a time would only take the machine away."""


class Weak(Exception):
    """A password that is not good enough; its text says why."""


class Passwords:
    """Hashes and verifies. A verification without a hash takes as long as one with it, so that nobody learns from the
    time an answer takes whether an address is known."""

    def __init__(self) -> None:
        self._hasher = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._slots = asyncio.Semaphore(_AT_A_TIME)
        self._nobodys = self._hasher.hash(secrets.token_urlsafe())

    async def hash(self, password: str) -> str:
        """The hash to store, its salt and parameters included."""
        async with self._slots:
            return await asyncio.to_thread(self._hasher.hash, password)

    async def verify(self, stored: str, password: str) -> bool:
        """Whether it is the password. Who has none stored, or is nobody, has no password that is right; to find that
        out takes as long."""
        async with self._slots:
            good = await asyncio.to_thread(self._matches, stored or self._nobodys, password)
        return good and bool(stored)

    def outdated(self, stored: str) -> bool:
        """Whether a hash was made with other parameters than those of today."""
        return self._hasher.check_needs_rehash(stored)

    def _matches(self, stored: str, password: str) -> bool:
        try:
            return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False


def check(password: str, email: str) -> None:
    """Raises Weak unless a person may choose this password. Length counts, composition does not
    (NIST SP 800-63B, 3.1.1.2)."""
    if len(password) < SHORTEST:
        raise Weak(f"A password has at least {SHORTEST} characters.")
    if len(password) > LONGEST:
        raise Weak(f"A password has at most {LONGEST} characters.")
    if password.lower() in (email, email.partition("@")[0] * 2) or len(set(password)) < 4:
        raise Weak("That password is too easy to guess.")
