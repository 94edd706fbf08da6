"""Sums of usage as charts, figures and tables show them, from the buckets that the ledger tells. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from services.shared import clock
from tollhouse.v1 import usage_pb2

SERIES_MOST: Final = 4
"""Lines of one chart; what is beyond goes into one more."""
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


def chart(
    buckets: Sequence[usage_pb2.UsageBucket], by: str, measure: str, starts: Sequence[int], names: Mapping[str, str]
) -> Chart:
    """One series for everything or, with `by`, one for each of the greatest subjects and one for all others. `names`
    says what subjects are called."""
    if not by:
        sums = {start: Sums() for start in starts}
        for bucket in buckets:
            if bucket.start_ms in sums:
                sums[bucket.start_ms].add(bucket)
        return Chart([""], [Row(start, [sums[start].measured(measure)]) for start in starts])
    ranked = sorted(by_subject(buckets, by).items(), key=lambda item: -item[1].measured(measure))
    shown = [subject for subject, _ in ranked[:SERIES_MOST]]
    columns = {subject: place for place, subject in enumerate(shown)}
    width = len(shown) + (len(ranked) > SERIES_MOST)
    values = {start: [Sums() for _ in range(width)] for start in starts}
    for bucket in buckets:
        if bucket.start_ms in values:
            values[bucket.start_ms][columns.get(_subject(bucket, by), len(shown))].add(bucket)
    labels = [names.get(subject, subject) for subject in shown] + [OTHERS] * (width - len(shown))
    return Chart(labels, [Row(start, [sums.measured(measure) for sums in values[start]]) for start in starts])


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
