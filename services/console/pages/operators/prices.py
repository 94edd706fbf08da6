"""Prices: what models cost tenants and us, now and later, the margin between, and multipliers."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from services.console import deeds
from services.console.console import console_of
from services.console.forms import Form
from services.console.guards import operator
from services.console.pages.operators import fields
from services.console.rendering import redirect
from services.shared import clock
from services.shared.errors import Refusal
from tollhouse.v1 import billing_pb2, router_pb2

_PATH = "/operator/prices"
_CLASSES: Final = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
_FIELDS: Final = (*_CLASSES, "request", "effective")
SCOPES: Final = {"all": "everybody", "brand": "a brand", "plan": "a plan", "group": "a group"}


@dataclass(frozen=True, slots=True)
class Line:
    """A model's list price in force, what any upstream account asks for it, and the rows to come."""

    model: str
    price: billing_pb2.Price | None
    cost: billing_pb2.Price | None
    later: int

    def margin(self, token_class: str) -> str:
        """What stays of the price, in percent; a dash where either is not known."""
        if self.price is None or self.cost is None:
            return "–"
        asked = getattr(self.price, f"{token_class}_pico")
        return fields.percent(asked - getattr(self.cost, f"{token_class}_pico"), asked)

    @property
    def at_a_loss(self) -> bool:
        """Whether some class of tokens costs us more than it brings."""
        price, cost = self.price, self.cost
        names = [f"{name}_pico" for name in (*_CLASSES, "request")]
        return price is not None and cost is not None and any(getattr(price, n) < getattr(cost, n) for n in names)


async def show(request: Request) -> Response:
    """The price book."""
    return await _page(request, Form())


async def one(request: Request) -> Response:
    """A model's rows, and the forms of a new price and a new cost."""
    return await _model_page(request, Form(), Form())


async def set_price(request: Request) -> Response:
    """Adds a price row."""
    form = await Form.read(request, *_FIELDS)
    price = _rates(form, _model_of(request))
    if price is None:
        return await _model_page(request, form, Form())
    try:
        await console_of(request).clients.billing.SetPrice(
            billing_pb2.SetPriceRequest(price=price, actor=deeds.actor_of(request))
        )
    except Refusal as refusal:
        return await _model_page(request, deeds.beside(form, refusal, effective="effective_ms"), Form())
    return redirect(request, f"{_PATH}/{price.model}", "priced")


async def set_cost(request: Request) -> Response:
    """Adds a row of what upstream accounts charge us: any of them, or the one of a name."""
    form = await Form.read(request, "account", *_FIELDS)
    rates = _rates(form, _model_of(request))
    account_id = await _account_id(request, form)
    if rates is None or form.errors:
        return await _model_page(request, Form(), form)
    book = billing_pb2.PriceBook(costs=[billing_pb2.Cost(upstream_account_id=account_id, rates=rates)])
    return await _applied(request, book, f"{_PATH}/{rates.model}")


async def set_multiplier(request: Request) -> Response:
    """Adds a multiplier, in force from a moment on."""
    form = await Form.read(request, "scope", "multiplier_name", "factor", "effective")
    if form["scope"] not in SCOPES:
        form.wrong("scope", "Choose for whom it is.")
    if bool(form["multiplier_name"].strip()) == (form["scope"] == "all"):
        everybody = form["scope"] == "all"
        form.wrong("multiplier_name", "Everybody has no name." if everybody else "Say which one.")
    multiplier = billing_pb2.Multiplier(scope=form["scope"], name=form["multiplier_name"].strip())
    try:
        multiplier.ppm = fields.ppm(form["factor"])
    except ValueError as error:
        form.wrong("factor", str(error))
    try:
        multiplier.effective_ms = fields.moment_ms(form["effective"])
    except ValueError as error:
        form.wrong("effective", str(error))
    if form.errors:
        return await _page(request, form, 422)
    return await _applied(request, billing_pb2.PriceBook(multipliers=[multiplier]), _PATH)


def in_force(prices: Iterable[billing_pb2.Price], now_ms: int) -> dict[str, billing_pb2.Price]:
    """Each model's price now; those to come are left out."""
    return {price.model: price for price in prices if price.effective_ms <= now_ms}


def lines(book: billing_pb2.PriceBook, served: Iterable[str], now_ms: int) -> list[Line]:
    """A line for each model that has a price or is served, by model."""
    prices = in_force(book.prices, now_ms)
    costs = in_force((cost.rates for cost in book.costs if not cost.upstream_account_id), now_ms)
    later: dict[str, int] = {}
    for price in book.prices:
        later[price.model] = later.get(price.model, 0) + (price.effective_ms > now_ms)
    models = sorted({*later, *served})
    return [Line(model, prices.get(model), costs.get(model), later.get(model, 0)) for model in models]


def _model_of(request: Request) -> str:
    return str(request.path_params["model"])


def _rates(form: Form, model: str) -> billing_pb2.Price | None:
    """The row that a form says; None where something is wrong with it. Cache classes that are left out follow from the
    price of input, as the price file has it."""
    found: dict[str, int] = {}
    for name in _CLASSES:
        try:
            found[name] = fields.rate(form[name])
        except ValueError as error:
            form.wrong(name, str(error))
    if not form["input"].strip():
        form.wrong("input", "Say a price, 0 where it is free.")
    price = billing_pb2.Price(model=model)
    try:
        price.request_pico = fields.request_rate(form["request"])
    except ValueError as error:
        form.wrong("request", str(error))
    try:
        price.effective_ms = fields.moment_ms(form["effective"])
    except ValueError as error:
        form.wrong("effective", str(error))
    if form.errors:
        return None
    usual = {"cache_read": (1, 10), "cache_write_5m": (5, 4), "cache_write_1h": (2, 1)}
    for name in _CLASSES:
        times, by = usual.get(name, (0, 1))
        value = found[name] if form[name].strip() else found["input"] * times // by
        setattr(price, f"{name}_pico", value)
    return price


async def _account_id(request: Request, form: Form) -> str:
    name = form["account"].strip()
    if not name:
        return ""
    asked = router_pb2.ListUpstreamAccountsRequest(page_size=1, name=name)
    listed = await console_of(request).clients.router.ListUpstreamAccounts(asked)
    if not listed.accounts:
        form.wrong("account", "There is no upstream account of this name.")
        return ""
    return listed.accounts[0].upstream_account_id


async def _applied(request: Request, book: billing_pb2.PriceBook, onward: str) -> Response:
    applied = await console_of(request).clients.billing.ApplyPrices(
        billing_pb2.ApplyPricesRequest(book=book, actor=deeds.actor_of(request))
    )
    return redirect(request, onward, "priced" if applied.changes else "price_same")


async def _page(request: Request, form: Form, status: int = 200) -> Response:
    console = console_of(request)
    exported = await console.clients.billing.ExportPrices(billing_pb2.ExportPricesRequest())
    served = await console.clients.router.ListModels(router_pb2.ListModelsRequest())
    now_ms = clock.now_ms()
    return console.renderer.page(
        request,
        "operators/prices.html",
        status,
        lines=lines(exported.book, (model.model for model in served.models), now_ms),
        multipliers=exported.book.multipliers,
        now_ms=now_ms,
        scopes=SCOPES,
        form=form,
        a_million=fields.dollars_a_million,
    )


async def _model_page(request: Request, price_form: Form, cost_form: Form) -> Response:
    console, model = console_of(request), _model_of(request)
    exported = await console.clients.billing.ExportPrices(billing_pb2.ExportPricesRequest())
    prices = [price for price in exported.book.prices if price.model == model]
    costs = [cost for cost in exported.book.costs if cost.rates.model == model]
    wrong = price_form.errors or cost_form.errors
    return console.renderer.page(
        request,
        "operators/price.html",
        422 if wrong else 200,
        model=model,
        prices=prices,
        costs=costs,
        now_ms=clock.now_ms(),
        price_form=price_form,
        cost_form=cost_form,
        a_million=fields.dollars_a_million,
        a_request=fields.dollars_a_request,
    )


routes = [
    operator(_PATH, show),
    operator("/operator/multipliers", set_multiplier, ["POST"]),
    operator("/operator/costs/{model:path}", set_cost, ["POST"]),
    operator(f"{_PATH}/{{model:path}}", one),
    operator(f"{_PATH}/{{model:path}}", set_price, ["POST"]),
]
