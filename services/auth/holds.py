"""Holds inside a tenant's credit grant. Pure: the clock and the ledger stay outside.

A hold is placed only where `available >= hold` (I2). Settling always commits: what exceeds the hold makes `available`
negative until the grant is raised.
"""

from dataclasses import dataclass, field

from services.shared.pricing import Rates, Tokens


@dataclass(frozen=True, slots=True)
class Hold:
    """Credit set aside for one request. `expires_s` is on the monotonic clock."""

    hold_id: str
    grant_id: str
    amount_nano: int
    rates: Rates
    expires_s: float


@dataclass(slots=True)
class Credit:
    """One tenant's grant and the holds in it. Amounts are nano-dollars.

    `granted_nano` and `settled_nano` are totals over the grant's life, so that telling the ledger twice does no harm.
    """

    tenant_id: str
    grant_id: str
    granted_nano: int = 0
    settled_nano: int = 0
    held_nano: int = 0
    holds: dict[str, Hold] = field(default_factory=dict)
    idle_since_s: float = 0.0

    @property
    def available_nano(self) -> int:
        """What a further hold may take."""
        return self.granted_nano - self.settled_nano - self.held_nano

    @property
    def committed_nano(self) -> int:
        """What the grant must cover whatever comes: settled and held."""
        return self.settled_nano + self.held_nano

    def place(self, hold_id: str, amount_nano: int, rates: Rates, expires_s: float) -> Hold | None:
        """Places a hold, or None when it does not fit. A hold id that stands already answers the hold that stands."""
        standing = self.holds.get(hold_id)
        if standing is not None:
            return standing
        if amount_nano > self.available_nano:
            return None
        hold = self.holds[hold_id] = Hold(hold_id, self.grant_id, amount_nano, rates, expires_s)
        self.held_nano += amount_nano
        return hold

    def settle(self, hold_id: str, charged: list[Tokens], now_s: float) -> int | None:
        """Ends a hold with what was used, nothing for a release. Answers its cost; None when there is no such hold."""
        hold = self.holds.pop(hold_id, None)
        if hold is None:
            return None
        cost_nano = sum(hold.rates.cost_nano(tokens) for tokens in charged)
        self.held_nano -= hold.amount_nano
        if hold.grant_id == self.grant_id:
            self.settled_nano += cost_nano
        self.idle_since_s = now_s
        return cost_nano

    def expire(self, now_s: float) -> list[Hold]:
        """Releases the holds whose time is over, and answers them."""
        over = [hold for hold in self.holds.values() if hold.expires_s <= now_s]
        for hold in over:
            self.settle(hold.hold_id, [], now_s)
        return over

    def start_over(self, grant_id: str) -> None:
        """Goes on in a new grant after the old one was lost. Holds stay, and are settled in the old one's name."""
        self.grant_id, self.granted_nano, self.settled_nano = grant_id, 0, 0


@dataclass(slots=True)
class Reserve:
    """How far ahead of need a grant is raised: it follows the tenant's rate of spending.

    The reserve doubles when raises come less than `FAST_S` apart and halves when they come more than `SLOW_S` apart, so
    that a busy tenant asks the ledger every few seconds, can go on as long without it, and a quiet one has little set
    aside.
    """

    FAST_S = 5.0
    SLOW_S = 30.0
    SMALLEST = 8
    """Times the hold that asks."""
    LARGEST = 1 << 20

    factor: int = SMALLEST
    raised_s: float = float("-inf")

    def next_nano(self, hold_nano: int, now_s: float) -> int:
        """The reserve for a raise that happens now, on behalf of a hold of `hold_nano`."""
        apart_s, self.raised_s = now_s - self.raised_s, now_s
        if apart_s < self.FAST_S:
            self.factor = min(self.factor * 2, self.LARGEST)
        elif apart_s > self.SLOW_S:
            self.factor = max(self.factor // 2, self.SMALLEST)
        return hold_nano * self.factor
