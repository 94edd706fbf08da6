"""Adding credit: the amount and the way, then the provider's own page, then how the payment stands."""

from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from services.console.brands import sells_by
from services.console.console import console_of
from services.console.forms import Form
from services.console.guards import customer
from services.console.payments.cashier import Taken
from services.console.payments.payment import NANO_PER_CENT, Payment, ProviderFailed
from services.console.rendering import redirect
from services.console.visit import person_of, tenant_of, visit_of
from services.shared import ids
from services.shared.money import NANO_PER_DOLLAR, nano_from_dollars
from services.shared.telemetry import logger
from tollhouse.v1 import auth_pb2, usage_pb2

PAY: Final = "/dashboard/billing/pay"
PAYMENTS: Final = "/dashboard/billing/payments"
_PAGE: Final = 25
_SUGGESTED: Final = (10, 25, 50, 100)

_AWAY: Final = "The payment provider does not answer just now, and nothing was charged. Please try again in a moment."
_log = logger("payments")


async def choose(request: Request) -> Response:
    """The form, with an id that makes sending it twice one payment."""
    return await _form(request, Form({"payment_id": ids.ulid()}))


async def pay(request: Request) -> Response:
    """Stores the payment, then sends the person to its provider. A redirect would be stopped by the policy that forms
    go to our own pages only, so scripts leave by `hx-redirect`; others find the link on the payment's page."""
    form, console = await Form.read(request, "payment_id", "amount", "provider"), console_of(request)
    offered = {provider.name for provider in console.cashier.offered(visit_of(request).brand)}
    amount_nano = _amount(request, form)
    if form["provider"] not in offered:
        form.wrong("provider", "Please choose how to pay.")
    if not ids.is_ulid(form["payment_id"]):
        form.values["payment_id"] = ids.ulid()
    if form.errors:
        return await _form(request, form, 422)
    person = person_of(request)
    wanted = Payment(form["payment_id"], tenant_of(request), person.person_id, form["provider"], amount_nano)
    path = f"{PAYMENTS}/{wanted.payment_id}"
    try:
        payment = await console.cashier.begin(wanted, f"{request.url.scheme}://{request.url.netloc}{path}")
    except Taken:
        form.values["payment_id"] = ids.ulid()
        return await _form(request, form.wrong("", "This form was sent before. Please send it once more."), 422)
    except ProviderFailed as failed:
        _log.error("payment_not_begun", provider=wanted.provider, error=str(failed))
        raise HTTPException(502, _AWAY) from None
    if request.headers.get("hx-request"):
        return Response(headers={"hx-redirect": payment.url})
    return redirect(request, path)


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
    cashier = console_of(request).cashier
    payment = await cashier.store.get(request.path_params["payment_id"])
    if payment is None or payment.tenant_id != tenant_of(request):
        raise HTTPException(404)
    payment = await cashier.look(payment)
    movements = await cashier.store.movements(payment.payment_id)
    provider = cashier.providers.get(payment.provider)
    return console_of(request).renderer.page(
        request,
        template,
        payment=payment,
        label=provider.label if provider else payment.provider,
        credited_nano=sum(movement.amount_nano for movement in movements if movement.done_at),
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


def _amount(request: Request, form: Form) -> int:
    """The amount in nano-dollars, whole cents; what is wrong with it is noted."""
    settings = console_of(request).settings
    try:
        amount_nano = nano_from_dollars(form["amount"].strip().replace(",", ""))
    except ValueError:
        form.wrong("amount", "An amount in dollars, such as 25 or 12.50.")
        return 0
    if not settings.payment_least * NANO_PER_DOLLAR <= amount_nano <= settings.payment_most * NANO_PER_DOLLAR:
        form.wrong("amount", f"From ${settings.payment_least} to ${settings.payment_most:,}.")
    elif amount_nano % NANO_PER_CENT:
        form.wrong("amount", "Whole cents, please.")
    return amount_nano


routes = [
    customer(PAY, choose),
    customer(PAY, pay, ["POST"]),
    customer(PAYMENTS, listed),
    customer(PAYMENTS + "/{payment_id}", show),
    customer(PAYMENTS + "/{payment_id}/standing", standing),
]
