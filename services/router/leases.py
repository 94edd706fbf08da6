"""Leases: attempts under way on each upstream account, and what is left of its limits. Pure.

Times are on the monotonic clock. Concurrent attempts are counted exactly. Requests and tokens a minute run through a
bucket each (`services.shared.gcra`): a lease takes what its attempt will use by estimate, and its end corrects that.
Requests are limited exactly. Of tokens, what was estimated too high is given back in full as long as the bucket was not
full in between, so a limit that is used up is used up by what really went; in return as much may pass once more.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from services.router.accounts import NO_LIMITS, Account
from services.shared.gcra import Bucket

CONCURRENT: Final = "limit_concurrent"
REQUESTS: Final = "limit_requests"
INPUT_TOKENS: Final = "limit_input_tokens"
OUTPUT_TOKENS: Final = "limit_output_tokens"
A_MINUTE: Final = frozenset((REQUESTS, INPUT_TOKENS, OUTPUT_TOKENS))
"""The limits that let attempts pass again by time alone."""

_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Used:
    """What an attempt used of an account's limits; tokens of None: as estimated."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    unused: bool = False
    """Whether it never reached the upstream, so that it was no request either."""


NOTHING: Final = Used(0, 0, unused=True)
AS_ESTIMATED: Final = Used()


@dataclass(slots=True)
class Lease:
    """One attempt's claim on an upstream account."""

    account: Account
    model: str
    family: str
    input_tokens: int
    output_tokens: int
    taken_s: float


@dataclass(slots=True)
class _Meter:
    """A bucket that takes back what was not used."""

    bucket: Bucket = field(default_factory=Bucket)
    refilled_ns: int = 0
    """When it was last found full: what was taken before that has come back by itself."""

    def take(self, amount: int, cost: int, now_ns: int) -> None:
        if not self.bucket.reset_ns(now_ns):
            self.refilled_ns = now_ns
        self.bucket.take(amount, cost, now_ns)

    def correct(self, amount: int, taken: int, used: int, taken_ns: int, now_ns: int) -> None:
        if used > taken:
            self.take(amount, used - taken, now_ns)
        elif used < taken and taken_ns >= self.refilled_ns:
            self.bucket.correct(amount, used - taken)

    def give_back_one(self, amount: int, taken_ns: int, now_ns: int) -> None:
        """Of one that was not used, what time has not given back since: so no more than `amount` ever fit at once."""
        self.bucket.give_back(amount, 1, taken_ns, now_ns)


@dataclass(slots=True)
class _Meters:
    """What an account with limits a minute was asked for."""

    requests: _Meter = field(default_factory=_Meter)
    input_tokens: _Meter = field(default_factory=_Meter)
    output_tokens: _Meter = field(default_factory=_Meter)


class Leases:
    """Leases by their id. Taking one twice, or ending one twice, does no harm."""

    def __init__(self, ttl_s: float) -> None:
        self._ttl_s = ttl_s
        self._leases: dict[str, Lease] = {}
        self._in_flight: dict[str, int] = {}
        self._meters: dict[str, _Meters] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def standing(self, lease_id: str) -> Lease | None:
        """The lease of this id, if it stands."""
        return self._leases.get(lease_id)

    def in_flight(self, upstream_account_id: str) -> int:
        """Attempts under way on an account."""
        return self._in_flight.get(upstream_account_id, 0)

    def reached(self, account: Account, input_tokens: int, output_tokens: int, now_s: float) -> str:
        """The first limit of the account that keeps an attempt of so many tokens out; empty when none does."""
        limits = account.limits
        if limits is NO_LIMITS:
            return ""
        if limits.concurrent and self._in_flight.get(account.upstream_account_id, 0) >= limits.concurrent:
            return CONCURRENT
        waits = self._waits(account, input_tokens, output_tokens, round(now_s * _NS))
        return next((limit for limit, wait_ns in waits if wait_ns), "")

    def fits_ms(self, account: Account, input_tokens: int, output_tokens: int, now_s: float) -> int:
        """How many milliseconds, rounded up, until the limits a minute let such an attempt pass."""
        waits = self._waits(account, input_tokens, output_tokens, round(now_s * _NS))
        return -(-max((wait_ns for _, wait_ns in waits), default=0) // 1_000_000)

    def _waits(self, account: Account, input_tokens: int, output_tokens: int, now_ns: int) -> Iterator[tuple[str, int]]:
        meters = self._meters.get(account.upstream_account_id)
        if meters is None:
            return
        limits = account.limits
        if limits.requests:
            yield REQUESTS, meters.requests.bucket.wait_ns(limits.requests, 1, now_ns)
        if limits.input_tokens:
            yield INPUT_TOKENS, meters.input_tokens.bucket.wait_ns(limits.input_tokens, input_tokens, now_ns)
        if limits.output_tokens:
            yield OUTPUT_TOKENS, meters.output_tokens.bucket.wait_ns(limits.output_tokens, output_tokens, now_ns)

    def take(
        self,
        lease_id: str,
        account: Account,
        model: str,
        family: str,
        now_s: float,
        input_tokens: int = 0,
        output_tokens: int = 0,
    ) -> None:
        """Begins a lease, whether or not the limits let it."""
        self.end(lease_id, now_s, NOTHING)
        self._leases[lease_id] = Lease(account, model, family, input_tokens, output_tokens, now_s)
        account_id = account.upstream_account_id
        self._in_flight[account_id] = self._in_flight.get(account_id, 0) + 1
        limits, now_ns = account.limits, round(now_s * _NS)
        if not (limits.requests or limits.input_tokens or limits.output_tokens):
            return
        meters = self._meters.get(account_id)
        if meters is None:
            meters = self._meters[account_id] = _Meters()
        if limits.requests:
            meters.requests.take(limits.requests, 1, now_ns)
        if limits.input_tokens:
            meters.input_tokens.take(limits.input_tokens, input_tokens, now_ns)
        if limits.output_tokens:
            meters.output_tokens.take(limits.output_tokens, output_tokens, now_ns)

    def end(self, lease_id: str, now_s: float, used: Used = AS_ESTIMATED) -> Lease | None:
        """Ends a lease and corrects the limits by what it used. None when it does not stand."""
        lease = self._leases.pop(lease_id, None)
        if lease is None:
            return None
        account_id = lease.account.upstream_account_id
        in_flight = self._in_flight.pop(account_id) - 1
        if in_flight:
            self._in_flight[account_id] = in_flight
        meters = self._meters.get(account_id)
        if meters is not None:
            _correct(meters, lease, used, round(now_s * _NS))
        return lease

    def expire(self, now_s: float) -> dict[str, Lease]:
        """Ends the leases whose time is over, and tells them by their ids; the oldest stand first, for all live equally
        long. What nobody reported is given back. Meters that are full again are forgotten."""
        over = []
        for lease_id, lease in self._leases.items():
            if lease.taken_s + self._ttl_s > now_s:
                break
            over.append(lease_id)
        ended = {lease_id: self._leases[lease_id] for lease_id in over}
        for lease_id in ended:
            self.end(lease_id, now_s, NOTHING)
        now_ns = round(now_s * _NS)
        for account_id, meters in list(self._meters.items()):
            buckets = (meters.requests.bucket, meters.input_tokens.bucket, meters.output_tokens.bucket)
            if account_id not in self._in_flight and not any(bucket.reset_ns(now_ns) for bucket in buckets):
                del self._meters[account_id]
        return ended


def _correct(meters: _Meters, lease: Lease, used: Used, now_ns: int) -> None:
    limits, taken_ns = lease.account.limits, round(lease.taken_s * _NS)
    if limits.requests and used.unused:
        meters.requests.give_back_one(limits.requests, taken_ns, now_ns)
    if limits.input_tokens and used.input_tokens is not None:
        meters.input_tokens.correct(limits.input_tokens, lease.input_tokens, used.input_tokens, taken_ns, now_ns)
    if limits.output_tokens and used.output_tokens is not None:
        meters.output_tokens.correct(limits.output_tokens, lease.output_tokens, used.output_tokens, taken_ns, now_ns)
