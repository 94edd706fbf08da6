"""Prices of models, and the price book."""

from typing import Any

from services.console.api.admin.resources import BOOLEAN, changing, flag, listing, reading
from services.console.api.operation import Call
from services.console.api.pages import page_of
from tollhouse.v1 import billing_pb2


async def list_prices(call: Call) -> Any:
    """A page of the price rows in force and those that will be."""
    found = await call.console.clients.billing.ListPrices(billing_pb2.ListPricesRequest())
    return page_of(found.prices, lambda price: (price.price_version, price.model), call.query)


async def set_price(call: Call) -> billing_pb2.Price:
    """Adds a price row; earlier ones stay for what was admitted under them."""
    asked = billing_pb2.SetPriceRequest(price=call.body, actor=call.caller.actor)
    return (await call.console.clients.billing.SetPrice(asked)).price


async def get_book(call: Call) -> billing_pb2.PriceBook:
    """Everything that is in force or will be."""
    return (await call.console.clients.billing.ExportPrices(billing_pb2.ExportPricesRequest())).book


async def put_book(call: Call) -> billing_pb2.ApplyPricesResponse:
    """Brings the price book to what is sent, or says what that would change."""
    asked = billing_pb2.ApplyPricesRequest(book=call.body, dry_run=flag(call, "dry_run"), actor=call.caller.actor)
    return await call.console.clients.billing.ApplyPrices(asked)


operations = (
    listing("/prices", "listPrices", "Price rows in force and to come", list_prices, billing_pb2.Price),
    changing(
        "POST",
        "/prices",
        "setPrice",
        "Adds a price row, in force from now or from a moment to come",
        set_price,
        billing_pb2.Price,
        body=billing_pb2.Price,
        needed=("model",),
        status=201,
        audited=False,
    ),
    reading("/price-book", "getPriceBook", "All prices, multipliers and costs", get_book, billing_pb2.PriceBook),
    changing(
        "PUT",
        "/price-book",
        "applyPriceBook",
        "Brings the price book to what is sent; models that are not named keep theirs",
        put_book,
        billing_pb2.ApplyPricesResponse,
        body=billing_pb2.PriceBook,
        query={"dry_run": BOOLEAN},
        audited=False,
    ),
)
