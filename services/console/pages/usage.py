"""The usage explorer: sums over time, by key and model, the requests themselves, and all of them as CSV."""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from services.console import usage_query, usage_sums
from services.console.console import Console, console_of
from services.console.guards import customer
from services.console.pages.keys import keys_of
from services.console.usage_query import UsageQuery
from services.console.usage_sums import Sums
from services.console.visit import tenant_of
from services.shared import clock
from services.shared.money import dollars
from tollhouse.v1 import auth_pb2, events_pb2, usage_pb2

PATH: Final = "/dashboard/usage"
_PAGE: Final = 25
_EXPORT_PAGE: Final = 1000
_COLUMNS: Final = (
    *("request_id", "created_at", "key_id", "key_name", "model", "status"),
    *("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"),
    *("cost_usd", "price_version", "multiplier", "duration_ms", "first_token_ms", "attempts", "estimated"),
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


async def usage(request: Request) -> Response:
    """What was used in a span: figures, a chart, the greatest keys or models, and a page of requests."""
    console, tenant_id = console_of(request), tenant_of(request)
    query = UsageQuery.read(request.query_params, clock.now_ms())
    summarize = console.clients.usage.SummarizeUsage
    summary, listed, keys, models, subjects = await asyncio.gather(
        summarize(query.summed(tenant_id)),
        console.clients.usage.ListUsage(query.listed(tenant_id, _PAGE)),
        keys_of(console, tenant_id),
        _models(console, tenant_id, query),
        _subjects(console, tenant_id, query),
    )
    names = {key.key_id: key.name for key in keys}
    greatest = usage_sums.greatest(subjects, query.measure)
    told = await asyncio.gather(*(summarize(query.summed(tenant_id, subject)) for subject in greatest))
    buckets = summary.buckets
    shown, rest, further = usage_sums.shortened(subjects)
    return console.renderer.page(
        request,
        "usage.html",
        query=query,
        options=usage_query,
        range_options=({} if query.range else {"": f"{query.since} to {query.until}"}) | usage_query.RANGES,
        key_options=key_options(keys, query.key_id),
        model_options={"": "All models"} | {model: model for model in models},
        names=names,
        total=usage_sums.total(buckets),
        subjects=shown,
        rest=rest,
        further=further,
        chart_of=usage_sums.chart(
            buckets,
            {subject: series.buckets for subject, series in zip(greatest, told, strict=True)},
            query.measure,
            usage_sums.starts(query.from_ms, query.to_ms, query.period),
            others=len(subjects) > len(greatest),
        ),
        label=usage_sums.label,
        usages=listed.usages,
        status_of=status_of,
        older=query.address(after=listed.next_page_token) if listed.next_page_token else "",
    )


async def export(request: Request) -> Response:
    """Every request of the same span and filters as CSV, a line as soon as it is read."""
    console, tenant_id = console_of(request), tenant_of(request)
    query = UsageQuery.read({**request.query_params, "after": ""}, clock.now_ms())
    names = {key.key_id: key.name for key in await keys_of(console, tenant_id)}
    first = await console.clients.usage.ListUsage(query.listed(tenant_id, _EXPORT_PAGE))  # a refusal is a page still
    day = "%Y-%m-%d"
    begin, end = (
        datetime.fromtimestamp(ms / clock.MS_PER_S, UTC).strftime(day) for ms in (query.from_ms, query.to_ms - 1)
    )
    return StreamingResponse(
        _lines(console, tenant_id, query, first, names),
        media_type="text/csv",
        headers={"content-disposition": f'attachment; filename="usage-{begin}-{end}.csv"'},
    )


async def _lines(
    console: Console, tenant_id: str, query: UsageQuery, page: usage_pb2.ListUsageResponse, names: dict[str, str]
) -> AsyncIterator[str]:
    yield csv_lines([_COLUMNS])
    while True:
        yield csv_lines(csv_row(usage, names.get(usage.key_id, "")) for usage in page.usages)
        if not page.next_page_token:
            return
        query = query.behind(page.next_page_token)
        page = await console.clients.usage.ListUsage(query.listed(tenant_id, _EXPORT_PAGE))


def key_options(keys: Iterable[auth_pb2.Key], chosen: str) -> dict[str, str]:
    """What the filter offers, newest first; a key that was deleted stays while it is chosen."""
    offered = {"": "All keys"} | {key.key_id: key.name for key in reversed(list(keys))}
    return offered if chosen in offered else offered | {chosen: f"deleted key {chosen[-6:]}"}


def csv_row(usage: usage_pb2.Usage, key_name: str) -> list[str]:
    """A request as a line. A name that a spreadsheet would take for a formula gets an apostrophe before it, which the
    spreadsheet does not show (https://owasp.org/www-community/attacks/CSV_Injection)."""
    tokens = usage.tokens
    counts = (tokens.input, tokens.output, tokens.cache_read, tokens.cache_write_5m, tokens.cache_write_1h)
    texts = (usage.key_id, key_name, usage.model)
    return [
        usage.request_id,
        datetime.fromtimestamp(usage.created_ms / clock.MS_PER_S, UTC).isoformat(timespec="milliseconds"),
        *("'" + text if text.startswith(_FORMULA) else text for text in texts),
        status_of(usage.status),
        *map(str, counts),
        dollars(usage.cost_nano).removeprefix("$"),
        str(usage.price_version),
        f"{usage.multiplier_ppm / 1_000_000:g}",
        *map(str, (usage.duration_ms, usage.first_token_ms, usage.attempts)),
        "yes" if usage.estimated else "no",
    ]


def csv_lines(rows: Iterable[Iterable[str]]) -> str:
    """Rows as RFC 4180 has them."""
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue()


def status_of(status: events_pb2.UsageStatus.ValueType) -> str:
    """ok, client_fault and so on."""
    return events_pb2.UsageStatus.Name(status).removeprefix("USAGE_STATUS_").lower()


async def _models(console: Console, tenant_id: str, query: UsageQuery) -> list[str]:
    """The models that were used in the span, by any key: what the filter offers."""
    summary = await console.clients.usage.SummarizeUsage(query.whole(tenant_id, usage_pb2.USAGE_GROUP_MODEL))
    return sorted({bucket.model for bucket in summary.buckets} | ({query.model} if query.model else set()))


async def _subjects(console: Console, tenant_id: str, query: UsageQuery) -> dict[str, Sums]:
    """What each key or model that was used comes to, the dearest first; none where they are not told apart."""
    if not query.by:
        return {}
    summary = await console.clients.usage.SummarizeUsage(query.told_apart(tenant_id))
    return usage_sums.by_subject(summary.buckets, query.by)


routes = [customer(PATH, usage), customer(f"{PATH}.csv", export)]
