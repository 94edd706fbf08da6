"""Which upstream accounts a conversation belongs to: its order among them, and where its last turn went. Pure.

The accounts of one pool, model and priority stand on a ring, sorted by a hash of their ids. A conversation's hash gives
a place on it; the `WINDOW` accounts from there are ranked by weighted rendezvous (Mosharaf and others, "Weighted
rendezvous hashing": the highest -weight / ln(h)), then the next `WINDOW`, and so on. So the order costs the same among
10 accounts and among 10,000, is the same in every replica and after every restart, and hardly changes when an account
comes or goes. Python's own `hash` is seeded for each process and would not do.
"""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import log
from operator import itemgetter
from typing import Final, TypeVar

from services.router.accounts import Account

WINDOW: Final = 16
"""Accounts that are ranked at a time; a tier of no more is ranked as a whole."""

_MASK: Final = (1 << 64) - 1
_EXPIRED_AT_A_TIME: Final = 16

_Key = TypeVar("_Key")


def mix(value: int) -> int:
    """Spreads 64 bits: the finalizer of SplitMix64 (Steele, Lea and Flood, 2014)."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def place(conversation: bytes) -> int:
    """Where a conversation stands on every ring: 64 bits of it, spread."""
    return mix(int.from_bytes(conversation[:8], "big"))


class Tier:
    """Upstream accounts of one pool, model and priority: equally good but for their weights."""

    __slots__ = ("_at", "_even", "_salts", "accounts", "priority", "weight")

    def __init__(self, priority: int, accounts: Sequence[Account]) -> None:
        salted = sorted(((_salt(account.upstream_account_id), account) for account in accounts), key=itemgetter(0))
        self.priority = priority
        self.accounts = [account for _, account in salted]
        self.weight = sum(account.weight for account in accounts)
        self._salts = [salt for salt, _ in salted]
        self._at = {account.upstream_account_id: account for account in accounts}
        self._even = len({account.weight for account in accounts}) == 1

    def get(self, account_id: str) -> Account | None:
        """The account of this id, if it is one of them."""
        return self._at.get(account_id)

    def windows(self, at: int) -> Iterator[list[Account]]:
        """All accounts in the order of the conversation whose place is `at`, `WINDOW` at a time."""
        count = len(self.accounts)
        if count <= WINDOW:
            yield self._ranked(range(count), at)
            return
        start = bisect_left(self._salts, at)
        for begin in range(0, count, WINDOW):
            yield self._ranked([(start + i) % count for i in range(begin, min(begin + WINDOW, count))], at)

    def _ranked(self, indexes: Sequence[int], at: int) -> list[Account]:
        salts, accounts = self._salts, self.accounts
        scored: list[tuple[float, int]]
        if self._even:  # the logarithm would not change the order
            scored = [(mix(salts[i] ^ at), i) for i in indexes]
        else:
            scored = [(_score(mix(salts[i] ^ at), accounts[i].weight), i) for i in indexes]
        scored.sort(reverse=True)
        return [accounts[i] for _, i in scored]


def _score(mixed: int, weight: int) -> float:
    return -weight / log((mixed + 1) / (_MASK + 2))


def _salt(account_id: str) -> int:
    return int.from_bytes(blake2b(account_id.encode(), digest_size=8).digest(), "big")


class Tiers:
    """The upstream accounts of one pool that serve one model, the lowest priority number first."""

    __slots__ = ("_at", "count", "tiers")

    def __init__(self, accounts: Sequence[Account]) -> None:
        by_priority: dict[int, list[Account]] = {}
        for account in accounts:
            by_priority.setdefault(account.priority, []).append(account)
        self.tiers = tuple(Tier(priority, by_priority[priority]) for priority in sorted(by_priority))
        self.count = len(accounts)
        self._at = {account.upstream_account_id: account for account in accounts}

    def get(self, account_id: str) -> Account | None:
        """The account of this id, if it is one of them."""
        return self._at.get(account_id)

    def __iter__(self) -> Iterator[Account]:
        for tier in self.tiers:
            yield from tier.accounts


class PoolAccounts:
    """The upstream accounts of one pool, by the models that they serve.

    Args:
        name: the pool's name.
        accounts: its accounts. One that is disabled serves nothing, but its models are known.
    """

    def __init__(self, name: str, accounts: Sequence[Account]) -> None:
        self.name = name
        served: dict[str, list[Account]] = {}
        for account in accounts:
            for model in account.models:
                serving = served.setdefault(model, [])
                if account.enabled:
                    serving.append(account)
        self._tiers: dict[str, Tiers] = {}
        alike: dict[tuple[str, ...], Tiers] = {}  # models that the same accounts serve share one ring
        for model, serving in served.items():
            real = _real(serving)
            key = tuple(account.upstream_account_id for account in real)
            if key not in alike:
                alike[key] = Tiers(real)
            self._tiers[model] = alike[key]

    def serving(self, model: str) -> Tiers | None:
        """The enabled accounts that serve a model; None when no account of the pool names it."""
        return self._tiers.get(model)


def _real(accounts: list[Account]) -> list[Account]:
    """The simulator's answers are made up: where a provider serves a model, the simulator does not stand in for it."""
    return [account for account in accounts if account.kind != "simulator"] or accounts


class Live:
    """How many conversations of one pool and model are alive."""

    __slots__ = ("of", "total")

    def __init__(self) -> None:
        self.of: dict[str, int] = {}
        """By upstream account."""
        self.total: dict[int, int] = {}
        """By priority."""


@dataclass(slots=True)
class _Home:
    account_id: str
    priority: int
    used_ms: int
    live: Live


class Conversations:
    """Where conversations had their last turn: the `most` that were used last, until they are idle for `idle_ms`."""

    def __init__(self, most: int, idle_ms: int) -> None:
        self._most = most
        self._idle_ms = idle_ms
        self._homes: OrderedDict[tuple[str, str, bytes], _Home] = OrderedDict()  # used longest ago first
        self._live: dict[tuple[str, str], Live] = {}

    def __len__(self) -> int:
        return len(self._homes)

    def live(self, pool: str, model: str) -> Live:
        """The conversations of a pool and a model; do not change."""
        return self._live.get((pool, model)) or Live()

    def home(self, pool: str, model: str, conversation: bytes, now_ms: int) -> str:
        """The upstream account of a conversation's last turn; empty when it is not remembered."""
        self._expire(now_ms)
        home = self._homes.get((pool, model, conversation))
        return home.account_id if home is not None and home.used_ms + self._idle_ms > now_ms else ""

    def used(self, pool: str, model: str, conversation: bytes, now_ms: int) -> None:
        """A known conversation had a turn."""
        key = (pool, model, conversation)
        home = self._homes.get(key)
        if home is not None:
            home.used_ms = now_ms
            self._homes.move_to_end(key)

    def settle(self, pool: str, model: str, conversation: bytes, account: Account, now_ms: int) -> None:
        """A conversation belongs to this account from now on."""
        key = (pool, model, conversation)
        self._forget(key)
        if len(self._homes) >= self._most:
            self._forget(next(iter(self._homes)))
        live = self._live.setdefault((pool, model), Live())
        account_id, priority = account.upstream_account_id, account.priority
        live.of[account_id] = live.of.get(account_id, 0) + 1
        live.total[priority] = live.total.get(priority, 0) + 1
        self._homes[key] = _Home(account_id, priority, now_ms, live)

    def _expire(self, now_ms: int) -> None:
        """Forgets a few that were idle for too long: a whole crowd at once would hold up whoever asks."""
        for _ in range(_EXPIRED_AT_A_TIME):
            key = next(iter(self._homes), None)
            if key is None or self._homes[key].used_ms + self._idle_ms > now_ms:
                return
            self._forget(key)

    def _forget(self, key: tuple[str, str, bytes]) -> None:
        home = self._homes.pop(key, None)
        if home is None:
            return
        _lower(home.live.of, home.account_id)
        _lower(home.live.total, home.priority)
        if not home.live.of:
            self._live.pop(key[:2], None)


def _lower(counts: dict[_Key, int], key: _Key) -> None:
    """One less of a key; none of it is no entry."""
    if counts[key] == 1:
        del counts[key]
    else:
        counts[key] -= 1
