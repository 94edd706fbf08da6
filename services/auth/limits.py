"""Limits of keys, tenants, plans and models: how much of them is used, and whether one more request fits. Pure; times
are seconds on the monotonic clock.

A request passes when it fits into every limit that its policy names, and then takes its part of each. Tokens are taken
as they are estimated, and corrected when the request is settled. What a limit counts is kept while something stands in
it, and forgotten afterwards.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import ceil
from typing import Final

from services.auth.policies import Rule, Terms, metric_name
from services.shared.errors import Kind, Refusal
from services.shared.gcra import MINUTE_NS, Bucket
from services.shared.pricing import Tokens
from tollhouse.v1 import auth_pb2, types_pb2

_CONCURRENT: Final = types_pb2.LIMIT_METRIC_CONCURRENT
_ANOTHER_ENDS_NS: Final = 1_000_000_000
"""When to ask again where requests at a time are limited: nobody knows when one of them ends."""
_MS_NS: Final = 1_000_000
_MOST_MS: Final = (1 << 32) - 1
_MOST_COUNTERS: Final = 1_000_000
_LOOKED_AT: Final = 5_000
"""Counters that one turn of forgetting looks at."""


@dataclass(slots=True, eq=False)
class Counter:
    """What one limit has counted."""

    bucket: Bucket = field(default_factory=Bucket)
    under_way: int = 0
    """Requests that have taken of it and have not ended."""

    def take(self, rule: Rule, cost: int, now_ns: int) -> None:
        """One more request, which costs so much."""
        self.under_way += 1
        if rule.metric != _CONCURRENT:
            self.bucket.take(rule.amount, cost, now_ns)


@dataclass(slots=True, eq=False)
class Part:
    """What a request has taken of one limit."""

    rule: Rule
    counter: Counter
    cost: int
    gone_ns: int
    """When all of it has flowed off by itself."""

    def end(self, used: int, now_ns: int) -> None:
        """Corrects what was taken to what was used. What flowed off meanwhile is not given back a second time."""
        self.counter.under_way -= 1
        if self.rule.metric == _CONCURRENT:
            return
        bucket = self.counter.bucket
        amount = bucket.rate  # the limit may have changed since
        if used > self.cost:
            bucket.take(amount, used - self.cost, now_ns)
        if used >= self.cost:
            return
        standing = -(-max(0, self.gone_ns - now_ns) * amount // MINUTE_NS)
        bucket.correct(amount, -min(self.cost - used, standing))


@dataclass(slots=True, eq=False)
class Reservation:
    """What a request has taken of all of its limits, until it ends."""

    hold_id: str
    parts: list[Part]
    standing: "dict[str, Reservation]"
    """All of them by hold id; this one while it has not ended."""
    askers: int = 1
    """How often it was asked for: a question that comes twice takes once."""

    def settle(self, charged: Iterable[Tokens], now_s: float) -> None:
        """The request ended, and used this. It stays counted as a request."""
        read = written = 0
        for tokens in charged:
            # Tokens read from a cache cost the upstream next to nothing, and do not count.
            read += tokens.input + tokens.cache_write_5m + tokens.cache_write_1h
            written += tokens.output
        self._end(_costs(read, written), now_s)

    def give_back(self, now_s: float) -> None:
        """One who asked was refused: when nobody else has asked for it, it is as if it had never been taken."""
        self.askers -= 1
        if not self.askers:
            self._end(_NOTHING, now_s)

    def _end(self, used: Sequence[int], now_s: float) -> None:
        if self.standing.get(self.hold_id) is not self:
            return
        del self.standing[self.hold_id]
        now_ns = _ns(now_s)
        for part in self.parts:
            part.end(used[part.rule.metric], now_ns)


class Limits:
    """The counters of all limits of the tenants that this replica owns."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, str, int, str], Counter] = {}
        """By subject, source, metric and model."""
        self._standing: dict[str, Reservation] = {}

    def take(self, terms: Terms, item: auth_pb2.AdmitItem, now_s: float) -> Reservation | None:
        """Takes a request's part of every limit; None when it has none. All or nothing: raises Refusal, which names the
        limit that lets it pass last. The same hold id twice takes once."""
        if not terms.rules:
            return None
        standing = self._standing.get(item.hold_id)
        if standing is not None:
            standing.askers += 1
            return standing
        costs, now_ns = _costs(item.likely_input_tokens, item.likely_output_tokens), _ns(now_s)
        counted = self._counted(terms, item)
        hit, longest_ns = None, 0
        for rule, counter in counted:
            wait_ns = _wait_ns(rule, counter, costs[rule.metric], now_ns)
            if wait_ns > longest_ns:
                hit, longest_ns = rule, wait_ns
        if hit is not None:
            raise _refusal(hit, longest_ns)
        for rule, counter in counted:
            counter.take(rule, costs[rule.metric], now_ns)
        return self._reserve(item.hold_id, counted, costs, now_ns)

    def take_over(self, terms: Terms, item: auth_pb2.RenewItem, now_s: float) -> Reservation | None:
        """A request that another replica let pass goes on here: counts as under way, and with what it says at its end.
        What it took before stays where it was taken."""
        if not terms.rules:
            return None
        standing = self._standing.get(item.hold_id)
        if standing is not None:
            standing.askers += 1
            return standing
        counted, now_ns = self._counted(terms, item), _ns(now_s)
        for rule, counter in counted:
            counter.take(rule, 0, now_ns)
        return self._reserve(item.hold_id, counted, _TAKEN_ELSEWHERE, now_ns)

    def states(self, terms: Terms, item: auth_pb2.AdmitItem, now_s: float) -> list[auth_pb2.LimitState]:
        """Of each metric a minute, the limit that is nearest to be reached."""
        if not terms.rules:
            return []
        now_ns = _ns(now_s)
        nearest: dict[int, tuple[float, int, Rule, Counter]] = {}
        for rule, counter in self._counted(terms, item):
            if rule.metric == _CONCURRENT:
                continue
            remaining = counter.bucket.remaining(rule.amount, now_ns)
            share = remaining / rule.amount if rule.amount else 0.0
            if rule.metric not in nearest or share < nearest[rule.metric][0]:
                nearest[rule.metric] = share, remaining, rule, counter
        return [
            auth_pb2.LimitState(
                metric=metric,  # type: ignore[arg-type]
                limit=rule.amount,
                remaining=remaining,
                reset_ms=min(_ms(counter.bucket.reset_ns(now_ns)), _MOST_MS),
            )
            for metric, (_, remaining, rule, counter) in sorted(nearest.items())
        ]

    def forget_idle(self, now_s: float) -> None:
        """Forgets counters in which nothing stands; looks at some of them at a time, at all of them in turn."""
        now_ns = _ns(now_s)
        for name in list(islice(self._counters, _LOOKED_AT)):
            counter = self._counters.pop(name)
            if counter.under_way or counter.bucket.reset_ns(now_ns):
                self._counters[name] = counter

    def __len__(self) -> int:
        """How many counters are remembered."""
        return len(self._counters)

    def _counted(self, terms: Terms, item: auth_pb2.AdmitItem | auth_pb2.RenewItem) -> list[tuple[Rule, Counter]]:
        tenant_id, key_id, model = item.tenant_id, item.key_id, item.model
        return [
            (rule, self._counter((key_id if rule.of_key else tenant_id, rule.source, rule.metric, rule.model)))
            for rule in terms.rules
            if not rule.model or rule.model == model
        ]

    def _counter(self, name: tuple[str, str, int, str]) -> Counter:
        counter = self._counters.get(name)
        if counter is None:
            if len(self._counters) >= _MOST_COUNTERS:
                self._counters.pop(next(iter(self._counters)))  # the one not looked at for longest: it starts anew
            counter = self._counters[name] = Counter()
        return counter

    def _reserve(
        self, hold_id: str, counted: Sequence[tuple[Rule, Counter]], costs: Sequence[int], now_ns: int
    ) -> Reservation:
        parts = []
        for rule, counter in counted:
            gone_ns = now_ns + counter.bucket.reset_ns(now_ns)
            parts.append(Part(rule, counter, costs[rule.metric], gone_ns))
        reservation = self._standing[hold_id] = Reservation(hold_id, parts, self._standing)
        return reservation


def _costs(input_tokens: int, output_tokens: int) -> tuple[int, ...]:
    """What one request costs, by metric."""
    return 0, 1, input_tokens + output_tokens, input_tokens, output_tokens, 1


_NOTHING: Final = (0, 0, 0, 0, 0, 0)
_TAKEN_ELSEWHERE: Final = (0, 1, 0, 0, 0, 1)
"""The request was counted where it was let pass. Its tokens count here when it says how many they were."""


def _wait_ns(rule: Rule, counter: Counter, cost: int, now_ns: int) -> int:
    if rule.metric == _CONCURRENT:
        return 0 if counter.under_way < rule.amount else _ANOTHER_ENDS_NS
    return counter.bucket.wait_ns(rule.amount, cost, now_ns)


def _refusal(rule: Rule, wait_ns: int) -> Refusal:
    wait_ms = _ms(wait_ns)
    if rule.metric == _CONCURRENT:
        advice = "try again when one of them has ended"
    elif not rule.amount:
        advice = "nothing passes it"
    else:
        advice = f"try again in {ceil(wait_ms / 10) / 100:.2f} s"
    return Refusal(
        Kind.RATE_LIMITED,
        f"{rule.said} is reached; {advice}",
        retry_after_ms=str(wait_ms),
        metric=metric_name(rule.metric),
        limit=str(rule.amount),
        scope=rule.scope,
    )


def _ns(now_s: float) -> int:
    return int(now_s * 1_000_000_000)


def _ms(ns: int) -> int:
    return -(-ns // _MS_NS)
