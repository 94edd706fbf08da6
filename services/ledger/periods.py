"""The time that a summary of usage covers: whole hours or days of UTC, and not too many of them. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_EPOCH_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Period:
    """How long a bucket is, and how much time a summary covers at most and when nothing is said."""

    name: str
    length: timedelta
    usual: timedelta
    most: timedelta


HOUR: Final = Period("hour", _HOUR, _DAY, 31 * _DAY)
DAY: Final = Period("day", _DAY, 30 * _DAY, 366 * _DAY)
WHOLE: Final = Period("whole", _HOUR, 30 * _DAY, 366 * _DAY)
"""One bucket for all of the time, which is of whole hours."""


def span(period: Period, from_at: datetime | None, to_at: datetime | None, now: datetime) -> tuple[datetime, datetime]:
    """From the start of the first bucket to the end of the last. Raises ValueError when that is no time or too much."""
    end = _floor((to_at or now) - _EPOCH_TICK, period) + period.length
    begin = _floor(from_at, period) if from_at is not None else end - period.usual
    if begin >= end:
        raise ValueError("from is not before to")
    if end - begin > period.most:
        raise ValueError(f"from is more than {period.most.days} days before to, the most for {period.name}s")
    return begin, end


def _floor(at: datetime, period: Period) -> datetime:
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight if period.length == _DAY else midnight.replace(hour=at.hour)
