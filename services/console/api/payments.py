"""How a customer comes by credit: vouchers, and payments through a provider."""

from typing import Any, Final

from services.console import purchases
from services.console.access_tokens import Scope
from services.console.api.admin.resources import PAGING, size_of
from services.console.api.key_forms import NANO_PER_QUOTA, of_data, success
from services.console.api.messages import Schema
from services.console.api.operation import Call, Operation
from services.console.api.payment_objects import (
    NewPayment,
    PaymentObject,
    PaymentStanding,
    ProviderObject,
    TopUpWays,
    VoucherCode,
    payment_object,
    standing,
)
from services.console.api.usage import of_page
from services.console.brands import sells_by
from services.console.payments.payment import Payment
from services.console.problems import Problem
from services.console.visit import visit_of
from services.shared import ids
from services.shared.money import NANO_PER_DOLLAR
from tollhouse.v1 import auth_pb2

PATH: Final = "/api/user/payments"


async def redeem(call: Call) -> Any:
    """Credits a voucher, once; answers its worth in quota, as New-API does. Redeeming it again changes nothing."""
    redeemed = await purchases.redeem(call.console, call.caller.tenant_id, call.body.key, call.caller.actor)
    said = success(redeemed.amount_nano // NANO_PER_QUOTA)
    return said | {"message": "It was redeemed before."} if redeemed.repeated else said


async def ways(call: Call) -> Any:
    """How the brand of the host sells credit."""
    settings, brand = call.console.settings, visit_of(call.request).brand
    offered = call.console.cashier.offered(brand)
    return success(
        TopUpWays(
            vouchers=sells_by(brand, auth_pb2.TOP_UP_VOUCHER),
            providers=[ProviderObject(provider.name, provider.label) for provider in offered],
            least_nano=settings.payment_least * NANO_PER_DOLLAR,
            most_nano=settings.payment_most * NANO_PER_DOLLAR,
        )
    )


async def begin(call: Call) -> Any:
    """Begins a payment; its `url` is where it is paid."""
    wanted: NewPayment = call.body
    if wanted.payment_id and not ids.is_ulid(wanted.payment_id):
        raise Problem(400, "payment_id: a ULID is needed.", param="payment_id")
    person, url = call.caller.person, call.request.url
    payment = Payment(
        wanted.payment_id or ids.ulid(), person.tenant_id, person.person_id, wanted.provider, wanted.amount_nano
    )
    brand = visit_of(call.request).brand
    return success(payment_object(await purchases.begin(call.console, payment, brand, f"{url.scheme}://{url.netloc}")))


async def list_payments(call: Call) -> Any:
    """A page of the tenant's payments, newest first."""
    limit, before = size_of(call), call.query.get("cursor", "")
    found = await call.console.cashier.store.of_tenant(call.caller.tenant_id, limit + 1, before)
    cursor = found[limit - 1].payment_id if len(found) > limit else None
    return success({"items": [payment_object(payment) for payment in found[:limit]], "next_cursor": cursor})


async def get_payment(call: Call) -> Any:
    """One of them, as its provider says, who is asked anew where it is under way."""
    payment = await purchases.own_payment(call.console, call.caller.tenant_id, call.path("payment_id"))
    return success(standing(payment, await purchases.credited_nano(call.console, payment)))


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


NAMED: Final = (PaymentObject, PaymentStanding, TopUpWays)

operations = (
    Operation(
        method="POST",
        path="/api/user/topup",
        name="redeemOwnVoucher",
        summary="Redeems a voucher, whose code is `key`; answers its worth in quota",
        scope=Scope.BILLING_WRITE,
        handle=redeem,
        body=VoucherCode,
        answer=of_data({"type": "integer"}),
        audited=False,
    ),
    Operation(
        method="GET",
        path="/api/user/top-up-ways",
        name="listOwnTopUpWays",
        summary="How credit can be bought, and the amounts that a payment may have",
        scope=Scope.ACCOUNT_READ,
        handle=ways,
        answer=of_data(_ref("TopUpWays")),
    ),
    Operation(
        method="GET",
        path=PATH,
        name="listOwnPayments",
        summary="The caller's payments, newest first",
        scope=Scope.ACCOUNT_READ,
        handle=list_payments,
        query=PAGING,
        answer=of_page("PaymentObject"),
    ),
    Operation(
        method="POST",
        path=PATH,
        name="beginOwnPayment",
        summary="Begins a payment; `url` is where it is paid",
        scope=Scope.BILLING_WRITE,
        handle=begin,
        body=NewPayment,
        answer=of_data(_ref("PaymentObject")),
        target="{own_tenant}",
    ),
    Operation(
        method="GET",
        path=PATH + "/{payment_id}",
        name="getOwnPayment",
        summary="How a payment stands, and what it has credited",
        scope=Scope.ACCOUNT_READ,
        handle=get_payment,
        answer=of_data(_ref("PaymentStanding")),
    ),
)
