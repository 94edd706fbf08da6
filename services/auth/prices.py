"""The prices in force, as the ledger's price book has them: kept in memory, refreshed when it changes."""

import asyncio

import grpc

from services.shared import clock, rpc
from services.shared.errors import Kind
from services.shared.pricing import Rates
from services.shared.telemetry import logger
from tollhouse.v1 import ledger_pb2, ledger_pb2_grpc

_log = logger("prices")

_REFRESH_S = 30.0
_RETRY_S = 0.5
_AT_MOST_EVERY_S = 0.5


class PriceBook:
    """Public model id to the rates that a request admitted now is charged by."""

    def __init__(self, ledger: "ledger_pb2_grpc.LedgerServiceAsyncStub", timeout_s: float) -> None:
        self._ledger = ledger
        self._timeout_s = timeout_s
        self._rates: dict[str, Rates] = {}
        self._loaded_s = float("-inf")
        self._loading = asyncio.Lock()
        self._changed = asyncio.Event()

    def in_force(self, model: str) -> Rates | None:
        """The model's rates; None when it has none that this replica has heard of."""
        return self._rates.get(model)

    def changed(self) -> None:
        """The price book has a new row: look soon."""
        self._changed.set()

    async def refresh_now(self) -> None:
        """Looks, unless that was done a moment ago. Raises Refusal when the ledger does not answer."""
        async with self._loading:
            if clock.monotonic_s() - self._loaded_s < _AT_MOST_EVERY_S:
                return
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
        response = await self._ledger.ListPrices(
            ledger_pb2.ListPricesRequest(), timeout=self._timeout_s, wait_for_ready=True
        )
        self._rates = {
            price.model: Rates(
                price.price_version,
                price.input_pico,
                price.output_pico,
                price.cache_read_pico,
                price.cache_write_5m_pico,
                price.cache_write_1h_pico,
            )
            for price in response.prices
        }
        self._loaded_s = clock.monotonic_s()
