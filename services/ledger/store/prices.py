"""The price book: list prices, multipliers and costs. Rows are added, never changed; each has its moment."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypeVar

from psycopg.rows import TupleRow

from services.ledger.settlement import instant, unix_ms
from services.ledger.store.audit import Deed, log
from services.ledger.store.queries import Connection
from services.shared.database import Pool
from services.shared.pricing import Rates

_RATES: Final = "input_pico, output_pico, cache_read_pico, cache_write_5m_pico, cache_write_1h_pico, request_pico"
_PRICES: Final = f"SELECT price_version, {_RATES}, effective_at, model, '' FROM prices"
_COSTS: Final = f"SELECT cost_version, {_RATES}, effective_at, model, upstream_account_id FROM costs"


@dataclass(frozen=True, slots=True)
class PriceRow:
    """Rates for a model: a price or, perhaps with an upstream account, a cost."""

    model: str
    rates: Rates
    effective_ms: int
    upstream_account_id: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Of what it is the price."""
        return self.upstream_account_id, self.model


@dataclass(frozen=True, slots=True)
class MultiplierRow:
    """What a scope pays of the list price, in millionths."""

    scope: str
    name: str
    ppm: int
    effective_ms: int

    @property
    def key(self) -> tuple[str, str]:
        """Whose it is."""
        return self.scope, self.name


Row = TypeVar("Row", PriceRow, MultiplierRow)


@dataclass(frozen=True, slots=True)
class Book:
    """A price book. In one to be applied, `effective_ms` is 0 for now."""

    prices: Sequence[PriceRow] = ()
    multipliers: Sequence[MultiplierRow] = ()
    costs: Sequence[PriceRow] = ()


class PriceStore:
    """The price book."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def prices(self, versions: Iterable[int]) -> list[PriceRow]:
        """The price rows of these versions, those that exist."""
        async with self._pool.connection() as connection:
            return await _rows(connection, _PRICES + " WHERE price_version = ANY(%s)", (list(versions),))

    async def book(self) -> Book:
        """What is in force and what will be, by model and date."""
        async with self._pool.connection() as connection:
            return await _book(connection)

    async def costs(self) -> list[PriceRow]:
        """Every cost row, oldest first."""
        async with self._pool.connection() as connection:
            return await _rows(connection, _COSTS + " ORDER BY effective_at, cost_version", ())

    async def apply(self, book: Book, deed: Deed, dry_run: bool) -> list[str]:
        """Adds the rows of `book` that differ from what would be in force at their moment, in one transaction. Answers
        a line for each."""
        async with self._pool.connection() as connection, connection.transaction(force_rollback=dry_run):
            await connection.execute("SELECT pg_advisory_xact_lock(hashtext('tollhouse.prices'))")
            changes = [await _add_rates(connection, "prices", row) for row in book.prices]
            changes += [await _add_multiplier(connection, row) for row in book.multipliers]
            changes += [await _add_rates(connection, "costs", row) for row in book.costs]
            made = [change for change in changes if change]
            if made:
                await log(connection, deed, {"changes": made})
            return made

    async def set_price(self, row: PriceRow, deed: Deed) -> PriceRow:
        """Adds a price row, even one that says the same as before."""
        async with self._pool.connection() as connection, connection.transaction():
            added = await _insert(connection, "prices", row)
            await log(connection, deed, {"price_version": added.rates.price_version})
            return added


def to_apply(rows: Sequence[Row], now_ms: int) -> list[Row]:
    """What a book's rows come to at a moment, in the order of theirs: of those of one thing that are not to come, the
    latest counts, from now on."""
    current: dict[tuple[str, str], Row] = {}
    later: list[Row] = []
    for row in sorted(rows, key=lambda row: row.effective_ms):
        if row.effective_ms > now_ms:
            later.append(row)
        else:
            current[row.key] = replace(row, effective_ms=0)
    applied = list(current.values())
    applied.extend(later)
    return applied


async def _book(connection: Connection) -> Book:
    prices = await _rows(connection, _current(_PRICES, "prices", "model", "price_version"), ())
    costs = await _rows(connection, _current(_COSTS, "costs", "upstream_account_id, model", "cost_version"), ())
    columns = "SELECT scope, name, ppm, effective_at FROM multipliers"
    cursor = await connection.execute(_current(columns, "multipliers", "scope, name", "multiplier_version").encode())
    multipliers = [MultiplierRow(scope, name, ppm, unix_ms(at)) for scope, name, ppm, at in await cursor.fetchall()]
    return Book(prices, multipliers, costs)


def _current(select: str, table: str, key: str, version: str) -> str:
    """Of each key the row in force, and those to come."""
    return (
        f"{select} WHERE {version} IN (SELECT DISTINCT ON ({key}) {version} FROM {table} WHERE effective_at <= now()"
        f" ORDER BY {key}, effective_at DESC, {version} DESC) OR effective_at > now()"
        f" ORDER BY {key}, effective_at, {version}"
    )


async def _add_rates(connection: Connection, table: str, row: PriceRow) -> str:
    """Adds a row unless one like it would be in force at its moment; says what it did."""
    version = "price_version" if table == "prices" else "cost_version"
    select = _PRICES if table == "prices" else _COSTS
    of_account = "" if table == "prices" else " AND upstream_account_id = %(account)s"
    found = await _rows(
        connection,
        f"{select} WHERE model = %(model)s{of_account} AND effective_at <= coalesce(%(at)s, now())"
        f" ORDER BY effective_at DESC, {version} DESC LIMIT 1",
        {"model": row.model, "account": row.upstream_account_id, "at": _at(row.effective_ms)},
    )
    if found and _figures(found[0].rates) == _figures(row.rates):
        return ""
    await _insert(connection, table, row)
    of = f" of {row.upstream_account_id}" if row.upstream_account_id else ""
    before = f"{_shown(found[0].rates)} -> " if found else ""
    return f"{table[:-1]} {row.model}{of}: {before}{_shown(row.rates)}{_since(row.effective_ms)}"


async def _insert(connection: Connection, table: str, row: PriceRow) -> PriceRow:
    version, account = ("price_version", "") if table == "prices" else ("cost_version", ", upstream_account_id")
    values: list[Any] = [row.model, *_figures(row.rates), _at(row.effective_ms)]
    if account:
        values.append(row.upstream_account_id)
    marks = ", ".join(["%s"] * 7) + ", coalesce(%s, now())" + (", %s" if account else "")
    returned = f"{version}, {_RATES}, effective_at, model, {'upstream_account_id' if account else repr('')}"
    (added,) = await _rows(
        connection,
        f"INSERT INTO {table} (model, {_RATES}, effective_at{account}) VALUES ({marks}) RETURNING {returned}",
        values,
    )
    return added


async def _add_multiplier(connection: Connection, row: MultiplierRow) -> str:
    found = await (
        await connection.execute(
            "SELECT ppm FROM multipliers WHERE scope = %s AND name = %s AND effective_at <= coalesce(%s, now())"
            " ORDER BY effective_at DESC, multiplier_version DESC LIMIT 1",
            (row.scope, row.name, _at(row.effective_ms)),
        )
    ).fetchone()
    before = int(found[0]) if found else None
    if before == row.ppm:
        return ""
    await connection.execute(
        "INSERT INTO multipliers (scope, name, ppm, effective_at) VALUES (%s, %s, %s, coalesce(%s, now()))",
        (row.scope, row.name, row.ppm, _at(row.effective_ms)),
    )
    was = "" if before is None else f"{before} -> "
    return f"multiplier {row.scope} {row.name}: {was}{row.ppm} ppm{_since(row.effective_ms)}".replace("  ", " ")


async def _rows(connection: Connection, query: str, parameters: Any) -> list[PriceRow]:
    cursor = await connection.execute(query.encode(), parameters)
    return [_row(row) for row in await cursor.fetchall()]


def _row(row: TupleRow) -> PriceRow:
    version, *figures, at, model, account_id = row
    return PriceRow(model, Rates(version, *figures), unix_ms(at), account_id)


def _figures(rates: Rates) -> tuple[int, ...]:
    return (rates.input, rates.output, rates.cache_read, rates.cache_write_5m, rates.cache_write_1h, rates.request)


def _shown(rates: Rates) -> str:
    return "/".join(str(figure) for figure in _figures(rates))


def _since(effective_ms: int) -> str:
    return f" from {instant(effective_ms).isoformat()}" if effective_ms else ""


def _at(effective_ms: int) -> datetime | None:
    return instant(effective_ms) if effective_ms else None
