"""Sums of usage as charts, figures and tables show them, from the buckets that the ledger tells. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from services.shared import clock
from tollhouse.v1 import usage_pb2

SERIES_MOST: Final = 4
"""Lines of one chart; what is beyond goes into one more."""
SUBJECTS_MOST: Final = 50
"""Lines of one table; what is beyond goes into one more."""
OTHERS: Final = "All others"
_HOUR_MS: Final = 3600 * clock.MS_PER_S
_DAY_MS: Final = 24 * _HOUR_MS


@dataclass(slots=True)
class Sums:
    """What some requests come to."""

    requests: int = 0
    prompt_tokens: int = 0
    """Input of every class: fresh, read from the cache, written to it."""
    cached_tokens: int = 0
    output_tokens: int = 0
    cost_nano: int = 0

    def add(self, bucket: usage_pb2.UsageBucket) -> None:
        """Takes a bucket in."""
        tokens = bucket.tokens
        self.requests += bucket.requests
        self.prompt_tokens += tokens.input + tokens.cache_read + tokens.cache_write_5m + tokens.cache_write_1h
        self.cached_tokens += tokens.cache_read
        self.output_tokens += tokens.output
        self.cost_nano += bucket.cost_nano

    def take(self, other: "Sums") -> None:
        """Takes other sums in."""
        self.requests += other.requests
        self.prompt_tokens += other.prompt_tokens
        self.cached_tokens += other.cached_tokens
        self.output_tokens += other.output_tokens
        self.cost_nano += other.cost_nano

    @property
    def tokens(self) -> int:
        """Of prompts and answers together."""
        return self.prompt_tokens + self.output_tokens

    @property
    def cached_percent(self) -> int:
        """How much of the prompts came from a cache."""
        return 100 * self.cached_tokens // self.prompt_tokens if self.prompt_tokens else 0

    def measured(self, measure: str) -> int:
        """One figure: cost, requests or tokens."""
        return {"cost": self.cost_nano, "requests": self.requests, "tokens": self.tokens}[measure]


@dataclass(frozen=True, slots=True)
class Row:
    """A moment of a chart: when it begins, and a value for each series."""

    start_ms: int
    values: Sequence[int]


@dataclass(frozen=True, slots=True)
class Chart:
    """What a chart draws: the names of its series, and its rows without gaps."""

    names: Sequence[str]
    rows: Sequence[Row]


def total(buckets: Iterable[usage_pb2.UsageBucket]) -> Sums:
    """All of it."""
    sums = Sums()
    for bucket in buckets:
        sums.add(bucket)
    return sums


def by_subject(buckets: Iterable[usage_pb2.UsageBucket], by: str) -> dict[str, Sums]:
    """Sums of each key or model, the dearest first."""
    found: dict[str, Sums] = {}
    for bucket in buckets:
        found.setdefault(_subject(bucket, by), Sums()).add(bucket)
    return dict(sorted(found.items(), key=lambda item: (-item[1].cost_nano, -item[1].requests, item[0])))


def greatest(subjects: Mapping[str, Sums], measure: str) -> list[str]:
    """Those that a chart shows, the greatest first."""
    return sorted(filter(None, subjects), key=lambda subject: -subjects[subject].measured(measure))[:SERIES_MOST]


def shortened(subjects: Mapping[str, Sums]) -> tuple[dict[str, Sums], Sums, int]:
    """The first of some subjects; what all others come to, and how many they are."""
    every = list(subjects.items())
    rest = Sums()
    for _, sums in every[SUBJECTS_MOST:]:
        rest.take(sums)
    return dict(every[:SUBJECTS_MOST]), rest, max(0, len(every) - SUBJECTS_MOST)


def chart(
    buckets: Iterable[usage_pb2.UsageBucket],
    told: Mapping[str, Iterable[usage_pb2.UsageBucket]],
    measure: str,
    starts: Sequence[int],
    *,
    others: bool = False,
) -> Chart:
    """One series for all `buckets` or, where some are told apart by their names, one for each of those; with `others`,
    one more for what they leave of all."""
    every = _over_time(buckets, measure, starts)
    if not told:
        return Chart([""], [Row(start, [value]) for start, value in zip(starts, every, strict=True)])
    series = [_over_time(of_one, measure, starts) for of_one in told.values()]
    if others:
        series.append([value - sum(parts) for value, *parts in zip(every, *series, strict=True)])
    labels = [*told, OTHERS] if others else list(told)
    return Chart(labels, [Row(start, values) for start, values in zip(starts, zip(*series, strict=True), strict=True)])


def _over_time(buckets: Iterable[usage_pb2.UsageBucket], measure: str, starts: Sequence[int]) -> list[int]:
    sums = {start: Sums() for start in starts}
    for bucket in buckets:
        if bucket.start_ms in sums:
            sums[bucket.start_ms].add(bucket)
    return [sums[start].measured(measure) for start in starts]


def starts(from_ms: int, to_ms: int, period: str) -> list[int]:
    """When each hour or day of UTC begins that lies in a span, whole or in part."""
    length = _HOUR_MS if period == "hour" else _DAY_MS
    return list(range(from_ms - from_ms % length, to_ms, length))


def label(start_ms: int, period: str) -> str:
    """A moment under a chart, in UTC: 21 Nov, 21 Nov 16h."""
    at = datetime.fromtimestamp(start_ms / clock.MS_PER_S, UTC)
    return at.strftime("%-d %b %Hh" if period == "hour" else "%-d %b")


def tokens_a_minute(usages: Sequence[usage_pb2.Usage], whole: bool, now_ms: int, window_ms: int) -> int:
    """The pace of tokens of every class, from the newest requests of a window."""
    counts = (usage.tokens for usage in usages)
    tokens = sum(
        count.input + count.output + count.cache_read + count.cache_write_5m + count.cache_write_1h for count in counts
    )
    return a_minute(tokens, usages, whole, now_ms, window_ms)


def a_minute(amount: int, usages: Sequence[usage_pb2.Usage], whole: bool, now_ms: int, window_ms: int) -> int:
    """What `amount` of these requests, newest first, is in a minute. Where they are not all that the window saw
    (`whole` is false), it is of the time that they cover."""
    covered_ms = window_ms if whole or not usages else max(1, now_ms - usages[-1].created_ms)
    return amount * 60 * clock.MS_PER_S // covered_ms


def _subject(bucket: usage_pb2.UsageBucket, by: str) -> str:
    return bucket.key_id if by == "key" else bucket.model
