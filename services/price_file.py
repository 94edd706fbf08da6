"""The price book as a file: YAML, amounts in dollars, exact. Pure.

models:
  claude-opus-4-6: {input: 15, output: 75}            # dollars for a million tokens; cache rates by default
  text-embedding: {input: 0.02, output: 0}
  picture: {input: 0, output: 0, request: 0.04}       # dollars for each answered request
  claude-sonnet-4-6:
    - {input: 3, output: 15}
    - {input: 2.5, output: 12.5, from: 2027-01-01T00:00:00Z}
multipliers:
  all: 1
  brand: {cc: 0.5}
  plan: {enterprise: 0.9}
  group: {economy: {multiplier: 0.7, from: 2027-01-01T00:00:00Z}}
costs:
  "*": {claude-opus-4-6: {input: 12, output: 60}}     # any upstream account
  my-account: {claude-opus-4-6: {input: 10, output: 50}}
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import yaml

from services.shared.money import PICO_A_TOKEN_PER_DOLLAR_A_MILLION, pico_from_dollars_a_million
from tollhouse.v1 import billing_pb2

PICO_PER_DOLLAR: Final = 10**12
ANY: Final = "*"
_RATES: Final = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
_KEYS: Final = frozenset((*_RATES, "request", "from"))
_PPM: Final = 1_000_000


class Faults(Exception):
    """Everything that is wrong with a file, a line each."""


def parse(text: str, account_ids: Mapping[str, str]) -> billing_pb2.PriceBook:
    """The book that a file says. `account_ids` gives the id of an upstream account's name. Raises Faults."""
    try:
        # BaseLoader leaves every scalar the text that it is: no float ever stands for money.
        read = yaml.load(text, Loader=_Loader)  # noqa: S506
    except yaml.YAMLError as error:
        raise Faults(f"not YAML: {error}") from None
    parser = _Parser()
    book = parser.book({} if read in (None, "") else read, account_ids)
    if parser.faults:
        raise Faults("\n".join(parser.faults))
    return book


class _Loader(yaml.BaseLoader):
    """Refuses a key that stands twice in a mapping, of which one would be lost."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [key.value for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} stands here twice", node.start_mark)
        return super().construct_mapping(node, deep)


class _Parser:
    """Goes on after a fault, so that all of them are told together."""

    def __init__(self) -> None:
        self.faults: list[str] = []

    def book(self, read: Any, account_ids: Mapping[str, str]) -> billing_pb2.PriceBook:
        book = billing_pb2.PriceBook()
        sections = self._mapping(read, "the file")
        for name in sections.keys() - {"models", "multipliers", "costs"}:
            self.faults.append(f"{name}: is none of models, multipliers, costs")
        for model, rows in self._mapping(sections.get("models", {}), "models").items():
            for row in _listed(rows):
                book.prices.append(self._price(model, row, f"models.{model}"))
        for scope, named in self._mapping(sections.get("multipliers", {}), "multipliers").items():
            self._multipliers(book, scope, named)
        for account, models in self._mapping(sections.get("costs", {}), "costs").items():
            if account != ANY and account not in account_ids:
                self.faults.append(f"costs.{account}: there is no upstream account of this name")
                continue
            for model, rows in self._mapping(models, f"costs.{account}").items():
                for row in _listed(rows):
                    cost = book.costs.add(upstream_account_id="" if account == ANY else account_ids[account])
                    cost.rates.CopyFrom(self._price(model, row, f"costs.{account}.{model}"))
        return book

    def _price(self, model: str, row: Any, place: str) -> billing_pb2.Price:
        fields = self._mapping(row, place)
        for name in sorted(fields.keys() - _KEYS):
            self.faults.append(f"{place}.{name}: is none of {', '.join(sorted(_KEYS))}")
        for name in ("input", "output"):
            if name not in fields:
                self.faults.append(f"{place}.{name}: is missing")
        input_pico = self._amount(fields.get("input", "0"), f"{place}.input")
        defaults = {
            "cache_read": input_pico // 10,
            "cache_write_5m": input_pico * 5 // 4,
            "cache_write_1h": input_pico * 2,
        }
        rates = {
            f"{name}_pico": self._amount(fields[name], f"{place}.{name}") if name in fields else defaults.get(name, 0)
            for name in _RATES
        }
        request_pico = self._amount(fields.get("request", "0"), f"{place}.request") * (
            PICO_PER_DOLLAR // PICO_A_TOKEN_PER_DOLLAR_A_MILLION
        )
        effective_ms = self._moment(fields["from"], f"{place}.from") if "from" in fields else 0
        return billing_pb2.Price(model=model, request_pico=request_pico, effective_ms=effective_ms, **rates)

    def _multipliers(self, book: billing_pb2.PriceBook, scope: str, named: Any) -> None:
        place = f"multipliers.{scope}"
        if scope not in ("all", "brand", "plan", "group"):
            self.faults.append(f"{place}: is none of all, brand, plan, group")
            return
        for name, rows in {"": named}.items() if scope == "all" else self._mapping(named, place).items():
            for row in _listed(rows):
                whose = f"{place}.{name}" if name else place
                fields = row if isinstance(row, dict) else {"multiplier": row}
                for unknown in sorted(fields.keys() - {"multiplier", "from"}):
                    self.faults.append(f"{whose}.{unknown}: is none of from, multiplier")
                ppm = self._ppm(fields.get("multiplier", ""), whose)
                effective_ms = self._moment(fields["from"], f"{whose}.from") if "from" in fields else 0
                book.multipliers.add(scope=scope, name=name, ppm=ppm, effective_ms=effective_ms)

    def _mapping(self, value: Any, place: str) -> dict[str, Any]:
        if isinstance(value, dict):
            return value
        if value != "":
            self.faults.append(f"{place}: must be a mapping")
        return {}

    def _amount(self, text: Any, place: str) -> int:
        return self._exact(pico_from_dollars_a_million, text, place)

    def _ppm(self, text: Any, place: str) -> int:
        ppm = self._exact(pico_from_dollars_a_million, text, place)  # the same scale: a millionth
        if not 0 < ppm <= 100 * _PPM:
            self.faults.append(f"{place}: must be above 0 and at most 100")
            return _PPM
        return ppm

    def _exact(self, convert: Callable[[str], int], text: Any, place: str) -> int:
        try:
            value = convert(str(text))
        except ValueError as error:
            self.faults.append(f"{place}: {error}")
            return 0
        if value < 0:
            self.faults.append(f"{place}: is below 0")
        return value

    def _moment(self, text: Any, place: str) -> int:
        try:
            at = datetime.fromisoformat(str(text))
        except ValueError:
            self.faults.append(f"{place}: {text!r} is not a moment such as 2027-01-31T00:00:00Z")
            return 0
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()) * 1000


def _listed(rows: Any) -> Sequence[Any]:
    return rows if isinstance(rows, list) else [rows]


def render(book: billing_pb2.PriceBook, account_names: Mapping[str, str], now_ms: int) -> str:
    """The file that says a book; `account_names` gives the name of an upstream account's id. Rows that are in force
    carry no date: applied again, they change nothing."""
    sections: dict[str, Any] = {}
    if book.prices:
        sections["models"] = _by((price.model, _fields(price, now_ms)) for price in book.prices)
    multipliers: dict[str, Any] = {}
    for multiplier in book.multipliers:
        row: Any = _Amount(_decimal(multiplier.ppm))
        if multiplier.effective_ms > now_ms:
            row = {"multiplier": row, "from": _iso(multiplier.effective_ms)}
        if multiplier.scope == "all":
            _add(multipliers, "all", row)
        else:
            _add(multipliers.setdefault(multiplier.scope, {}), multiplier.name, row)
    if multipliers:
        sections["multipliers"] = multipliers
    costs: dict[str, Any] = {}
    for cost in book.costs:
        account = account_names.get(cost.upstream_account_id, cost.upstream_account_id) or ANY
        _add(costs.setdefault(account, {}), cost.rates.model, _fields(cost.rates, now_ms))
    if costs:
        sections["costs"] = costs
    return yaml.dump(sections, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=120) if sections else ""


class _Amount(str):
    """A number that is written as it is, without quotes and without ever being a float."""


class _Dumper(yaml.SafeDumper):
    pass


def _represent(dumper: yaml.SafeDumper, amount: _Amount) -> yaml.ScalarNode:
    kind = "float" if "." in amount else "int"
    return dumper.represent_scalar(f"tag:yaml.org,2002:{kind}", amount)


_Dumper.add_representer(_Amount, _represent)


def _fields(price: billing_pb2.Price, now_ms: int) -> dict[str, str]:
    fields: dict[str, str] = {name: _Amount(_decimal(getattr(price, f"{name}_pico"))) for name in _RATES}
    if price.request_pico:
        fields["request"] = _Amount(_decimal(price.request_pico, PICO_PER_DOLLAR))
    if price.effective_ms > now_ms:
        fields["from"] = _iso(price.effective_ms)
    return fields


def _by(pairs: Iterator[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, row in pairs:
        _add(found, key, row)
    return found


def _add(rows: dict[str, Any], key: str, row: Any) -> None:
    """One row stands alone, several in a list."""
    before = rows.get(key)
    rows[key] = row if before is None else [*_listed(before), row]


def _decimal(amount: int, scale: int = PICO_A_TOKEN_PER_DOLLAR_A_MILLION) -> str:
    return f"{Decimal(amount) / scale:f}"


def _iso(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).isoformat()
