"""The prices in force, as the ledger's price book has them: kept in memory, refreshed when it changes."""

import asyncio
from dataclasses import replace

import grpc

from services.shared import clock, rpc
from services.shared.errors import Kind
from services.shared.money import LIST_PRICE_PPM
from services.shared.pricing import Rates, combined_ppm
from services.shared.telemetry import logger
from tollhouse.v1 import billing_pb2, billing_pb2_grpc

_log = logger("prices")

_REFRESH_S = 30.0
_RETRY_S = 0.5
_AT_MOST_EVERY_S = 0.5


class PriceBook:
    """Public model id to the rates that a request admitted now is charged by."""

    def __init__(self, billing: "billing_pb2_grpc.BillingServiceAsyncStub", timeout_s: float) -> None:
        self._billing = billing
        self._timeout_s = timeout_s
        self._book = billing_pb2.ListPricesResponse()
        self._rates: dict[str, Rates] = {}
        self._multipliers: dict[tuple[str, str], int] = {}
        self._next_ms: int | None = None
        """When a row that is known already comes into force."""
        self._began_s = float("-inf")
        """When it was last looked: what was changed before then is known."""
        self._loading = asyncio.Lock()
        self._changed = asyncio.Event()

    def in_force(self, model: str, brand: str = "", plan: str = "", group: str = "") -> Rates | None:
        """The model's rates, with what this brand, plan and group pay of them; None when it has none that this replica
        has heard of."""
        if self._next_ms is not None and clock.now_ms() >= self._next_ms:
            self._turn()
        rates = self._rates.get(model)
        if rates is None or not self._multipliers:
            return rates
        scopes = (("all", ""), ("brand", brand), ("plan", plan), ("group", group))
        ppm = combined_ppm(*(self._multipliers.get(scope, LIST_PRICE_PPM) for scope in scopes))
        return rates if ppm == LIST_PRICE_PPM else replace(rates, multiplier_ppm=ppm)

    def changed(self) -> None:
        """The price book has a new row: look soon."""
        self._changed.set()

    async def refresh_now(self) -> None:
        """Looks, or waits for somebody who begins to look just now; not more often than every so often, however many
        ask for models that have no price. Raises Refusal when the ledger does not answer."""
        asked_s = clock.monotonic_s()
        async with self._loading:
            if self._began_s >= asked_s:
                return
            await asyncio.sleep(max(0.0, self._began_s + _AT_MOST_EVERY_S - clock.monotonic_s()))
            try:
                await self._load()
            except grpc.aio.AioRpcError as error:
                raise rpc.refusal_of(error, Kind.LEDGER_UNAVAILABLE) from error

    async def keep(self) -> None:
        """Looks whenever something changed, and now and then; until cancelled."""
        while True:
            try:
                await self._load()
                wait_s = _REFRESH_S
            except grpc.aio.AioRpcError as error:
                _log.warning("prices_not_refreshed", error=error.code().name)
                wait_s = _RETRY_S
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()

    async def _load(self) -> None:
        began_s = clock.monotonic_s()
        self._book = await self._billing.ListPrices(
            billing_pb2.ListPricesRequest(), timeout=self._timeout_s, wait_for_ready=True
        )
        self._turn()
        self._began_s = began_s

    def _turn(self) -> None:
        """Takes what is in force now; rows come in the order of their moments."""
        now_ms, later = clock.now_ms(), []
        rates: dict[str, Rates] = {}
        multipliers: dict[tuple[str, str], int] = {}
        for price in self._book.prices:
            if price.effective_ms <= now_ms:
                rates[price.model] = _rates(price)
            else:
                later.append(price.effective_ms)
        for multiplier in self._book.multipliers:
            if multiplier.effective_ms <= now_ms:
                multipliers[multiplier.scope, multiplier.name] = multiplier.ppm
            else:
                later.append(multiplier.effective_ms)
        self._rates, self._multipliers = rates, multipliers
        self._next_ms = min(later, default=None)


def _rates(price: billing_pb2.Price) -> Rates:
    return Rates(
        price.price_version,
        price.input_pico,
        price.output_pico,
        price.cache_read_pico,
        price.cache_write_5m_pico,
        price.cache_write_1h_pico,
        price.request_pico,
    )
