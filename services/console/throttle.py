"""How often attempts may be made. Counted in Postgres, so that all replicas count together."""

from services.console.settings import ConsoleSettings
from services.console.store import Store


class Throttled(Exception):
    """Too many attempts; `wait_s` says when the next one fits."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"too many attempts; the next one fits in {wait_s:.0f} s")
        self.wait_s = wait_s


class Throttle:
    """Attempts to sign in and to register."""

    def __init__(self, store: Store, settings: ConsoleSettings) -> None:
        self._store = store
        self._settings = settings

    async def sign_in(self, email: str, address: str) -> None:
        """Counts an attempt before its password is looked at: many at once are counted too. Raises Throttled."""
        await self._take(f"sign-in address {address}", self._settings.sign_ins_per_address)
        await self._take(_account(email), self._settings.sign_ins_per_account)

    async def signed_in(self, email: str) -> None:
        """A good password clears the account: nobody is locked out by signing in often."""
        await self._store.forgive(_account(email))

    async def register(self, address: str) -> None:
        """Counts an attempt to register. Raises Throttled."""
        await self._take(f"register address {address}", self._settings.registrations_per_address)

    async def code(self, person_id: str) -> None:
        """Counts an attempt to show a one-time code. Raises Throttled."""
        await self._take(_code(person_id), self._settings.sign_ins_per_account)

    async def code_was_good(self, person_id: str) -> None:
        """A good code clears the count."""
        await self._store.forgive(_code(person_id))

    async def _take(self, bucket: str, most: int) -> None:
        wait_s = await self._store.take(bucket, most, self._settings.sign_in_window_s)
        if wait_s:
            raise Throttled(wait_s)


def _code(person_id: str) -> str:
    return f"code {person_id}"


def _account(email: str) -> str:
    return f"sign-in account {email}"
