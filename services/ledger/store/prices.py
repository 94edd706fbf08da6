"""The price book."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from psycopg.rows import TupleRow

from services.ledger.settlement import unix_ms
from services.ledger.store.queries import row
from services.shared.database import Pool
from services.shared.pricing import Rates

_PRICE_COLUMNS: Final = (
    "price_version, model, input_pico, output_pico, cache_read_pico, cache_write_5m_pico, cache_write_1h_pico,"
    " effective_at"
)


@dataclass(frozen=True, slots=True)
class PriceRow:
    """A price row and its model."""

    model: str
    rates: Rates
    effective_ms: int


class PriceStore:
    """Price rows: added, never changed."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def set_price(self, model: str, rates: Rates) -> PriceRow:
        """Adds a price row; `rates.price_version` is ignored."""
        async with self._pool.connection() as connection:
            added = await row(
                connection,
                "INSERT INTO prices (model, input_pico, output_pico, cache_read_pico, cache_write_5m_pico,"
                " cache_write_1h_pico) VALUES (%s, %s, %s, %s, %s, %s) RETURNING " + _PRICE_COLUMNS,
                (model, rates.input, rates.output, rates.cache_read, rates.cache_write_5m, rates.cache_write_1h),
            )
            return _price(added)

    async def prices_in_force(self) -> list[PriceRow]:
        """The newest price row of every model."""
        return await self._prices(
            "SELECT DISTINCT ON (model) " + _PRICE_COLUMNS + " FROM prices ORDER BY model, price_version DESC", ()
        )

    async def prices(self, versions: Iterable[int]) -> list[PriceRow]:
        """The price rows of these versions, those that exist."""
        return await self._prices(
            "SELECT " + _PRICE_COLUMNS + " FROM prices WHERE price_version = ANY(%s)", (list(versions),)
        )

    async def _prices(self, query: str, parameters: tuple[Any, ...]) -> list[PriceRow]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query, parameters)
            return [_price(row) for row in await cursor.fetchall()]


def _price(row: TupleRow) -> PriceRow:
    return PriceRow(model=row[1], rates=Rates(row[0], *row[2:7]), effective_ms=unix_ms(row[7]))
