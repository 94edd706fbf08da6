"""How much a minute: the generic cell rate algorithm. Pure; times are nanoseconds on the monotonic clock.

One number stands for a bucket that holds a minute's worth and fills evenly: the moment when it will be full again
(the theoretical arrival time of ITU-T I.371). Integers, so that a limit of 60 admits 60 and not 59.
"""

from dataclasses import dataclass
from typing import Final

MINUTE_NS: Final = 60_000_000_000


@dataclass(slots=True)
class Bucket:
    """`amount` a minute, at most all of it at once. The limit is passed in, so that it may change."""

    full_ns: int = 0
    """When it is full again."""

    def wait_ns(self, amount: int, cost: int, now_ns: int) -> int:
        """How long until `cost` fits; 0 when it fits now. More than a whole minute's worth fits once it is full."""
        if amount <= 0:
            return MINUTE_NS
        return max(0, max(self.full_ns, now_ns) + min(cost, amount) * (MINUTE_NS // amount) - MINUTE_NS - now_ns)

    def take(self, amount: int, cost: int, now_ns: int) -> None:
        """Takes `cost`, whether or not it fits."""
        self.full_ns = max(self.full_ns, now_ns) + cost * (MINUTE_NS // max(1, amount))

    def correct(self, amount: int, more: int) -> None:
        """What was taken was `more` than it should have been told; below 0, less."""
        self.full_ns += more * (MINUTE_NS // max(1, amount))

    def remaining(self, amount: int, now_ns: int) -> int:
        """How much fits now."""
        if amount <= 0:
            return 0
        return max(0, (MINUTE_NS - max(0, self.full_ns - now_ns)) // (MINUTE_NS // amount))

    def reset_ns(self, now_ns: int) -> int:
        """How long until it is full again."""
        return max(0, self.full_ns - now_ns)
