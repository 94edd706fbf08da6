"""The ledger's gRPC service for auth and operators: credit, balances, prices."""

import re
from typing import Any, Final

from nats.aio.client import Client

from services.ledger.settings import LedgerSettings
from services.ledger.store.balances import BalanceStore
from services.ledger.store.grants import GrantStore
from services.ledger.store.prices import PriceRow, PriceStore
from services.shared import bus, clock
from services.shared.errors import Kind, Refusal
from services.shared.money import NANO_PER_DOLLAR
from services.shared.pricing import Rates
from tollhouse.v1 import ledger_pb2, ledger_pb2_grpc

_MAX_TOP_UP_NANO: Final = 10_000_000 * NANO_PER_DOLLAR
_MAX_PICO: Final = 10**12  # $1 a token
_TENANT: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

Context = Any


class LedgerApi(ledger_pb2_grpc.LedgerServiceServicer):
    """Credit, balances and prices."""

    def __init__(
        self, grants: GrantStore, balances: BalanceStore, prices: PriceStore, nc: Client, settings: LedgerSettings
    ) -> None:
        self._grants = grants
        self._balances = balances
        self._prices = prices
        self._nc = nc
        self._ttl_s = settings.grant_ttl_s

    async def RaiseGrant(
        self, request: ledger_pb2.RaiseGrantRequest, context: Context
    ) -> ledger_pb2.RaiseGrantResponse:
        if not request.grant_id or not request.tenant_id or not request.holder or request.want_nano < 0:
            raise Refusal(Kind.INVALID_REQUEST, "grant_id, tenant_id, holder and want_nano are needed")
        granted, available = await self._grants.raise_grant(
            request.grant_id, request.tenant_id, request.holder, request.want_nano, self._ttl_s
        )
        return ledger_pb2.RaiseGrantResponse(
            granted_nano=granted, available_nano=available, expires_ms=self._expires_ms()
        )

    async def RenewGrants(
        self, request: ledger_pb2.RenewGrantsRequest, context: Context
    ) -> ledger_pb2.RenewGrantsResponse:
        alive = await self._grants.renew_grants(request.holder, request.grant_ids, self._ttl_s)
        return ledger_pb2.RenewGrantsResponse(grant_ids=alive, expires_ms=self._expires_ms())

    async def LowerGrant(
        self, request: ledger_pb2.LowerGrantRequest, context: Context
    ) -> ledger_pb2.LowerGrantResponse:
        if request.committed_nano < 0:
            raise Refusal(Kind.INVALID_REQUEST, "committed_nano is below 0")
        await self._grants.lower_grant(request.grant_id, request.committed_nano)
        return ledger_pb2.LowerGrantResponse()

    async def TopUp(self, request: ledger_pb2.TopUpRequest, context: Context) -> ledger_pb2.TopUpResponse:
        if not _TENANT.fullmatch(request.tenant_id):
            raise Refusal(Kind.INVALID_REQUEST, f"{request.tenant_id!r} is not a tenant id")
        if not 0 < request.amount_nano <= _MAX_TOP_UP_NANO:
            raise Refusal(Kind.INVALID_REQUEST, "amount_nano must be above 0 and at most ten million dollars")
        if not request.idempotency_key or not request.reason:
            raise Refusal(Kind.INVALID_REQUEST, "idempotency_key and reason are needed")
        balance, repeated = await self._balances.top_up(
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
        row = await self._prices.set_price(price.model, rates)
        await bus.announce(self._nc, bus.PRICES_CHANGED, price.model.encode())
        return ledger_pb2.SetPriceResponse(price=_price(row))

    async def ListPrices(
        self, request: ledger_pb2.ListPricesRequest, context: Context
    ) -> ledger_pb2.ListPricesResponse:
        return ledger_pb2.ListPricesResponse(prices=[_price(row) for row in await self._prices.prices_in_force()])

    def _expires_ms(self) -> int:
        return clock.now_ms() + int(self._ttl_s * clock.MS_PER_S)


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
