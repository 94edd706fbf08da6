"""Operators' list of payments: what came, what needs a decision, what a balance could not give back."""

from functools import partial
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from services.console import deeds, purchases
from services.console.console import console_of
from services.console.forms import Form
from services.console.guards import operator
from services.console.payments.payment import NANO_PER_CENT, Payment
from services.console.payments.store import SHOWN
from services.console.problems import Problem
from services.console.rendering import redirect
from services.shared.money import nano_from_dollars

_LIST: Final = "/operator/payments"
_PAGE: Final = 50


async def listed(request: Request) -> Response:
    """Payments of everybody, narrowed by how they stand and by tenant."""
    store, said = console_of(request).cashier.store, request.query_params
    narrowed_to = said.get("state", "") if said.get("state", "") in SHOWN else ""
    tenant_id = said.get("tenant", "").strip()
    payments = await store.page(_PAGE + 1, narrowed_to, tenant_id, said.get("before", ""))
    review, owed = await store.counts()
    kept = {"state": narrowed_to, "tenant": tenant_id}
    older = f"{_LIST}?{urlencode(kept | {'before': payments[_PAGE - 1].payment_id})}" if len(payments) > _PAGE else ""
    return console_of(request).renderer.page(
        request,
        "operators/payments.html",
        payments=payments[:_PAGE],
        older=older,
        review=review,
        owed=owed,
        shown=SHOWN,
        narrowed_to=narrowed_to,
        tenant_id=tenant_id,
        providers=console_of(request).cashier.providers.values(),
    )


async def show(request: Request) -> Response:
    """One payment, what it moved, and its history."""
    payment = await _payment(request)
    return await _page(request, payment, Form({"amount": _suggested(payment)}))


async def check(request: Request) -> Response:
    """Asks the provider now."""
    payment = await _payment(request)
    change = partial(console_of(request).cashier.check, payment.payment_id)
    await deeds.done(request, "check_payment", payment.payment_id, change, tenant=payment.tenant_id)
    return redirect(request, f"{_LIST}/{payment.payment_id}", "payment_checked")


async def decide(request: Request) -> Response:
    """Credits what came of a payment in review, or nothing."""
    payment = await _payment(request)
    form = await Form.read(request, "amount", "reason")
    credit_nano = _credit(form)
    for name, why in purchases.decision_faults(payment, credit_nano, form["reason"]).items():
        form.wrong(name, why)
    if form.errors:
        return await _page(request, payment, form, 422)
    change = partial(
        purchases.decide, console_of(request), payment, credit_nano, deeds.actor_of(request), form["reason"]
    )
    path, details = f"{_LIST}/{payment.payment_id}", {"tenant": payment.tenant_id, "amount_nano": credit_nano}
    try:
        await deeds.done(request, "decide_payment", payment.payment_id, change, reason=form["reason"], **details)
    except Problem as problem:
        if problem.status != 409:
            raise
        return redirect(request, path, "payment_meanwhile")
    return redirect(request, path, "payment_decided")


async def _payment(request: Request) -> Payment:
    return await purchases.payment_of(console_of(request), request.path_params["payment_id"])


async def _page(request: Request, payment: Payment, form: Form, status: int = 200) -> Response:
    store = console_of(request).cashier.store
    movements = await store.movements(payment.payment_id)
    return console_of(request).renderer.page(
        request,
        "operators/payment.html",
        status,
        payment=payment,
        form=form,
        movements=movements,
        events=await store.events(payment.payment_id),
        credited_nano=sum(movement.amount_nano for movement in movements if movement.done_at),
    )


def _suggested(payment: Payment) -> str:
    """What came, in dollars and whole cents, but no more than was asked for."""
    cents = min(payment.received_nano, payment.amount_nano) // NANO_PER_CENT
    return f"{cents // 100}.{cents % 100:02}"


def _credit(form: Form) -> int:
    """The amount in nano-dollars; 0 for what is none, which is noted."""
    try:
        return nano_from_dollars(form["amount"].strip().replace(",", ""))
    except ValueError:
        form.wrong("amount", "An amount in dollars; 0 credits nothing.")
        return 0


routes = [
    operator(_LIST, listed),
    operator(_LIST + "/{payment_id}", show),
    operator(_LIST + "/{payment_id}/check", check, ["POST"]),
    operator(_LIST + "/{payment_id}/decide", decide, ["POST"]),
]
