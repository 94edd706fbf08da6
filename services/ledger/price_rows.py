"""Price rows by version, as events name them. They never change, so what is known stays true."""

from collections.abc import Iterable, Mapping

from services.ledger.store.prices import PriceStore
from services.shared.pricing import Rates


class PriceRows:
    """Those that were needed so far."""

    def __init__(self, prices: PriceStore) -> None:
        self._prices = prices
        self._rates: dict[int, Rates] = {}

    async def rates(self, versions: Iterable[int]) -> Mapping[int, Rates]:
        """Rates by version, of these and others; without those that do not exist."""
        missing = set(versions) - self._rates.keys()
        if missing:
            self._rates.update({row.rates.price_version: row.rates for row in await self._prices.prices(missing)})
        return self._rates
