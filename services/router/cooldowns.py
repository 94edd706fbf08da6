"""The health of every upstream account, for each family of models, shared with the other replicas of the router."""

from collections import Counter
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

from nats.aio.client import Client

from services.router.cooldown_bucket import CooldownBucket, Key
from services.router.health import FOREVER_MS, NO_CAUSE, Cause, Health, Shared, Verdict
from services.shared import clock
from services.shared.metrics import Tally
from services.shared.telemetry import logger
from tollhouse.v1 import router_pb2

_FAMILIES_MAX: Final = 64
_PPM: Final = 1_000_000
_LEFT_KNOWN_MS: Final = 60_000

_STATES: Final = {
    Verdict.READY: router_pb2.AccountHealth.STATE_READY,
    Verdict.UNPROVEN: router_pb2.AccountHealth.STATE_UNPROVEN,
    Verdict.PROBE_DUE: router_pb2.AccountHealth.STATE_PROBING,
    Verdict.PROBING: router_pb2.AccountHealth.STATE_PROBING,
    Verdict.COOLING: router_pb2.AccountHealth.STATE_COOLING,
}

_log = logger("cooldowns")


class _Left(NamedTuple):
    """What is left of an upstream's own limits, as it said last."""

    family: str
    share: float
    until_ms: int


class Cooldowns:
    """Whether upstream accounts may be picked. All times are Unix milliseconds.

    Args:
        nc: where cooldowns are shared; may be away.
        random: from 0 to below 1; spreads the ends of cooldowns.
        replicas: servers of NATS that keep them.
    """

    def __init__(self, nc: Client, random: Callable[[], float], replicas: int = 1) -> None:
        self._random = random
        self._accounts: dict[str, dict[str, Health]] = {}
        self._left: dict[str, _Left] = {}
        self._missing: set[str] = set()
        self.begun = Tally()
        """Cooldowns that began or became longer here, by cause."""
        self._bucket = CooldownBucket(nc, self._current, self._received, self._received_all, replicas)

    def verdict(self, account_id: str, family: str, now_ms: int) -> Verdict:
        """Whether it may be picked now."""
        health = self._found(account_id, family)
        return health.verdict(now_ms) if health is not None else Verdict.UNPROVEN

    def until_ms(self, account_id: str, family: str) -> int:
        """When its cooldown ends or ended; 0 when it has none, or one that time does not end."""
        health = self._found(account_id, family)
        if health is None or health.cooldown is None or health.cooldown.until_ms == FOREVER_MS:
            return 0
        return health.cooldown.until_ms

    def cause(self, account_id: str, family: str) -> Cause:
        """Why it cools, or cooled last while it is to be probed."""
        health = self._found(account_id, family)
        return health.cooldown.cause if health is not None and health.cooldown is not None else NO_CAUSE

    def left(self, account_id: str, now_ms: int) -> float:
        """The share of the upstream's own limits that is left, 0 to 1; 1 when unknown, or when they are full again."""
        left = self._left.get(account_id)
        return left.share if left is not None and now_ms < left.until_ms <= now_ms + _LEFT_KNOWN_MS else 1.0

    def began(self, account_id: str, family: str, lease_id: str, now_ms: int) -> None:
        """An attempt goes: where a probe is due, it is that."""
        self._health(account_id, family).began(lease_id, now_ms)

    def ended(
        self,
        account_id: str,
        family: str,
        lease_id: str,
        report: router_pb2.ReportItem,
        now_ms: int,
        others_healthy: Callable[[], bool],
    ) -> None:
        """An attempt ended. `others_healthy` tells whether another account could take such a request."""
        health = self._health(account_id, family)
        changed = health.ended(lease_id, report.outcome, report.retry_after_ms, now_ms, self._random, others_healthy)
        if report.HasField("left_ppm"):
            self._note_left(account_id, family, report, now_ms)
            if not report.left_ppm and report.outcome == router_pb2.OUTCOME_OK:
                changed = health.drained(report.left_reset_ms, now_ms) or changed
        if changed:
            self._changed(account_id, family, health)

    def clear(self, account_id: str, family: str = "") -> None:
        """Ends its cooldown for a family; for every one when that is empty."""
        for name, health in self._accounts.get(account_id, {}).items():
            if family in ("", name) and health.clear(clock.now_ms()):
                self._changed(account_id, name, health)

    def forget_refusals(self, account_id: str) -> None:
        """Its credential changed."""
        for family, health in self._accounts.get(account_id, {}).items():
            if health.credential_changed(clock.now_ms()):
                self._changed(account_id, family, health)

    def forget(self, account_ids: Collection[str]) -> None:
        """Drops what is known of accounts that are not among these, the ones that exist. To be called at each load of
        the catalogue: only what was not there twice in a row is dropped, for another replica may have loaded a new one
        earlier."""
        missing = {account_id for account_id in self._accounts if account_id not in account_ids}
        for account_id in missing & self._missing:
            self._left.pop(account_id, None)
            for family in self._accounts.pop(account_id):
                self._bucket.changed((account_id, family))
        self._missing = missing & self._accounts.keys()

    def shown(self, account_id: str, now_ms: int) -> list[router_pb2.AccountHealth]:
        """How it is for each family that is known of, by family."""
        families = self._accounts.get(account_id, {})
        return [_shown(family, health, now_ms) for family, health in sorted(families.items())]

    def cooling(self) -> list[str]:
        """The ids of the accounts that cool, or wait for a probe, for some family."""
        return [
            account_id
            for account_id, families in self._accounts.items()
            if any(health.cooldown is not None for health in families.values())
        ]

    @property
    def count(self) -> int:
        """How many accounts `cooling` names."""
        return len(self.cooling())

    def by_cause(self) -> Counter[Cause]:
        """How many cooldowns stand, by their cause."""
        every = (health.cooldown for families in self._accounts.values() for health in families.values())
        return Counter(cooldown.cause for cooldown in every if cooldown is not None)

    async def run(self) -> None:
        """Shares cooldowns until cancelled. While NATS is away everything goes on from memory, and is written after."""
        await self._bucket.run()

    def _found(self, account_id: str, family: str) -> Health | None:
        families = self._accounts.get(account_id)
        return families.get(family) if families is not None else None

    def _health(self, account_id: str, family: str) -> Health:
        families = self._accounts.setdefault(account_id, {})
        health = families.get(family)
        if health is None:
            if len(families) >= _FAMILIES_MAX:
                idle = next((name for name, known in families.items() if known.cooldown is None), None)
                if idle is not None:  # what cools is few, for no more families than an account serves ever cool
                    del families[idle]
            health = families[family] = Health()
        return health

    def _note_left(self, account_id: str, family: str, report: router_pb2.ReportItem, now_ms: int) -> None:
        """The tightest limit counts: another family's replaces it only when it is tighter, or what was said is over."""
        share = min(report.left_ppm / _PPM, 1.0)
        said = self._left.get(account_id)
        if said is None or said.family == family or share <= self.left(account_id, now_ms):
            known_ms = min(report.left_reset_ms or _LEFT_KNOWN_MS, _LEFT_KNOWN_MS)
            self._left[account_id] = _Left(family, share, now_ms + known_ms)

    def _changed(self, account_id: str, family: str, health: Health) -> None:
        _log_change(account_id, family, health)
        if health.cooldown is not None:
            self.begun[router_pb2.Cause.Name(health.cooldown.cause).removeprefix("CAUSE_").lower(),] += 1
        self._bucket.changed((account_id, family))

    def _current(self, key: Key) -> Shared | None:
        health = self._found(*key)
        return health.shared() if health is not None else None

    def _received(self, key: Key, shared: Shared) -> None:
        account_id, family = key
        health = self._found(account_id, family)
        if health is None and shared.cooldown is None:
            return
        health = health or self._health(account_id, family)
        health.merge(shared)
        if health.shared() != shared and (health.cooldown is not None or shared.cooldown is not None):
            self._bucket.changed(key)  # what was written is less than what is known here

    def _received_all(self, there: set[Key]) -> None:
        """Writes what should be there and is not: it could not be written, or NATS lost it."""
        for account_id, families in self._accounts.items():
            for family, health in families.items():
                if health.cooldown is not None and (account_id, family) not in there:
                    self._bucket.changed((account_id, family))


def _log_change(account_id: str, family: str, health: Health) -> None:
    if health.cooldown is None:
        _log.info("cooldown_ended", upstream_account=account_id, family=family)
        return
    until_ms, _, _, cause, streak = health.cooldown
    _log.info(
        "cooldown_began",
        upstream_account=account_id,
        family=family,
        cause=router_pb2.Cause.Name(cause),
        until_ms=0 if until_ms == FOREVER_MS else until_ms,
        streak=streak,
    )


def _shown(family: str, health: Health, now_ms: int) -> router_pb2.AccountHealth:
    if health.cooldown is None:
        known = router_pb2.AccountHealth.STATE_READY if health.known else router_pb2.AccountHealth.STATE_UNPROVEN
        return router_pb2.AccountHealth(family=family, state=known, streak=health.streak)
    until_ms, _, since_ms, cause, streak = health.cooldown
    return router_pb2.AccountHealth(
        family=family,
        state=_STATES[health.verdict(now_ms)],
        cause=cause,
        until_ms=0 if until_ms == FOREVER_MS else until_ms,
        since_ms=since_ms,
        streak=max(streak, health.streak),
    )
