"""One-time codes of people: turned on, asked for, turned off."""

import base64
import os

from services.console import one_time_codes
from services.console.people import WrongPassword
from services.console.store import Person, Store
from services.console.throttle import Throttle
from services.shared import clock
from services.shared.sealing import Sealer


class Codes:
    """The second factor of everybody who has one.

    Args:
        master_key: base64 of the 32 bytes that secrets are sealed under.
    """

    def __init__(self, store: Store, throttle: Throttle, master_key: str) -> None:
        self._store = store
        self._throttle = throttle
        self._key = base64.b64decode(master_key)
        self._sealer = Sealer(self._key)

    async def wanted_of(self, person: Person) -> bool:
        """Whether this person has to show a code."""
        return await self._store.has_codes(person.person_id)

    async def begin(self, person: Person) -> None:
        """Makes a new secret, which counts once a code of it was `shown` and codes were turned on."""
        secret = one_time_codes.secret_of(os.urandom(one_time_codes.SECRET_BYTES))
        await self._store.put_code_secret(person.person_id, self._sealer.seal(secret, person.person_id))

    async def begun(self, person: Person) -> str | None:
        """The secret that waits to be confirmed, if there is one."""
        kept = await self._store.code_secret(person.person_id, confirmed=False)
        return self._sealer.open(kept.sealed, person.person_id) if kept else None

    async def shown(self, person: Person, code: str) -> int:
        """The time step of a code of the secret that waits. Raises WrongPassword, Throttled."""
        await self._throttle.code(person.person_id)
        step = await self._step(person, code, confirmed=False)
        if step is None:
            raise WrongPassword
        return step

    async def turn_on(self, person: Person, step: int) -> list[str]:
        """Asks for codes later than this step from now on, and answers the recovery codes, this once."""
        codes = one_time_codes.recovery_codes(os.urandom(one_time_codes.RECOVERY_CODES * one_time_codes.RECOVERY_BYTES))
        hashes = one_time_codes.recovery_hashes(codes, self._key)
        await self._store.confirm_codes(person.person_id, step, hashes)
        return codes

    async def check(self, person: Person, code: str) -> None:
        """Accepts a code of the device, or a recovery code, once. Raises WrongPassword, Throttled."""
        await self._throttle.code(person.person_id)
        step = await self._step(person, code, confirmed=True)
        if step is not None:
            good = await self._store.use_code_step(person.person_id, step)
        else:
            good = await self._store.use_recovery_code(person.person_id, one_time_codes.recovery_hash(code, self._key))
        if not good:
            raise WrongPassword
        await self._throttle.code_was_good(person.person_id)

    async def drop(self, person: Person) -> None:
        """Turns codes off."""
        await self._store.drop_codes(person.person_id)

    async def _step(self, person: Person, code: str, *, confirmed: bool) -> int | None:
        kept = await self._store.code_secret(person.person_id, confirmed=confirmed)
        if kept is None:
            return None
        secret = self._sealer.open(kept.sealed, person.person_id)
        return one_time_codes.matching_step(secret, code, clock.now_ms(), kept.last_step)
