"""When a grant may end that its holder did not renew: only when its events are in. Pure.

A grant stands for usage that was settled and may not be booked yet. So it ends when everything that was published until
well after its end is booked, and when its holder had every chance to renew it.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

SETTLE_S: Final = 2.0
"""What an edge needs at most, while NATS is there, to publish what it settled."""
UNBOOKED_KEEP_S: Final = 6 * 3600.0
"""How long what was settled in a grant that ended stays set aside while it is not booked: an edge that is cut off from
NATS keeps its events, and nobody else knows of them."""
_PAUSE_S: Final = 3.0
"""A gap between two looks that is longer means that the ledger itself, or its database, stood still."""
_MARKS: Final = 600


@dataclass(slots=True)
class Expiry:
    """Call `look` about once a second while the database and NATS answer, `blind` when one of them did not.

    What is answered are instants of the database, Unix seconds, for grants end by its clock: however late somebody acts
    on such an instant, it stays true. `ttl_s` is how long a grant lives unless it is renewed.
    """

    ttl_s: float
    _since_s: float | None = None
    _looked_s: float = 0.0
    _marks: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_MARKS))
    _booked_until_s: float | None = None

    def blind(self) -> None:
        """Nobody could renew, or it is not known what is booked."""
        self._since_s = self._booked_until_s = None
        self._marks.clear()

    def look(self, now_s: float, database_s: float, last_sequence: int, booked_sequence: int) -> None:
        """The stream's newest message, and up to which everything is booked, both read after the monotonic clock and
        the database's were."""
        if self._since_s is None or now_s - self._looked_s > _PAUSE_S:
            self._since_s = now_s
        self._looked_s = now_s
        self._marks.append((database_s, last_sequence))
        while self._marks and self._marks[0][1] <= booked_sequence:
            self._booked_until_s = self._marks.popleft()[0]

    def abandoned_until_s(self) -> float | None:
        """Before which instant an abandoned grant must have ended to be deleted; None for none of them."""
        return None if self._booked_until_s is None else self._booked_until_s - SETTLE_S

    def unrenewed_until_s(self) -> float | None:
        """The same for a grant whose holder did not say that it abandons it: only where it had all the time that a
        grant lives to renew it."""
        if self._since_s is None or self._looked_s - self._since_s < self.ttl_s:
            return None
        return self.abandoned_until_s()
