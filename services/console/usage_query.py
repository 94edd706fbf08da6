"""What the usage explorer was asked for: filters, span, and how to tell apart, from the page's own address. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from services.shared import clock, ids
from tollhouse.v1 import events_pb2, usage_pb2

RANGES: Final = {"24h": "Last 24 hours", "7d": "Last 7 days", "30d": "Last 30 days", "90d": "Last 90 days"}
PERIODS: Final = {"hour": "By hour", "day": "By day"}
GROUPS: Final = {"": "All together", "model": "Each model", "key": "Each key"}
MEASURES: Final = {"cost": "Spend", "requests": "Requests", "tokens": "Tokens"}
STATUSES: Final = {
    name.removeprefix("USAGE_STATUS_").lower(): number for name, number in events_pb2.UsageStatus.items() if number
}
_SPANS: Final = {
    "24h": timedelta(hours=23),
    "7d": timedelta(days=6),
    "30d": timedelta(days=29),
    "90d": timedelta(days=89),
}
_USUAL: Final = "7d"
_HOURS_MOST: Final = timedelta(days=31)
_DAYS_MOST: Final = timedelta(days=366)
_DAY_MS: Final = 24 * 3600 * clock.MS_PER_S
_TEXT_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """One view of usage. Instants are Unix milliseconds; the end is exclusive."""

    from_ms: int
    to_ms: int
    range: str
    """One of RANGES; empty where dates were chosen."""
    since: str
    until: str
    """The dates of UTC that were chosen, both included; empty without."""
    period: str
    by: str
    measure: str
    key_id: str
    model: str
    status: str
    after: str
    """The request behind which the page of the list begins."""

    @classmethod
    def read(cls, asked: Mapping[str, str], now_ms: int) -> UsageQuery:
        """What an address asks for. What makes no sense is as if it had not been said: addresses are typed, and shared,
        and grow old."""
        now = datetime.fromtimestamp(now_ms / clock.MS_PER_S, UTC)
        since, until = _date(asked.get("since", "")), _date(asked.get("until", ""))
        if since and until and since <= until and until - since < _DAYS_MOST:
            span, begin, end = "", since, until + timedelta(days=1)
        else:
            span, since, until = _one_of(RANGES, asked.get("range", ""), _USUAL), None, None
            begin, end = _begin(now, span), now + timedelta(minutes=1)
        short = end - begin <= timedelta(days=2)
        period = _one_of(PERIODS, asked.get("period", ""), "hour" if short else "day")
        if end - begin > _HOURS_MOST:
            period = "day"
        after = asked.get("after", "")
        return cls(
            from_ms=_ms(begin),
            to_ms=_ms(end),
            range=span,
            since=since.date().isoformat() if since else "",
            until=until.date().isoformat() if until else "",
            period=period,
            by=_one_of(GROUPS, asked.get("by", ""), ""),
            measure=_one_of(MEASURES, asked.get("measure", ""), "cost"),
            key_id=_text(asked.get("key", "")),
            model=_text(asked.get("model", "")),
            status=_one_of(STATUSES, asked.get("status", ""), ""),
            after=after if ids.created_ms(after) is not None else "",
        )

    def address(self, **changed: str) -> str:
        """The query string of this view, with some of it changed. A list begins anew unless `after` is said."""
        said = {
            "range": self.range,
            "since": self.since,
            "until": self.until,
            "period": self.period,
            "by": self.by,
            "measure": self.measure,
            "key": self.key_id,
            "model": self.model,
            "status": self.status,
        }
        return urlencode({name: value for name, value in (said | changed).items() if value})

    def listed(self, tenant_id: str, size: int) -> usage_pb2.ListUsageRequest:
        """A page of the requests of this view."""
        return usage_pb2.ListUsageRequest(
            tenant_id=tenant_id,
            page_size=size,
            page_token=self.after,
            key_id=self.key_id,
            model=self.model,
            status=STATUSES[self.status] if self.status else events_pb2.USAGE_STATUS_UNSPECIFIED,
            from_ms=self.from_ms,
            to_ms=self.to_ms,
        )

    def summed(self, tenant_id: str, subject: str = "") -> usage_pb2.SummarizeUsageRequest:
        """The sums of this view over time, of all or of one subject of those that it tells apart. Sums are of requests
        of every status."""
        return usage_pb2.SummarizeUsageRequest(
            tenant_id=tenant_id,
            period=usage_pb2.USAGE_PERIOD_HOUR if self.period == "hour" else usage_pb2.USAGE_PERIOD_DAY,
            from_ms=self.from_ms,
            to_ms=self.to_ms - 1,
            key_id=subject if subject and self.by == "key" else self.key_id,
            model=subject if subject and self.by == "model" else self.model,
        )

    def told_apart(self, tenant_id: str) -> usage_pb2.SummarizeUsageRequest:
        """The sums of each subject over the whole span."""
        asked = self.whole(tenant_id, usage_pb2.USAGE_GROUP_KEY if self.by == "key" else usage_pb2.USAGE_GROUP_MODEL)
        asked.key_id, asked.model = self.key_id, self.model
        return asked

    def whole(self, tenant_id: str, group: usage_pb2.UsageGroup.ValueType) -> usage_pb2.SummarizeUsageRequest:
        """Sums of the whole span, filters aside. A span of days ends with its last day, which is summed as a whole."""
        days = self.from_ms % _DAY_MS == 0
        return usage_pb2.SummarizeUsageRequest(
            tenant_id=tenant_id,
            period=usage_pb2.USAGE_PERIOD_WHOLE,
            groups=[group],
            from_ms=self.from_ms,
            to_ms=self.to_ms + -self.to_ms % _DAY_MS if days else self.to_ms - 1,
        )

    def behind(self, request_id: str) -> UsageQuery:
        """The same view, further down its list."""
        return replace(self, after=request_id)


def _begin(now: datetime, span: str) -> datetime:
    """Spans begin with a whole hour or a whole day, as their sums do."""
    whole = now.replace(minute=0, second=0, microsecond=0)
    return whole - _SPANS[span] if span == "24h" else whole.replace(hour=0) - _SPANS[span]


def _date(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None


def _one_of(known: Mapping[str, object], asked: str, usual: str) -> str:
    return asked if asked in known else usual


def _text(text: str) -> str:
    return text[:_TEXT_MOST].replace("\0", "")


def _ms(at: datetime) -> int:
    return int(at.timestamp()) * clock.MS_PER_S
