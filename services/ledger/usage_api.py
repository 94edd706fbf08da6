"""The ledger's gRPC service for everybody who may read usage."""

from datetime import datetime
from typing import Any, Final

from services.ledger.settings import LedgerSettings
from services.ledger.settlement import instant, unix_ms
from services.ledger.store.balances import BalanceStore
from services.ledger.store.usage import UsageStore, UsageSum
from services.ledger.waiters import Waiters
from services.shared import clock, ids
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import types_pb2, usage_pb2, usage_pb2_grpc

_FRESH_MS: Final = 3_600_000  # a request may run this long, and its event comes at its end
_RECHECK_S: Final = 0.25  # another replica may book what this one's callers wait for

Context = Any


class UsageApi(usage_pb2_grpc.UsageServiceServicer):
    """What was used and what is left."""

    def __init__(self, usage: UsageStore, balances: BalanceStore, waiters: Waiters, settings: LedgerSettings) -> None:
        self._usage = usage
        self._balances = balances
        self._waiters = waiters
        self._wait_max_ms = settings.usage_wait_max_ms

    async def GetUsage(self, request: usage_pb2.GetUsageRequest, context: Context) -> usage_pb2.GetUsageResponse:
        unknown = Refusal(Kind.USAGE_UNKNOWN, f"there is no request {request.request_id!r}")
        created_ms = ids.created_ms(request.request_id)
        if created_ms is None:
            raise unknown
        fresh = abs(clock.now_ms() - created_ms) < _FRESH_MS
        wait_s = min(request.wait_ms, self._wait_max_ms) / clock.MS_PER_S if fresh else 0
        usage = await self._complete_usage(request.request_id, instant(created_ms), wait_s)
        if usage is None or request.tenant_id not in ("", usage.tenant_id):
            raise unknown
        return usage_pb2.GetUsageResponse(usage=_usage(usage))

    async def _complete_usage(self, request_id: str, created_at: datetime, wait_s: float) -> UsageSum | None:
        """Looks until the request's last attempt is booked or the wait is over."""
        deadline = clock.monotonic_s() + wait_s
        while True:
            usage = await self._usage.usage(request_id, created_at)
            left_s = deadline - clock.monotonic_s()
            if (usage is not None and usage.complete) or left_s <= 0:
                return usage
            await self._waiters.wait(request_id, min(left_s, _RECHECK_S))

    async def ListUsage(self, request: usage_pb2.ListUsageRequest, context: Context) -> usage_pb2.ListUsageResponse:
        if not request.tenant_id or request.page_size > 1000:
            raise Refusal(Kind.INVALID_REQUEST, "tenant_id is needed, and page_size may be at most 1000")
        size = request.page_size or 100
        rows = await self._usage.usage_page(request.tenant_id, size + 1, _position(request.page_token))
        token = rows[size - 1].request_id if len(rows) > size else ""
        return usage_pb2.ListUsageResponse(usages=[_usage(row) for row in rows[:size]], next_page_token=token)

    async def GetBalance(self, request: usage_pb2.GetBalanceRequest, context: Context) -> usage_pb2.GetBalanceResponse:
        balance, granted = await self._balances.balance(request.tenant_id)
        return usage_pb2.GetBalanceResponse(balance_nano=balance, granted_nano=granted)


def _position(page_token: str) -> tuple[datetime, str] | None:
    if not page_token:
        return None
    created_ms = ids.created_ms(page_token)
    if created_ms is None:
        raise Refusal(Kind.INVALID_REQUEST, "page_token is not one of ours")
    return instant(created_ms), page_token


def _usage(row: UsageSum) -> usage_pb2.Usage:
    return usage_pb2.Usage(
        request_id=row.request_id,
        tenant_id=row.tenant_id,
        key_id=row.key_id,
        model=row.model,
        status=row.status,  # type: ignore[arg-type]
        tokens=types_pb2.TokenCounts(
            input=row.input_tokens,
            output=row.output_tokens,
            cache_read=row.cache_read_tokens,
            cache_write_5m=row.cache_write_5m_tokens,
            cache_write_1h=row.cache_write_1h_tokens,
        ),
        cost_nano=row.cost_nano,
        price_version=row.price_version,
        created_ms=unix_ms(row.created_at),
        duration_ms=row.duration_ms,
        first_token_ms=row.first_token_ms,
        estimated=row.estimated,
        attempts=row.attempts,
    )
