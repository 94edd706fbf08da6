"""The ledger's gRPC services: LedgerService for auth and operators, UsageService for everybody who may read usage."""

import re
from datetime import datetime
from typing import Any, Final

from nats.aio.client import Client

from services.ledger.settings import LedgerSettings
from services.ledger.settlement import instant, unix_ms
from services.ledger.store import PriceRow, Store, UsageSum
from services.ledger.waiters import Waiters
from services.shared import bus, clock, ids
from services.shared.errors import Kind, Refusal
from services.shared.money import NANO_PER_DOLLAR
from services.shared.pricing import Rates
from tollhouse.v1 import ledger_pb2, ledger_pb2_grpc, types_pb2, usage_pb2, usage_pb2_grpc

_FRESH_MS: Final = 3_600_000  # a request may run this long, and its event comes at its end
_RECHECK_S: Final = 0.25  # another replica may book what this one's callers wait for
_MAX_TOP_UP_NANO: Final = 10_000_000 * NANO_PER_DOLLAR
_MAX_PICO: Final = 10**12  # $1 a token
_TENANT: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

Context = Any


class LedgerApi(ledger_pb2_grpc.LedgerServiceServicer):
    """Credit, balances and prices."""

    def __init__(self, store: Store, nc: Client, settings: LedgerSettings) -> None:
        self._store = store
        self._nc = nc
        self._ttl_s = settings.grant_ttl_s

    async def RaiseGrant(
        self, request: ledger_pb2.RaiseGrantRequest, context: Context
    ) -> ledger_pb2.RaiseGrantResponse:
        if not request.grant_id or not request.tenant_id or not request.holder or request.want_nano < 0:
            raise Refusal(Kind.INVALID_REQUEST, "grant_id, tenant_id, holder and want_nano are needed")
        granted, available = await self._store.raise_grant(
            request.grant_id, request.tenant_id, request.holder, request.want_nano, self._ttl_s
        )
        return ledger_pb2.RaiseGrantResponse(
            granted_nano=granted, available_nano=available, expires_ms=self._expires_ms()
        )

    async def RenewGrants(
        self, request: ledger_pb2.RenewGrantsRequest, context: Context
    ) -> ledger_pb2.RenewGrantsResponse:
        alive = await self._store.renew_grants(request.holder, request.grant_ids, self._ttl_s)
        return ledger_pb2.RenewGrantsResponse(grant_ids=alive, expires_ms=self._expires_ms())

    async def CloseGrant(
        self, request: ledger_pb2.CloseGrantRequest, context: Context
    ) -> ledger_pb2.CloseGrantResponse:
        if request.settled_nano < 0:
            raise Refusal(Kind.INVALID_REQUEST, "settled_nano is below 0")
        await self._store.close_grant(request.grant_id, request.settled_nano)
        return ledger_pb2.CloseGrantResponse()

    async def TopUp(self, request: ledger_pb2.TopUpRequest, context: Context) -> ledger_pb2.TopUpResponse:
        if not _TENANT.fullmatch(request.tenant_id):
            raise Refusal(Kind.INVALID_REQUEST, f"{request.tenant_id!r} is not a tenant id")
        if not 0 < request.amount_nano <= _MAX_TOP_UP_NANO:
            raise Refusal(Kind.INVALID_REQUEST, "amount_nano must be above 0 and at most ten million dollars")
        if not request.idempotency_key or not request.reason:
            raise Refusal(Kind.INVALID_REQUEST, "idempotency_key and reason are needed")
        balance, repeated = await self._store.top_up(
            request.tenant_id, request.amount_nano, request.idempotency_key, request.reason
        )
        return ledger_pb2.TopUpResponse(balance_nano=balance, repeated=repeated)

    async def SetPrice(self, request: ledger_pb2.SetPriceRequest, context: Context) -> ledger_pb2.SetPriceResponse:
        price = request.price
        rates = Rates(
            0,
            price.input_pico,
            price.output_pico,
            price.cache_read_pico,
            price.cache_write_5m_pico,
            price.cache_write_1h_pico,
        )
        if not price.model or len(price.model) > 200:
            raise Refusal(Kind.INVALID_REQUEST, "model is needed, of at most 200 characters")
        if min(rates.input, rates.output, rates.cache_read, rates.cache_write_5m, rates.cache_write_1h) < 0:
            raise Refusal(Kind.INVALID_REQUEST, "a rate is below 0")
        if max(rates.dearest_input, rates.output) > _MAX_PICO:
            raise Refusal(Kind.INVALID_REQUEST, "a rate is above a dollar a token")
        row = await self._store.set_price(price.model, rates)
        await bus.announce(self._nc, bus.PRICES_CHANGED, price.model.encode())
        return ledger_pb2.SetPriceResponse(price=_price(row))

    async def ListPrices(
        self, request: ledger_pb2.ListPricesRequest, context: Context
    ) -> ledger_pb2.ListPricesResponse:
        return ledger_pb2.ListPricesResponse(prices=[_price(row) for row in await self._store.prices_in_force()])

    def _expires_ms(self) -> int:
        return clock.now_ms() + int(self._ttl_s * clock.MS_PER_S)


class UsageApi(usage_pb2_grpc.UsageServiceServicer):
    """What was used and what is left."""

    def __init__(self, store: Store, waiters: Waiters, settings: LedgerSettings) -> None:
        self._store = store
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
            usage = await self._store.usage(request_id, created_at)
            left_s = deadline - clock.monotonic_s()
            if (usage is not None and usage.complete) or left_s <= 0:
                return usage
            await self._waiters.wait(request_id, min(left_s, _RECHECK_S))

    async def ListUsage(self, request: usage_pb2.ListUsageRequest, context: Context) -> usage_pb2.ListUsageResponse:
        if not request.tenant_id or request.page_size > 1000:
            raise Refusal(Kind.INVALID_REQUEST, "tenant_id is needed, and page_size may be at most 1000")
        size = request.page_size or 100
        rows = await self._store.usage_page(request.tenant_id, size + 1, _position(request.page_token))
        token = rows[size - 1].request_id if len(rows) > size else ""
        return usage_pb2.ListUsageResponse(usages=[_usage(row) for row in rows[:size]], next_page_token=token)

    async def GetBalance(self, request: usage_pb2.GetBalanceRequest, context: Context) -> usage_pb2.GetBalanceResponse:
        balance, granted = await self._store.balance(request.tenant_id)
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


def _price(row: PriceRow) -> ledger_pb2.Price:
    rates = row.rates
    return ledger_pb2.Price(
        price_version=rates.price_version,
        model=row.model,
        input_pico=rates.input,
        output_pico=rates.output,
        cache_read_pico=rates.cache_read,
        cache_write_5m_pico=rates.cache_write_5m,
        cache_write_1h_pico=rates.cache_write_1h,
        effective_ms=row.effective_ms,
    )
