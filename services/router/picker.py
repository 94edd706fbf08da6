"""Which upstream account takes an attempt. Pure: state and randomness are passed in.

The tier of the lowest priority number that has an eligible account is asked. There the account of the conversation's
last turn goes first; else the first in the conversation's order that is not loaded beyond its share (consistent hashing
with bounded loads: Mirrokni, Thorup and Zadimoghaddam, 2016); without a conversation the least loaded of a few that are
drawn (the power of two choices: Mitzenmacher, 2001). What a pick costs does not grow with the number of accounts while
some of them are eligible.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, log
from typing import Final, Protocol

from services.router.accounts import NO_LIMITS, Account, Limits
from services.router.affinity import WINDOW, Live, Tier, Tiers

__all__ = ["NO_LIMITS", "Account", "Limits", "Picked", "Sight", "pick"]

SPARE: Final = "spare"
"""Found of an account: it can take the attempt."""
PROVING: Final = "proving"
"""Found of an account: its first attempt is under way; it takes more only where nothing else can."""
BUSY: Final = "busy"
"""Found of an account: it can take the attempt, but is loaded beyond its share."""

CONVERSATION: Final = "conversation"
AFFINITY: Final = "affinity"
SPILL: Final = "spill"
LOAD: Final = "load"
ONLY: Final = "only"

_BOUND: Final = 1.25
_DRAWN: Final = 8
_LOW: Final = 0.1
_LEAST: Final = 0.01
_TOLD: Final = 32

Looked = list[tuple[Account, str, float]]
"""Accounts that a pick looked at, what was found of each, and its load for its weight; at most `_TOLD`."""


class Sight(Protocol):
    """What a pick sees of accounts; everything is asked as seldom as possible."""

    def found(self, account: Account) -> str:
        """SPARE, PROVING, or why it cannot take this attempt."""
        ...

    def moves(self, account: Account) -> bool:
        """Whether an account that cannot take this attempt will not soon: its conversations move for good."""
        ...

    def in_flight(self, account_id: str) -> int:
        """Attempts under way on it."""
        ...

    def left(self, account_id: str) -> float:
        """Which share of the upstream's own limits it has left, 0.0 to 1.0."""
        ...


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of a conversation that asks for an account."""

    place: int
    """Where the conversation stands on every ring."""
    home: str
    """The upstream account of its last turn; empty when it is new."""
    live: Live
    """The conversations of the pool and the model."""


@dataclass(slots=True)
class Picked:
    """The account that takes an attempt; None when none can."""

    account: Account | None = None
    reason: str = ""
    settles: bool = False
    """Whether the conversation belongs to it from now on."""
    looked: Looked = field(default_factory=list)

    def see(self, account: Account, found: str, in_flight: int) -> None:
        """Notes an account that was looked at."""
        if len(self.looked) < _TOLD:
            self.looked.append((account, found, in_flight / account.weight))


def pick(tiers: Tiers, turn: Turn | None, sight: Sight, random: Callable[[], float]) -> Picked:
    """The account that takes an attempt.

    Args:
        tiers: the accounts of the pool that serve the model.
        turn: the conversation that the attempt belongs to, if any.
        sight: what is known of the accounts now.
        random: gives numbers from 0.0 to below 1.0.
    """
    picked = Picked()
    for tier in tiers.tiers:
        if turn is None:
            picked.account = _least_loaded(tier, sight, random, picked)
            picked.reason = LOAD
        else:
            _for_turn(tier, turn, sight, picked)
        if picked.account is not None:
            break
    else:
        return picked
    account = picked.account
    if all(looked is not account for looked, _, _ in picked.looked):
        picked.looked.append((account, SPARE, sight.in_flight(account.upstream_account_id) / account.weight))
    if turn is not None and picked.reason != CONVERSATION:
        home = tiers.get(turn.home)
        # A home in a later tier was a stopgap; one that is only full or was tried already is returned to.
        picked.settles = home is None or home.priority > tier.priority or sight.moves(home)
    return picked


def _for_turn(tier: Tier, turn: Turn, sight: Sight, picked: Picked) -> None:
    """Picks for a turn of a conversation, if any account of the tier can take it."""
    proving: list[Account] = []
    home = tier.get(turn.home)
    if home is not None:
        found = sight.found(home)
        picked.see(home, found, sight.in_flight(home.upstream_account_id))
        if found == SPARE:
            picked.account, picked.reason = home, CONVERSATION
            return
        if found == PROVING:
            proving.append(home)
    leading: Account | None = None
    low: list[Account] = []
    for window in tier.windows(turn.place):
        leading = leading or window[0]
        loaded: list[Account] = []
        for account in window:
            if account is home:
                continue
            found = sight.found(account)
            if found == SPARE:
                if _has_room(account, window, tier, turn.live, sight):
                    picked.account, picked.reason = account, AFFINITY if account is leading else SPILL
                    return
                loaded.append(account)
                found = BUSY
            elif found == PROVING and len(proving) < WINDOW:
                proving.append(account)
            picked.see(account, found, sight.in_flight(account.upstream_account_id))
        if far := [account for account in loaded if not _is_low(account, sight)]:
            picked.account, picked.reason = _fewest(far, turn.live), SPILL
            return
        low += loaded[: WINDOW - len(low)]
    if low:  # all that can take it are close to the upstream's own limits
        picked.account, picked.reason = _fewest(low, turn.live), SPILL
    elif proving:
        roomy = (account for account in proving if _has_room(account, proving, tier, turn.live, sight))
        picked.account = home if proving[0] is home else next(roomy, None) or _fewest(proving, turn.live)
        picked.reason = SPILL
        if picked.account is home or picked.account is leading:
            picked.reason = CONVERSATION if picked.account is home else AFFINITY


def _has_room(account: Account, around: list[Account], tier: Tier, live: Live, sight: Sight) -> bool:
    """Whether one more conversation leaves an account within its share: of the conversations of its tier, and of the
    attempts under way on the accounts around it."""
    account_id = account.upstream_account_id
    share = account.weight * (live.total.get(tier.priority, 0) + 1) / tier.weight
    if live.of.get(account_id, 0) >= ceil(_BOUND * share) or _is_low(account, sight):
        return False
    in_flight = sight.in_flight(account_id)
    if in_flight <= 1:
        return True
    mean = sum(sight.in_flight(a.upstream_account_id) for a in around) / sum(a.weight for a in around)
    return in_flight <= _BOUND * mean * account.weight + 1


def _is_low(account: Account, sight: Sight) -> bool:
    """Whether an account is so close to the upstream's own limits that new conversations go elsewhere."""
    return sight.left(account.upstream_account_id) < _LOW


def _fewest(accounts: list[Account], live: Live) -> Account:
    """The account with the fewest conversations for its weight."""
    return min(accounts, key=lambda account: live.of.get(account.upstream_account_id, 0) / account.weight)


def _least_loaded(tier: Tier, sight: Sight, random: Callable[[], float], picked: Picked) -> Account | None:
    """The least loaded of a few that are drawn; where none of these is eligible, the first of the others that is."""
    accounts = tier.accounts
    count = len(accounts)
    drawn = accounts if count <= WINDOW else [accounts[int(random() * count)] for _ in range(_DRAWN)]
    spare, proving = _eligible(drawn, sight, picked)
    if not spare and count > WINDOW:
        begin = int(random() * count)
        for step in range(count):
            spare, more = _eligible((accounts[(begin + step) % count],), sight, picked)
            if spare:
                break
            if len(proving) < WINDOW:
                proving += more
    return min(spare or proving, key=lambda account: _load(account, sight, random), default=None)


def _eligible(accounts: Sequence[Account], sight: Sight, picked: Picked) -> tuple[list[Account], list[Account]]:
    """Those of some accounts that are SPARE, and those that are PROVING."""
    spare: list[Account] = []
    proving: list[Account] = []
    for account in accounts:
        found = sight.found(account)
        picked.see(account, found, sight.in_flight(account.upstream_account_id))
        if found == SPARE:
            spare.append(account)
        elif found == PROVING:
            proving.append(account)
    return spare, proving


def _load(account: Account, sight: Sight, random: Callable[[], float]) -> float:
    """The attempts under way on an account for its weight, and an exponentially distributed one more: so idle accounts
    take turns by their weights. What comes close to the upstream's own limits weighs less."""
    account_id = account.upstream_account_id
    weight = account.weight * max(min(1.0, sight.left(account_id) / _LOW), _LEAST)
    return (sight.in_flight(account_id) - log(1.0 - random())) / weight
