"""How much a minute: the generic cell rate algorithm. Pure; times are nanoseconds on the monotonic clock.

A bucket holds a minute's worth and empties evenly (the continuous-state leaky bucket of ITU-T I.371, annex A). What is
in it is counted in parts of a unit so small that a minute's worth flows off in whole parts each nanosecond: a limit of
60 admits 60 and not 59, and one of 700,000,000 not one more either.
"""

from dataclasses import dataclass
from typing import Final

MINUTE_NS: Final = 60_000_000_000
"""Also how many parts a unit has: of `amount` units a minute, `amount` parts flow off in a nanosecond."""


@dataclass(slots=True)
class Bucket:
    """`amount` a minute, at most all of it at once. The limit is passed in, so that it may change: where it is raised,
    what was taken stays; where it is lowered, the bucket is empty when it would have been."""

    parts: int = 0
    """What was in it at `at_ns`."""
    at_ns: int = 0
    rate: int = 1
    """Parts that flow off in a nanosecond since then."""

    def wait_ns(self, amount: int, cost: int, now_ns: int) -> int:
        """How long until `cost` fits; 0 when it fits now. More than a whole minute's worth fits once it is empty."""
        if amount <= 0:
            return MINUTE_NS
        self._flow(amount, now_ns)
        over = self.parts + (cost - amount) * MINUTE_NS if cost < amount else self.parts
        return -(-over // amount) if over > 0 else 0

    def take(self, amount: int, cost: int, now_ns: int) -> None:
        """Takes `cost`, whether or not it fits."""
        self._flow(amount, now_ns)
        self.parts += cost * MINUTE_NS

    def correct(self, amount: int, more: int) -> None:
        """What was taken was `more` than it should have been told; below 0, less. Counts as if it had been known when
        the bucket was last looked at."""
        self._turn_to(amount)
        self.parts = max(0, self.parts + more * MINUTE_NS)

    def give_back(self, amount: int, cost: int, taken_ns: int, now_ns: int) -> None:
        """Of a `cost` that was taken and not used, what has not flowed off since."""
        self._flow(amount, now_ns)
        unused = cost * MINUTE_NS - (now_ns - taken_ns) * max(1, amount)
        self.parts = max(0, self.parts - max(0, unused))

    def remaining(self, amount: int, now_ns: int) -> int:
        """How much fits now."""
        left = amount * MINUTE_NS - self._standing(now_ns)
        return left // MINUTE_NS if left > 0 else 0

    def reset_ns(self, now_ns: int) -> int:
        """How long until nothing is in it, and all of a minute's worth fits."""
        return -(-self._standing(now_ns) // self.rate)

    def _standing(self, now_ns: int) -> int:
        if now_ns <= self.at_ns:
            return self.parts
        left = self.parts - (now_ns - self.at_ns) * self.rate
        return left if left > 0 else 0

    def _flow(self, amount: int, now_ns: int) -> None:
        if now_ns > self.at_ns:
            self.parts, self.at_ns = self._standing(now_ns), now_ns
        if amount != self.rate:
            self._turn_to(amount)

    def _turn_to(self, amount: int) -> None:
        rate = max(1, amount)
        if rate < self.rate:  # or what was fair under a large limit would shut out for long under a small one
            self.parts = self.parts * rate // self.rate
        self.rate = rate
