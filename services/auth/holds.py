"""Holds inside credit grants. Pure: the clock and the ledger stay outside.

A hold lies in the grant of its tenant's balance and, where its key has a spend cap, in a grant of that cap as well. It
is placed and grows only where `available >= hold` in each of them (I2). Settling always commits: what exceeds the hold
makes `available` negative until the grant is raised.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from services.auth.limits import Reservation
from services.shared.pricing import Rates, Tokens


@dataclass(slots=True, eq=False)
class Credit:
    """A grant: a slice of a tenant's balance or, with a `key_id`, of that key's spend cap. Amounts are nano-dollars.

    `granted_nano` and `settled_nano` are totals over the grant's life, so that telling the ledger twice does no harm.
    """

    grant_id: str
    key_id: str = ""
    granted_nano: int = 0
    settled_nano: int = 0
    held_nano: int = 0
    lapsed: bool = False
    """It was not renewed in time, and may have ended: nothing is placed in it before a raise says anew what it is."""
    asked: int = 0
    """How often the ledger was asked to raise or lower it: the order of those questions."""

    @property
    def available_nano(self) -> int:
        """What a further hold may take."""
        left_nano = self.granted_nano - self.settled_nano - self.held_nano
        return min(0, left_nano) if self.lapsed else left_nano

    @property
    def committed_nano(self) -> int:
        """What the grant must cover whatever comes: settled and held."""
        return self.settled_nano + self.held_nano

    def start_over(self, grant_id: str) -> None:
        """Goes on in a new grant after the old one was lost. Holds stay, and the new grant must cover them."""
        self.grant_id, self.granted_nano, self.settled_nano, self.asked = grant_id, 0, 0, 0
        self.lapsed = False


@dataclass(slots=True, eq=False)
class Hold:
    """Credit set aside for one request under way. `expires_s` is on the monotonic clock."""

    hold_id: str
    key_id: str
    model: str
    rates: Rates
    input_tokens: int
    output_tokens: int
    credits: tuple[Credit, ...]
    expires_s: float
    edge: str = ""
    """Who asked for it: an edge's name, a slash, its life."""
    amount_nano: int = 0
    so_far: Sequence[Any] | None = None
    """The usage events to book should nothing more be heard; None while the edge has said nothing since admission."""
    reserved: Reservation | None = None
    """What the request has taken of the limits of its policy; None when it has none."""

    @property
    def wanted_nano(self) -> int:
        """What its tokens cost at most."""
        return self.rates.hold_nano(self.input_tokens, self.output_tokens)

    @property
    def grant_id(self) -> str:
        """The grant of the balance that it lies in."""
        return self.credits[0].grant_id

    @property
    def key_grant_id(self) -> str:
        """The grant of the key's spend cap that it lies in; empty for a key without one."""
        return self.credits[1].grant_id if len(self.credits) > 1 else ""

    def grow(self, amount_nano: int) -> None:
        """Holds `amount_nano` altogether, whether or not there is so much; never less than before."""
        more_nano = max(0, amount_nano - self.amount_nano)
        self.amount_nano += more_nano
        for credit in self.credits:
            credit.held_nano += more_nano

    def fits(self, amount_nano: int) -> bool:
        """Whether every grant that it lies in has room for it to hold `amount_nano` altogether."""
        more_nano = amount_nano - self.amount_nano
        return all(credit.available_nano >= more_nano for credit in self.credits)


@dataclass(slots=True)
class Holds:
    """The holds of one tenant, by id."""

    standing: dict[str, Hold] = field(default_factory=dict)
    idle_since_s: float = 0.0

    def place(self, hold: Hold) -> Hold | None:
        """Places a hold, or None when it does not fit. A hold id that stands already answers the hold that stands."""
        standing = self.standing.get(hold.hold_id)
        if standing is not None:
            return standing
        amount_nano = hold.wanted_nano
        if not hold.fits(amount_nano):
            return None
        hold.grow(amount_nano)
        self.standing[hold.hold_id] = hold
        return hold

    def take_over(self, hold: Hold) -> None:
        """Stands a hold that another replica, or this one in an earlier life, had placed, whether or not it fits."""
        hold.grow(hold.wanted_nano)
        self.standing[hold.hold_id] = hold

    def extend(self, hold: Hold, output_tokens: int) -> bool:
        """Lets a hold grow to `output_tokens` of output. False when that does not fit; it stands as it was."""
        if output_tokens <= hold.output_tokens:
            return True
        amount_nano = hold.rates.hold_nano(hold.input_tokens, output_tokens)
        if not hold.fits(amount_nano):
            return False
        hold.output_tokens = output_tokens
        hold.grow(amount_nano)
        return True

    def settle(self, hold_id: str, charged: Sequence[Tokens], now_s: float) -> int | None:
        """Ends a hold with what was used, nothing for a release. Answers its cost; None when there is no such hold."""
        hold = self.standing.pop(hold_id, None)
        if hold is None:
            return None
        cost_nano = sum(hold.rates.cost_nano(tokens) for tokens in charged)
        for credit in hold.credits:
            credit.held_nano -= hold.amount_nano
            credit.settled_nano += cost_nano
        if hold.reserved is not None:
            hold.reserved.settle(charged, now_s)
        self.idle_since_s = now_s
        return cost_nano

    def overdue(self, now_s: float) -> list[Hold]:
        """Holds that nobody renewed in time: their edge is lost."""
        return [hold for hold in self.standing.values() if hold.expires_s <= now_s]


@dataclass(slots=True)
class Reserve:
    """How far ahead of need a grant is raised: it follows the rate of spending.

    The reserve grows when raises come less than `FAST_S` apart and halves when they come more than `SLOW_S` apart, so
    that a busy tenant asks the ledger once a minute and can go on about as long without it, and a quiet one has little
    set aside. It grows to what would have lasted, but eightfold at most; in a rush, which may soon be over, twofold.
    """

    FAST_S = 60.0
    SLOW_S = 240.0
    RUSH_S = 1.0
    GROWTH = 8.0
    SMALLEST = 8
    """Times the hold that asks."""
    LARGEST = 1 << 20

    factor: int = SMALLEST
    raised_s: float = float("-inf")
    aimed_nano: int | None = None
    """What was put aside last, which may be less than the factor says; None before the first time."""

    def low_nano(self, hold_nano: int) -> int:
        """Below how much to raise again, when holds are of `hold_nano`."""
        whole_nano = hold_nano * self.factor
        return (whole_nano if self.aimed_nano is None else min(whole_nano, self.aimed_nano)) // 2

    def next_nano(self, hold_nano: int, now_s: float) -> int:
        """The reserve for a raise that happens now, on behalf of a hold of `hold_nano`."""
        apart_s, self.raised_s = now_s - self.raised_s, now_s
        if apart_s < self.FAST_S:
            growth = 2.0 if apart_s < self.RUSH_S else min(self.GROWTH, max(2.0, self.FAST_S / apart_s))
            self.factor = min(int(self.factor * growth), self.LARGEST)
        elif apart_s > self.SLOW_S:
            self.factor = max(self.factor // 2, self.SMALLEST)
        return hold_nano * self.factor
