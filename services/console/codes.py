"""One-time codes of people: turned on, asked for, turned off."""

import os
from typing import Final

from services.console import one_time_codes
from services.console.master_keys import MasterKeys
from services.console.people import WrongPassword
from services.console.store import CodeSecret, Person, Store
from services.console.throttle import Throttle
from services.shared import clock
from services.shared.sealing import Unsealable
from services.shared.telemetry import logger

_PAGE: Final = 500
_log = logger("codes")


class Codes:
    """The second factor of everybody who has one.

    Args:
        keys: what secrets are sealed under.
    """

    def __init__(self, store: Store, throttle: Throttle, keys: MasterKeys) -> None:
        self._store = store
        self._throttle = throttle
        self._keys = keys

    async def wanted_of(self, person: Person) -> bool:
        """Whether this person has to show a code."""
        return await self._store.has_codes(person.person_id)

    async def begin(self, person: Person) -> None:
        """Makes a new secret, which counts once a code of it was `shown` and codes were turned on."""
        secret = one_time_codes.secret_of(os.urandom(one_time_codes.SECRET_BYTES))
        await self._store.put_code_secret(person.person_id, self._keys.sealer.seal(secret, person.person_id))

    async def begun(self, person: Person) -> str | None:
        """The secret that waits to be confirmed, if there is one."""
        kept = await self._store.code_secret(person.person_id, confirmed=False)
        return self._opened(kept, person) if kept else None

    async def shown(self, person: Person, code: str) -> int:
        """The time step of a code of the secret that waits. Raises WrongPassword, Throttled."""
        await self._throttle.code(person.person_id)
        kept = await self._store.code_secret(person.person_id, confirmed=False)
        step = self._step(kept, person, code) if kept else None
        if step is None:
            raise WrongPassword
        return step

    async def turn_on(self, person: Person, step: int) -> list[str]:
        """Asks for codes later than this step from now on, and answers the recovery codes, this once. Raises
        WrongPassword when nothing waits to be turned on."""
        codes = one_time_codes.recovery_codes(os.urandom(one_time_codes.RECOVERY_CODES * one_time_codes.RECOVERY_BYTES))
        kept = await self._store.code_secret(person.person_id, confirmed=False)
        if kept is None:  # turned on by another tab meanwhile
            raise WrongPassword
        secret = self._opened(kept, person)
        hashes = [one_time_codes.recovery_hash(code, secret) for code in codes]
        if not await self._store.confirm_codes(person.person_id, kept, step, hashes):
            raise WrongPassword  # another secret waits by now
        return codes

    async def check(self, person: Person, code: str) -> None:
        """Accepts a code of the device, or a recovery code, once. Raises WrongPassword, Throttled."""
        await self._throttle.code(person.person_id)
        kept = await self._store.code_secret(person.person_id, confirmed=True)
        if kept is None or not await self._used(kept, person, code):
            raise WrongPassword
        await self._throttle.code_was_good(person.person_id)

    async def drop(self, person: Person) -> None:
        """Turns codes off."""
        await self._store.drop_codes(person.person_id)

    async def reseal(self) -> None:
        """Seals everything anew that is not under the first master key, while there is another one."""
        if not self._keys.are_changing:
            return
        resealed, unsealable, after = 0, 0, ""
        while page := await self._store.sealed_codes(after, _PAGE):
            for kept in page:
                try:
                    sealed = self._keys.sealer.resealed(kept.sealed, kept.person_id)
                except Unsealable:
                    unsealable += 1
                else:
                    resealed += sealed is not None and await self._store.reseal_codes(kept, sealed)
            after = page[-1].person_id
        _log.info("one_time_codes_resealed", resealed=resealed, unsealable=unsealable)

    async def _used(self, kept: CodeSecret, person: Person, code: str) -> bool:
        """Uses a code up; answers whether it was good."""
        step = self._step(kept, person, code)
        if step is not None:
            return await self._store.use_code_step(person.person_id, step)
        # Those of before the device's secret was their key are under a master key.
        under_master_keys = self._keys.digests(one_time_codes.plain(code))
        own = one_time_codes.recovery_hash(code, self._opened(kept, person))
        return await self._store.use_recovery_code(person.person_id, [own, *under_master_keys])

    def _step(self, kept: CodeSecret, person: Person, code: str) -> int | None:
        return one_time_codes.matching_step(self._opened(kept, person), code, clock.now_ms(), kept.last_step)

    def _opened(self, kept: CodeSecret, person: Person) -> str:
        return self._keys.sealer.open(kept.sealed, person.person_id)
