"""One request: what it used, what each class of token cost, its attempts, and its receipt."""

from dataclasses import dataclass
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from services.console import tariff
from services.console.console import console_of
from services.console.guards import customer
from services.console.pages.keys import keys_of
from services.console.pages.usage import PATH, status_of
from services.console.tariff import CLASSES, rates_of
from services.console.visit import tenant_of
from services.shared.errors import Kind, Refusal
from services.shared.money import LIST_PRICE_PPM, nano_from_pico
from services.shared.pricing import Rates
from tollhouse.v1 import billing_pb2, types_pb2, usage_pb2

_WAIT_MS: Final = 2000


@dataclass(frozen=True, slots=True)
class Line:
    """What the tokens of one class cost."""

    label: str
    tokens: int
    million_nano: int
    """The list price of a million of them."""
    cost_nano: int


async def request_page(request: Request) -> Response:
    """One request of the tenant's. Another tenant's does not exist."""
    console, tenant_id = console_of(request), tenant_of(request)
    asked = usage_pb2.GetUsageRequest(
        request_id=request.path_params["request_id"], tenant_id=tenant_id, wait_ms=_WAIT_MS
    )
    try:
        usage = (await console.clients.usage.GetUsage(asked)).usage
    except Refusal as refusal:
        raise _unknown(refusal) from None
    price = await _price(request, usage.price_version)
    names = {key.key_id: key.name for key in await keys_of(console, tenant_id)}
    ppm = usage.multiplier_ppm or LIST_PRICE_PPM
    return console.renderer.page(
        request,
        "usage_request.html",
        usage=usage,
        price=price,
        lines=lines(rates_of(price), usage.tokens, ppm) if price else [],
        percent=tariff.per_cent(ppm),
        key_name=names.get(usage.key_id, ""),
        key_exists=usage.key_id in names,
        status_of=status_of,
    )


async def receipt(request: Request) -> Response:
    """The request's signed receipt, as a file."""
    asked = usage_pb2.GetReceiptRequest(
        request_id=request.path_params["request_id"], tenant_id=tenant_of(request), wait_ms=_WAIT_MS
    )
    try:
        made = await console_of(request).clients.usage.GetReceipt(asked)
    except Refusal as refusal:
        raise _unknown(refusal) from None
    name = f"receipt-{asked.request_id}.jwt"
    return Response(
        made.receipt,
        media_type="application/jwt",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


def lines(rates: Rates, tokens: types_pb2.TokenCounts, ppm: int) -> list[Line]:
    """A line for each class of token that was used, and one for the request itself where it has a price."""
    found = [
        Line(label, count, tariff.a_million(rates, name), nano_from_pico(count * int(getattr(rates, name)), ppm))
        for name, label in CLASSES.items()
        if (count := int(getattr(tokens, name)))
    ]
    if rates.request and tokens.requests:
        whole = nano_from_pico(rates.request)
        found.append(Line("The request itself", tokens.requests, whole, nano_from_pico(rates.request, ppm)))
    return found


async def _price(request: Request, version: int) -> billing_pb2.Price | None:
    """The price row that a request was charged by; none for one that was charged nothing."""
    if not version:
        return None
    asked = billing_pb2.GetPriceRequest(price_version=version)
    return (await console_of(request).clients.billing.GetPrice(asked)).price


def _unknown(refusal: Refusal) -> Exception:
    return HTTPException(404) if refusal.kind is Kind.USAGE_UNKNOWN else refusal


routes = [
    customer(f"{PATH}/{{request_id}}", request_page),
    customer(f"{PATH}/{{request_id}}/receipt", receipt),
]
