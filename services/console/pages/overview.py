"""A customer's first page: what there is, what was spent, how much is asked, live."""

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from services.console import usage_sums
from services.console.console import Console, console_of
from services.console.guards import customer
from services.console.pages.keys import keys_of
from services.console.usage_sums import Sums
from services.console.visit import tenant_of
from services.shared import clock
from tollhouse.v1 import auth_pb2, usage_pb2

PATH: Final = "/dashboard"
_DAYS: Final = 7
_DAY_MS: Final = 24 * 3600 * clock.MS_PER_S
_MINUTE_MS: Final = 60 * clock.MS_PER_S
_SAMPLE: Final = 1000
_LIVE_MS: Final = 3600 * clock.MS_PER_S
"""A page that is left open asks for so long: without an end it would keep its session alive for ever."""
_STOP_ASKING: Final = 286  # of htmx: https://htmx.org/docs/#polling


@dataclass(frozen=True, slots=True)
class Figures:
    """What the top of the page says."""

    balance: usage_pb2.GetBalanceResponse
    days: list[tuple[int, Sums]]
    """Each of the last days by its beginning, today last."""
    tokens_a_minute: int
    requests_a_minute: int


async def overview(request: Request) -> Response:
    """Balance, spend, cache, pace, and the requests of the last days."""
    console, tenant_id = console_of(request), tenant_of(request)
    figures, tenant, keys = await asyncio.gather(
        _figures(console, tenant_id),
        console.clients.auth.GetTenant(auth_pb2.GetTenantRequest(tenant_id=tenant_id)),
        keys_of(console, tenant_id),
    )
    return console.renderer.page(
        request,
        "overview.html",
        **_said(figures),
        tenant=tenant.tenant,
        keys=keys,
        until_ms=clock.now_ms() + _LIVE_MS,
    )


async def live(request: Request) -> Response:
    """The figures alone, for a page that is open. Once its time is over, they say that they rest."""
    console, until = console_of(request), request.query_params.get("until", "")
    over = not until.isascii() or not until.isdecimal() or clock.now_ms() > int(until[:15])
    figures = await _figures(console, tenant_of(request))
    return console.renderer.page(
        request, "overview_figures.html", _STOP_ASKING if over else 200, **_said(figures) | {"resting": over}
    )


async def _figures(console: Console, tenant_id: str) -> Figures:
    now_ms = clock.now_ms()
    balance, summary, newest = await asyncio.gather(
        console.clients.usage.GetBalance(usage_pb2.GetBalanceRequest(tenant_id=tenant_id)),
        console.clients.usage.SummarizeUsage(
            usage_pb2.SummarizeUsageRequest(
                tenant_id=tenant_id,
                period=usage_pb2.USAGE_PERIOD_DAY,
                from_ms=now_ms - (_DAYS - 1) * _DAY_MS,
                to_ms=now_ms,
            )
        ),
        console.clients.usage.ListUsage(
            usage_pb2.ListUsageRequest(tenant_id=tenant_id, page_size=_SAMPLE, from_ms=now_ms - _MINUTE_MS)
        ),
    )
    days = by_day(list(summary.buckets), now_ms)
    whole = not newest.next_page_token
    return Figures(
        balance,
        days,
        usage_sums.tokens_a_minute(newest.usages, whole, now_ms, _MINUTE_MS),
        usage_sums.a_minute(len(newest.usages), newest.usages, whole, now_ms, _MINUTE_MS),
    )


def by_day(buckets: list[usage_pb2.UsageBucket], now_ms: int) -> list[tuple[int, Sums]]:
    """The last days up to today, those without usage too."""
    starts = usage_sums.starts(now_ms - (_DAYS - 1) * _DAY_MS, now_ms + 1, "day")
    return [
        (start, usage_sums.total(bucket for bucket in buckets if bucket.start_ms == start)) for start in starts[-_DAYS:]
    ]


def _said(figures: Figures) -> dict[str, Any]:
    return {
        "figures": figures,
        "balance": figures.balance,
        "days": figures.days,
        "today": figures.days[-1][1],
        "label": usage_sums.label,
        "resting": False,
    }


routes = [customer(PATH, overview), customer(f"{PATH}/live", live)]
