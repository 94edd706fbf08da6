"""What a key pays: the price rows in force, with what its brand, plan and group pay of them. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from services.shared.money import LIST_PRICE_PPM, nano_from_pico
from services.shared.pricing import Rates, combined_ppm
from tollhouse.v1 import billing_pb2

CLASSES: Final[Mapping[str, str]] = {
    "input": "Input",
    "output": "Output",
    "cache_read": "Cache read",
    "cache_write_5m": "Cache write, 5 min",
    "cache_write_1h": "Cache write, 1 h",
}
"""Token classes in the order in which prices are shown."""
_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Payer:
    """What prices depend on: the brand a key was made for, its plan or else its tenant's, and its group."""

    brand: str = ""
    plan: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """A price row that comes into force later."""

    at_ms: int
    rates: Rates


class Tariff:
    """The price book at a moment."""

    def __init__(self, book: billing_pb2.ListPricesResponse, now_ms: int) -> None:
        self._rates: dict[str, Rates] = {}
        self._changes: dict[str, Change] = {}
        self._multipliers: dict[tuple[str, str], int] = {}
        for price in book.prices:  # by model and moment: the last one that has come counts, and the first to come
            if price.effective_ms <= now_ms:
                self._rates[price.model] = rates_of(price)
            else:
                self._changes.setdefault(price.model, Change(price.effective_ms, rates_of(price)))
        for multiplier in book.multipliers:
            if multiplier.effective_ms <= now_ms:
                self._multipliers[multiplier.scope, multiplier.name] = multiplier.ppm

    def ppm(self, payer: Payer) -> int:
        """What the payer pays of the list price, in millionths."""
        scopes = (("all", ""), ("brand", payer.brand), ("plan", payer.plan), ("group", payer.group))
        return combined_ppm(*(self._multipliers.get(scope, LIST_PRICE_PPM) for scope in scopes))

    def rates(self, model: str, payer: Payer) -> Rates | None:
        """What a model costs the payer now; None where it has no price, and so cannot be called."""
        rates = self._rates.get(model)
        return replace(rates, multiplier_ppm=self.ppm(payer)) if rates else None

    def change(self, model: str, payer: Payer) -> Change | None:
        """The next price row that is known already, at what the payer pays of prices today."""
        change = self._changes.get(model)
        return replace(change, rates=replace(change.rates, multiplier_ppm=self.ppm(payer))) if change else None


def rates_of(price: billing_pb2.Price) -> Rates:
    """A price row's rates at the list price."""
    return Rates(
        price.price_version,
        price.input_pico,
        price.output_pico,
        price.cache_read_pico,
        price.cache_write_5m_pico,
        price.cache_write_1h_pico,
        price.request_pico,
    )


def a_million(rates: Rates, token_class: str) -> int:
    """What a million tokens of a class cost, in nano-dollars."""
    return nano_from_pico(_MILLION * int(getattr(rates, token_class)), rates.multiplier_ppm)


def for_request(rates: Rates) -> int:
    """What each answered request costs beside its tokens, in nano-dollars."""
    return nano_from_pico(rates.request, rates.multiplier_ppm)


def per_cent(ppm: int) -> str:
    """A multiplier for people: "80 %", "112.5 %"."""
    return f"{ppm / 10_000:.4f}".rstrip("0").rstrip(".") + " %"
