"""Every process of the deployment as it announces itself, and what the gateway did today."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from services.console import live
from services.console.console import console_of
from services.console.guards import operator
from services.shared import clock
from tollhouse.v1 import ledger_pb2, router_pb2, usage_pb2

_SERVICES: Final = ("edge", "auth", "router", "ledger")
_SILENT_MS: Final = 4000
_HOUR_MS: Final = 3600 * clock.MS_PER_S
_HOURS: Final = 24


@dataclass(frozen=True, slots=True)
class Work:
    """What all edges and ledgers say together, of the last minute."""

    requests: int
    failed: int
    in_flight: int
    unsent: int
    p50_ms: int
    p95_ms: int
    unbooked: int
    lag_ms: int


@dataclass(frozen=True, slots=True)
class Hour:
    """What one hour saw."""

    start: datetime
    requests: int = 0
    cost_nano: int = 0


async def show(request: Request) -> Response:
    """The page; `part` is what its stream goes on sending."""
    clients, now_ms = console_of(request).clients, clock.now_ms()
    part, summary, cooling, disabled = await asyncio.gather(
        _part(request),
        clients.usage.SummarizeUsage(
            usage_pb2.SummarizeUsageRequest(
                period=usage_pb2.USAGE_PERIOD_HOUR, from_ms=now_ms - (_HOURS - 1) * _HOUR_MS, to_ms=now_ms
            )
        ),
        clients.router.ListUpstreamAccounts(router_pb2.ListUpstreamAccountsRequest(page_size=5, cooling=True)),
        clients.router.ListUpstreamAccounts(router_pb2.ListUpstreamAccountsRequest(page_size=1, disabled=True)),
    )
    return console_of(request).renderer.page(
        request,
        "operators/fleet.html",
        part=part,
        hours=by_hour(summary.buckets, now_ms),
        cooling=cooling,
        disabled=disabled.total,
    )


async def watch(request: Request) -> Response:
    """The live part, again and again."""
    return live.stream(request, lambda: _part(request))


async def _part(request: Request) -> str:
    console = console_of(request)
    listed = await console.clients.ledger.ListReplicas(ledger_pb2.ListReplicasRequest())
    return console.renderer.piece(request, "operators/fleet_part.html", **part_of(listed.replicas))


def part_of(replicas: Iterable[ledger_pb2.Replica]) -> Mapping[str, Any]:
    """What the live part shows."""
    every = list(replicas)
    return {
        "work": _work([replica for replica in every if replica.silent_ms < _SILENT_MS]),
        "services": [(name, [replica for replica in every if replica.service == name]) for name in _SERVICES],
        "silent_ms": _SILENT_MS,
    }


def _work(replicas: list[ledger_pb2.Replica]) -> Work:
    def of(service: str, name: str) -> list[int]:
        return [int(replica.figures.get(name, 0)) for replica in replicas if replica.service == service]

    return Work(
        requests=sum(of("edge", "requests")),
        failed=sum(of("edge", "failed")),
        in_flight=sum(of("edge", "in_flight")),
        unsent=sum(of("edge", "unsent")),
        p50_ms=max(of("edge", "p50_ms"), default=0),
        p95_ms=max(of("edge", "p95_ms"), default=0),
        # Each ledger says the same of the one stream that they all book from.
        unbooked=max(of("ledger", "unbooked"), default=0),
        lag_ms=max(of("ledger", "lag_ms"), default=0),
    )


def by_hour(buckets: Iterable[usage_pb2.UsageBucket], now_ms: int) -> list[Hour]:
    """The last day's hours, those without usage too."""
    by_start = {bucket.start_ms: bucket for bucket in buckets}
    last = now_ms - now_ms % _HOUR_MS
    found = []
    for start_ms in range(last - (_HOURS - 1) * _HOUR_MS, last + 1, _HOUR_MS):
        start, bucket = datetime.fromtimestamp(start_ms / clock.MS_PER_S, UTC), by_start.get(start_ms)
        found.append(Hour(start, bucket.requests, bucket.cost_nano) if bucket else Hour(start))
    return found


routes = [operator("/operator", show), operator("/operator/fleet/live", watch)]
