"""Adding credit: the amount and the way, then the provider's own page, then how the payment stands."""

from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from services.console import deeds, purchases
from services.console.brands import sells_by
from services.console.console import console_of
from services.console.forms import Form
from services.console.guards import customer
from services.console.payments.payment import Payment
from services.console.problems import Problem
from services.console.purchases import PAYMENTS
from services.console.rendering import redirect
from services.console.visit import person_of, tenant_of, visit_of
from services.shared import ids
from services.shared.money import nano_from_dollars
from tollhouse.v1 import auth_pb2, usage_pb2

PAY: Final = "/dashboard/billing/pay"
_PAGE: Final = 25
_SUGGESTED: Final = (10, 25, 50, 100)


async def choose(request: Request) -> Response:
    """The form, with an id that makes sending it twice one payment."""
    return await _form(request, Form({"payment_id": ids.ulid()}))


async def pay(request: Request) -> Response:
    """Stores the payment, then sends the person to its provider. A redirect would be stopped by the policy that forms
    go to our own pages only, so scripts leave by `hx-redirect`; others find the link on the payment's page."""
    form, console = await Form.read(request, "payment_id", "amount", "provider"), console_of(request)
    person, brand, amount_nano = person_of(request), visit_of(request).brand, _amount(form)
    for name, why in purchases.faults(console, brand, form["provider"], amount_nano).items():
        form.wrong(name, why)
    if not ids.is_ulid(form["payment_id"]):
        form.values["payment_id"] = ids.ulid()
    if form.errors:
        return await _form(request, form, 422)
    wanted = Payment(form["payment_id"], tenant_of(request), person.person_id, form["provider"], amount_nano)
    begin = partial(purchases.begin, console, wanted, brand, f"{request.url.scheme}://{request.url.netloc}")
    try:
        payment = await deeds.done(request, "begin_own_payment", wanted.tenant_id, begin, payment=wanted.payment_id)
    except Problem as problem:
        if problem.status != 409:
            raise
        form.values["payment_id"] = ids.ulid()
        return await _form(request, form.wrong("", problem.detail), 422)
    if request.headers.get("hx-request"):
        return Response(headers={"hx-redirect": payment.url})
    return redirect(request, f"{PAYMENTS}/{payment.payment_id}")


async def listed(request: Request) -> Response:
    """A tenant's payments, newest first."""
    before = request.query_params.get("before", "")
    payments = await console_of(request).cashier.store.of_tenant(tenant_of(request), _PAGE + 1, before)
    return console_of(request).renderer.page(
        request,
        "payments.html",
        payments=payments[:_PAGE],
        older=f"{PAYMENTS}?before={payments[_PAGE - 1].payment_id}" if len(payments) > _PAGE else "",
    )


async def show(request: Request) -> Response:
    """How one payment stands: where people come back to, paid or not."""
    return await _payment(request, "payment.html")


async def standing(request: Request) -> Response:
    """The piece of that page which renews itself."""
    return await _payment(request, "components/payment_standing.html")


async def _payment(request: Request, template: str) -> Response:
    console = console_of(request)
    payment = await purchases.own_payment(console, tenant_of(request), request.path_params["payment_id"])
    provider = console.cashier.providers.get(payment.provider)
    return console.renderer.page(
        request,
        template,
        payment=payment,
        label=provider.label if provider else payment.provider,
        credited_nano=await purchases.credited_nano(console, payment),
    )


async def _form(request: Request, form: Form, status: int = 200) -> Response:
    console = console_of(request)
    settings, tenant_id = console.settings, tenant_of(request)
    balance = await console.clients.usage.GetBalance(usage_pb2.GetBalanceRequest(tenant_id=tenant_id))
    suggested = [one for one in _SUGGESTED if settings.payment_least <= one <= settings.payment_most]
    brand = visit_of(request).brand
    return console.renderer.page(
        request,
        "pay.html",
        status,
        form=form,
        providers=console.cashier.offered(brand),
        vouchers=sells_by(brand, auth_pb2.TOP_UP_VOUCHER),
        balance=balance,
        suggested=suggested,
        least=settings.payment_least,
        most=settings.payment_most,
        recent=await console.cashier.store.of_tenant(tenant_id, 5),
    )


def _amount(form: Form) -> int:
    """The amount in nano-dollars; 0 for what is none, which is noted."""
    try:
        return nano_from_dollars(form["amount"].strip().replace(",", ""))
    except ValueError:
        form.wrong("amount", "An amount in dollars, such as 25 or 12.50.")
        return 0


routes = [
    customer(PAY, choose),
    customer(PAY, pay, ["POST"]),
    customer(PAYMENTS, listed),
    customer(PAYMENTS + "/{payment_id}", show),
    customer(PAYMENTS + "/{payment_id}/standing", standing),
]
