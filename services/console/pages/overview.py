"""A customer's first page: what there is, what was spent, how much was asked."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from services.console.console import console_of
from services.console.guards import customer
from services.console.visit import tenant_of
from services.shared import clock
from tollhouse.v1 import auth_pb2, usage_pb2

_DAYS: Final = 7
_DAY_MS: Final = 24 * 3600 * clock.MS_PER_S


@dataclass(frozen=True, slots=True)
class Day:
    """What one day of UTC saw."""

    start: datetime
    requests: int = 0
    cost_nano: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    @property
    def cached_percent(self) -> int:
        """How much of the prompts came from a cache."""
        return 100 * self.cached_tokens // self.prompt_tokens if self.prompt_tokens else 0


async def overview(request: Request) -> Response:
    """Balance, held, spend today, and the requests of the last days."""
    console, tenant_id = console_of(request), tenant_of(request)
    now_ms = clock.now_ms()
    balance, summary, tenant = await asyncio.gather(
        console.clients.usage.GetBalance(usage_pb2.GetBalanceRequest(tenant_id=tenant_id)),
        console.clients.usage.SummarizeUsage(
            usage_pb2.SummarizeUsageRequest(
                tenant_id=tenant_id,
                period=usage_pb2.USAGE_PERIOD_DAY,
                from_ms=now_ms - (_DAYS - 1) * _DAY_MS,
                to_ms=now_ms,
            )
        ),
        console.clients.auth.GetTenant(auth_pb2.GetTenantRequest(tenant_id=tenant_id)),
    )
    days = by_day(summary.buckets, now_ms)
    return console.renderer.page(
        request, "overview.html", balance=balance, days=days, today=days[-1], tenant=tenant.tenant
    )


def by_day(buckets: Iterable[usage_pb2.UsageBucket], now_ms: int) -> list[Day]:
    """The last days up to today, those without usage too."""
    by_start = {bucket.start_ms: bucket for bucket in buckets}
    today = datetime.fromtimestamp(now_ms / clock.MS_PER_S, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    found = []
    for start in (today - timedelta(days=back) for back in reversed(range(_DAYS))):
        bucket = by_start.get(int(start.timestamp()) * clock.MS_PER_S)
        found.append(_day(start, bucket) if bucket else Day(start))
    return found


def _day(start: datetime, bucket: usage_pb2.UsageBucket) -> Day:
    tokens = bucket.tokens
    prompt = tokens.input + tokens.cache_read + tokens.cache_write_5m + tokens.cache_write_1h
    return Day(start, bucket.requests, bucket.cost_nano, prompt, tokens.cache_read, tokens.output)


routes = [customer("/dashboard", overview)]
