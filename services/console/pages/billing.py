"""What a customer has and how it came to be: balance, ways to top up, and every movement of the balance."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from services.console import deeds, purchases
from services.console.brands import sells_by
from services.console.console import console_of
from services.console.failures import sentence
from services.console.forms import Form
from services.console.guards import customer
from services.console.payments.payment import Provider
from services.console.rendering import redirect
from services.console.visit import tenant_of, visit_of
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import auth_pb2, billing_pb2, usage_pb2

PATH: Final = "/dashboard/billing"
_PAGE: Final = 25
_TOKEN_MOST: Final = 18
_CREDIT: Final = "credit"
"""Asks for a history of what was paid in, given and corrected, without usage."""
_VOUCHER_REFUSALS: Final = (Kind.VOUCHER_UNKNOWN, Kind.VOUCHER_SPENT, Kind.INVALID_REQUEST)
KINDS: Final = {
    "usage": "Usage",
    "top_up": "Top-up",
    "voucher": "Voucher",
    "promotion": "Promotion",
    "refund": "Refund",
    "adjustment": "Adjustment",
    "correction": "Correction",
}
"""What kinds of transactions are called."""


@dataclass(frozen=True, slots=True)
class Way:
    """One card of the page: which ways of a brand it is, and its template, which knows `form` and `csrf_token`."""

    top_ups: "frozenset[auth_pb2.TopUp.ValueType]"
    template: str


WAYS: Final = (
    Way(frozenset({auth_pb2.TOP_UP_CARD, auth_pb2.TOP_UP_CRYPTO}), "top_ups/pay.html"),
    Way(frozenset({auth_pb2.TOP_UP_VOUCHER}), "top_ups/voucher.html"),
)
"""In the order in which the page shows them."""


async def billing(request: Request) -> Response:
    """Balance, ways to top up, history."""
    return await _page(request, Form())


async def redeem(request: Request) -> Response:
    """Credits a voucher to the tenant, once."""
    form = await Form.read(request, "voucher")
    try:
        redeemed = await purchases.redeem(
            console_of(request), tenant_of(request), form["voucher"], deeds.actor_of(request)
        )
    except Refusal as refusal:
        if refusal.kind not in _VOUCHER_REFUSALS:
            raise
        return await _page(request, form.wrong("voucher", sentence(refusal)), 422)
    return redirect(request, PATH, "voucher_redeemed_before" if redeemed.repeated else "voucher_redeemed")


def ways_of(brand: auth_pb2.Brand, providers: Iterable[Provider]) -> list[Way]:
    """How this brand's customers top up: by voucher where the brand says so, else where a provider is offered."""
    offered = {provider.way for provider in providers}
    if sells_by(brand, auth_pb2.TOP_UP_VOUCHER):
        offered.add(auth_pb2.TOP_UP_VOUCHER)
    return [way for way in WAYS if way.top_ups & offered]


async def _page(request: Request, form: Form, status: int = 200) -> Response:
    console, tenant_id, brand = console_of(request), tenant_of(request), visit_of(request).brand
    after = request.query_params.get("after", "")
    after = after if after.isascii() and after.isdecimal() and len(after) <= _TOKEN_MOST else ""
    show = _CREDIT if request.query_params.get("show") == _CREDIT else ""
    balance, history = await asyncio.gather(
        console.clients.usage.GetBalance(usage_pb2.GetBalanceRequest(tenant_id=tenant_id)),
        console.clients.billing.ListTransactions(
            billing_pb2.ListTransactionsRequest(
                tenant_id=tenant_id, page_size=_PAGE, page_token=after, without_usage=bool(show)
            )
        ),
    )
    return console.renderer.page(
        request,
        "billing.html",
        status,
        form=form,
        ways=ways_of(brand, console.cashier.offered(brand)),
        balance=balance,
        transactions=history.transactions,
        kinds=KINDS,
        show=show,
        newest=_address(show) if after else "",
        older=_address(show, history.next_page_token) if history.next_page_token else "",
    )


def _address(show: str, after: str = "") -> str:
    """A page of the history."""
    said = urlencode({name: value for name, value in (("show", show), ("after", after)) if value})
    return f"{PATH}?{said}" if said else PATH


routes = [customer(PATH, billing), customer(f"{PATH}/voucher", redeem, ["POST"])]
