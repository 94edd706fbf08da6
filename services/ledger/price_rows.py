"""What events are priced by: price rows by version, and what upstream accounts charge us."""

import asyncio
from collections.abc import Iterable, Mapping

import psycopg
from psycopg_pool import PoolTimeout

from services.ledger.costs import NO_COSTS, CostBook, CostRow
from services.ledger.store.prices import PriceStore
from services.shared.pricing import Rates
from services.shared.telemetry import logger

_log = logger("price_rows")

_REFRESH_S = 30.0


class PriceRows:
    """Price rows that were needed so far: they never change, so what is known stays true. And the cost book."""

    def __init__(self, prices: PriceStore) -> None:
        self._prices = prices
        self._rates: dict[int, Rates] = {}
        self._changed = asyncio.Event()
        self.costs: CostBook = NO_COSTS

    async def rates(self, versions: Iterable[int]) -> Mapping[int, Rates]:
        """Rates by version, of these and others; without those that do not exist."""
        missing = set(versions) - self._rates.keys()
        if missing:
            self._rates.update({row.rates.price_version: row.rates for row in await self._prices.prices(missing)})
        return self._rates

    def changed(self) -> None:
        """The price book has new rows: look soon."""
        self._changed.set()

    async def load_costs(self) -> None:
        """Reads the cost book."""
        self.costs = CostBook(
            CostRow(row.upstream_account_id, row.model, row.effective_ms, row.rates)
            for row in await self._prices.costs()
        )

    async def keep(self) -> None:
        """Reads the cost book again whenever something changed, and now and then; until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_REFRESH_S):
                    await self._changed.wait()
            except TimeoutError:
                pass
            self._changed.clear()
            try:
                await self.load_costs()
            except (psycopg.Error, PoolTimeout) as error:
                _log.warning("costs_not_refreshed", error=repr(error))
