"""How one upstream account is for one family of models: ready, cooling, or to be probed. Pure; times are Unix
milliseconds, and randomness is passed in (invariant I7).

What replicas share of it is a Cooldown and the moment up to which cooldowns are over. Two of these merge into one,
whichever comes first and however often, so replicas agree without asking each other.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from tollhouse.v1 import router_pb2

Cause: TypeAlias = router_pb2.Cause.ValueType
Outcome: TypeAlias = router_pb2.Outcome.ValueType

NO_CAUSE: Final = router_pb2.CAUSE_UNSPECIFIED

FOREVER_MS: Final = 1 << 62
"""The end of a cooldown that time does not end."""
LONGEST_MS: Final = 3_600_000
"""No cooldown with an end is longer. One that seems to be was written by a clock that has gone back since."""
PROBE_MS: Final = 300_000
"""A probe that has not come back by then is given up, and another may go."""

_BASE_MS: Final = 5_000
_DOUBLED_MAX_MS: Final = 300_000
_HINT_MIN_MS: Final = 1_000
_THROTTLED_MAX_MS: Final = 1_800_000
_OVERLOADED_MIN_MS: Final = 10_000
_OVERLOADED_SPREAD_MS: Final = 20_000
_CREDIT_BASE_MS: Final = 600_000
_DRAINED_MAX_MS: Final = 60_000

_UNKNOWN_RATIO: Final = 0.5
_BENCH_ABOVE: Final = 0.5
_FORGIVEN_BELOW: Final = 0.1
_WEIGHT: Final = 0.3
_UNDER_WAY_MAX: Final = 4096

_ANSWERED: Final = (router_pb2.OUTCOME_OK, router_pb2.OUTCOME_CLIENT_FAULT)
_FAILED: Final = (router_pb2.OUTCOME_UPSTREAM_FAULT, router_pb2.OUTCOME_CUT)


class Verdict(enum.Enum):
    """Whether an account may be picked."""

    READY = enum.auto()
    """It answers."""
    UNPROVEN = enum.auto()
    """Nothing is known, and nobody is trying it."""
    PROBE_DUE = enum.auto()
    """Its cooldown is over: one attempt may go."""
    PROBING = enum.auto()
    """That one, or the first of all, is under way."""
    COOLING = enum.auto()
    """It is not to be picked."""


class Cooldown(NamedTuple):
    """An upstream account is not picked for a while. The greater of two is the one that ends later."""

    until_ms: int
    """FOREVER_MS where only an operator or another credential ends it."""
    stamp_ms: int
    """When it was last begun or made longer."""
    since_ms: int
    """When it began."""
    cause: Cause
    streak: int
    """Which one it is in a row, from 1; those for which no fault is found do not count."""


class Shared(NamedTuple):
    """What replicas tell each other of a Health."""

    cooldown: Cooldown | None
    ended_ms: int
    """Cooldowns that were stamped by then are over."""


@dataclass(slots=True)
class Health:
    """The health of one upstream account for one family of models.

    Every cooldown that begins or becomes longer, and whatever makes it forget, begins an era. An attempt tells of the
    era in which it began: ten that hang bench an account once, however late the last of them comes back. Only what
    an upstream says of itself (throttled, refused, out of credit) counts later too, unless it was forgotten since.
    """

    known: bool = False
    """Whether it ever answered or failed since it was cleared."""
    cooldown: Cooldown | None = None
    """Stands until an attempt succeeds, even when its time is over."""
    ended_ms: int = 0
    streak: int = 0
    ratio: float = _UNKNOWN_RATIO
    """How many of its attempts fail, the latest weighing most."""
    _era: int = 0
    _forgot: int = 0
    """The era that began when it last forgot."""
    _under_way: dict[str, int] = field(default_factory=dict)
    """The era in which each attempt began. The oldest is forgotten where there are too many: then it tells nothing."""
    _probe: str = ""
    """The lease of the latest attempt of this era; empty when it ended."""
    _probe_ms: int = 0

    def verdict(self, now_ms: int) -> Verdict:
        """Whether it may be picked."""
        if self.cooldown is None:
            if self.known:
                return Verdict.READY
            return Verdict.PROBING if self._trying(now_ms) else Verdict.UNPROVEN
        if self._cooling(self.cooldown.until_ms, now_ms):
            return Verdict.COOLING
        return Verdict.PROBING if self._trying(now_ms) else Verdict.PROBE_DUE

    def began(self, lease_id: str, now_ms: int) -> None:
        """An attempt goes."""
        if len(self._under_way) >= _UNDER_WAY_MAX:
            del self._under_way[next(iter(self._under_way))]
        self._under_way[lease_id] = self._era
        self._probe, self._probe_ms = lease_id, now_ms

    def ended(
        self,
        lease_id: str,
        outcome: Outcome,
        retry_after_ms: int,
        now_ms: int,
        random: Callable[[], float],
        others_healthy: Callable[[], bool],
    ) -> bool:
        """An attempt ended so. True when that begins, lengthens or ends a cooldown.

        Args:
            retry_after_ms: what the upstream asked for, from now; 0 for nothing.
            random: from 0 to below 1.
            others_healthy: whether another account could take the request; asked only where it matters.
        """
        era = self._under_way.pop(lease_id, -1)
        if self._probe == lease_id:
            self._probe = ""
        if era < self._forgot:
            return False
        fresh = era == self._era
        if outcome in _ANSWERED:
            return fresh and self._answered(now_ms)
        if outcome == router_pb2.OUTCOME_FORBIDDEN:
            # Of an account that answers others it may be this request that nobody may make.
            proven = self.known and self.cooldown is None and self.ratio < _UNKNOWN_RATIO
            outcome = router_pb2.OUTCOME_UPSTREAM_FAULT if proven else router_pb2.OUTCOME_REFUSED
        if outcome in _FAILED:
            return fresh and self._failed(now_ms)
        if outcome == router_pb2.OUTCOME_THROTTLED:
            return self._throttled(retry_after_ms, now_ms, fresh)
        if outcome == router_pb2.OUTCOME_OUT_OF_CREDIT:
            return self._out_of_credit(retry_after_ms, now_ms, fresh)
        if outcome == router_pb2.OUTCOME_OVERLOADED and fresh and others_healthy():
            wait_ms = _OVERLOADED_MIN_MS + int(random() * _OVERLOADED_SPREAD_MS)
            return self._cool(router_pb2.CAUSE_OVERLOADED, now_ms + wait_ms, now_ms)
        if outcome == router_pb2.OUTCOME_REFUSED:
            return self._cool(router_pb2.CAUSE_REFUSED, FOREVER_MS, now_ms)
        return False

    def drained(self, reset_ms: int, now_ms: int) -> bool:
        """Nothing is left of the upstream's own limits until they are full again, milliseconds from now, 0 for unknown:
        as good as throttled, and no fault. True when that begins or lengthens a cooldown."""
        if not self.known:
            return False
        wait_ms = min(max(reset_ms or _BASE_MS, _HINT_MIN_MS), _DRAINED_MAX_MS)
        return self._cool(router_pb2.CAUSE_THROTTLED, now_ms + wait_ms, now_ms)

    def clear(self, now_ms: int) -> bool:
        """An operator ends the cooldown: nothing is known any more. True when there was one."""
        if self.cooldown is None:
            return False
        self._end(now_ms)
        self.forget()
        return True

    def credential_changed(self, now_ms: int) -> bool:
        """It has another credential: what is under way with the old one tells nothing. True when a cooldown ends."""
        if self.cooldown is not None and self.cooldown.cause == router_pb2.CAUSE_REFUSED:
            return self.clear(now_ms)
        self.forget()
        return False

    def forget(self) -> None:
        """Forgets how it answered until now; a cooldown stays."""
        self.known, self.ratio, self.streak = False, _UNKNOWN_RATIO, 0
        self._begin_era()
        self._forgot = self._era

    def shared(self) -> Shared:
        """What other replicas should know."""
        return Shared(self.cooldown, self.ended_ms)

    def merge(self, other: Shared) -> None:
        """Learns what another replica knows. The order does not matter, and repeating does no harm."""
        self.ended_ms = max(self.ended_ms, other.ended_ms)
        standing = [one for one in (self.cooldown, other.cooldown) if one and one.stamp_ms > self.ended_ms]
        merged = max(standing, default=None)
        if merged == self.cooldown:
            return
        self.cooldown = merged
        if merged is None:
            self.forget()
        else:
            self.streak = max(self.streak, merged.streak)
            self._begin_era()

    def _trying(self, now_ms: int) -> bool:
        return bool(self._probe) and abs(now_ms - self._probe_ms) < PROBE_MS

    @staticmethod
    def _cooling(until_ms: int, now_ms: int) -> bool:
        return until_ms == FOREVER_MS or now_ms < until_ms <= now_ms + LONGEST_MS

    def _answered(self, now_ms: int) -> bool:
        cause = self.cooldown.cause if self.cooldown else NO_CAUSE
        if cause == router_pb2.CAUSE_REFUSED:
            return False
        if cause not in (NO_CAUSE, router_pb2.CAUSE_OVERLOADED):
            self.ratio = _UNKNOWN_RATIO
        self.ratio -= _WEIGHT * self.ratio
        if self.ratio < _FORGIVEN_BELOW:
            self.streak = 0
        self.known = True
        if self.cooldown is None:
            return False
        self._end(now_ms)
        return True

    def _failed(self, now_ms: int) -> bool:
        self.ratio += _WEIGHT * (1 - self.ratio)
        if self.cooldown is None and self.ratio <= _BENCH_ABOVE:
            return False
        return self._cool_doubled(router_pb2.CAUSE_FAILING, _BASE_MS, _DOUBLED_MAX_MS, now_ms)

    def _throttled(self, retry_after_ms: int, now_ms: int, fresh: bool) -> bool:
        if retry_after_ms:
            wait_ms = min(max(retry_after_ms, _HINT_MIN_MS), _THROTTLED_MAX_MS)
            return self._cool_as_told(router_pb2.CAUSE_THROTTLED, wait_ms, now_ms, fresh)
        return fresh and self._cool_doubled(router_pb2.CAUSE_THROTTLED, _BASE_MS, _DOUBLED_MAX_MS, now_ms)

    def _out_of_credit(self, retry_after_ms: int, now_ms: int, fresh: bool) -> bool:
        if retry_after_ms:
            wait_ms = min(max(retry_after_ms, _HINT_MIN_MS), LONGEST_MS)
            return self._cool_as_told(router_pb2.CAUSE_OUT_OF_CREDIT, wait_ms, now_ms, fresh)
        return fresh and self._cool_doubled(router_pb2.CAUSE_OUT_OF_CREDIT, _CREDIT_BASE_MS, LONGEST_MS, now_ms)

    def _cool_as_told(self, cause: Cause, wait_ms: int, now_ms: int, fresh: bool) -> bool:
        """For as long as the upstream said; counts as one more in a row only where the attempt is of this era."""
        self.streak += fresh
        return self._cool(cause, now_ms + wait_ms, now_ms)

    def _cool_doubled(self, cause: Cause, base_ms: int, max_ms: int, now_ms: int) -> bool:
        wait_ms = min(base_ms << min(self.streak, 16), max_ms)
        self.streak += 1
        return self._cool(cause, now_ms + wait_ms, now_ms)

    def _cool(self, cause: Cause, until_ms: int, now_ms: int) -> bool:
        """Begins a cooldown or makes it longer; never shorter."""
        self.known = True
        stamp_ms = since_ms = max(now_ms, self.ended_ms + 1)
        if self.cooldown is not None and self._cooling(self.cooldown.until_ms, now_ms):
            if until_ms <= self.cooldown.until_ms:
                return False
            since_ms = self.cooldown.since_ms
        self.cooldown = Cooldown(until_ms, stamp_ms, since_ms, cause, self.streak)
        self._begin_era()
        return True

    def _end(self, now_ms: int) -> None:
        assert self.cooldown is not None
        self.ended_ms = max(now_ms, self.ended_ms, self.cooldown.stamp_ms)
        self.cooldown = None

    def _begin_era(self) -> None:
        self._era += 1
        self._probe = ""
