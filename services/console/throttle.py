"""How often attempts may be made. Counted in Postgres, so that all replicas count together."""

from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

from services.console.settings import ConsoleSettings
from services.console.store import Store

_MINUTE_S: Final = 60


class Throttled(Exception):
    """Too many attempts; `wait_s` says when the next one fits."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many attempts; the next one fits in {wait_s:.0f} s")
        self.wait_s = wait_s


class Throttle:
    """Attempts to sign in and to register, and calls of the management API."""

    def __init__(self, store: Store, settings: ConsoleSettings) -> None:
        self._store = store
        self._settings = settings

    async def sign_in(self, email: str, address: str) -> None:
        """Counts an attempt before its password is looked at: many at once are counted too. Raises Throttled."""
        await self._take(f"sign-in address {place(address)}", self._settings.sign_ins_per_address)
        await self._take(_account(email), self._settings.sign_ins_per_account)

    async def signed_in(self, email: str) -> None:
        """A good password clears the account: nobody is locked out by signing in often."""
        await self._store.forgive(_account(email))

    async def register(self, address: str) -> None:
        """Counts an attempt to register. Raises Throttled."""
        await self._take(f"register address {place(address)}", self._settings.registrations_per_address)

    async def code(self, person_id: str) -> None:
        """Counts an attempt to show a one-time code. Raises Throttled."""
        await self._take(_code(person_id), self._settings.sign_ins_per_account)

    async def code_was_good(self, person_id: str) -> None:
        """A good code clears the count."""
        await self._store.forgive(_code(person_id))

    async def call(self, who: str) -> None:
        """Counts a call of the management API by this token or person. Raises Throttled."""
        await self._take(f"api {who}", self._settings.api_calls_per_minute, _MINUTE_S)

    async def bad_token(self, address: str) -> None:
        """Counts a call with an access token that is not good. Raises Throttled."""
        await self._take(f"token address {place(address)}", self._settings.sign_ins_per_address)

    async def _take(self, bucket: str, most: int, window_s: float = 0) -> None:
        wait_s = await self._store.take(bucket, most, window_s or self._settings.sign_in_window_s)
        if wait_s:
            raise Throttled(wait_s)


def place(address: str) -> str:
    """What attempts from an address are counted under: itself or, of IPv6, its /64, which is what one subscriber gets
    at least and may pick any address of (RFC 6177, 2)."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if isinstance(found, IPv6Address):
        mapped = found.ipv4_mapped
        return str(mapped or IPv6Network((int(found) >> 64 << 64, 64)))
    return str(found)


def _code(person_id: str) -> str:
    return f"code {person_id}"


def _account(email: str) -> str:
    return f"sign-in account {email}"
