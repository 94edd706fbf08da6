"""Everybody's payments: what came, and what becomes of what came otherwise than asked for."""

from typing import Any, Final

from services.console import purchases
from services.console.api.admin.resources import STRING, changing, listing, passed_on, reading, size_of
from services.console.api.operation import Call
from services.console.api.payment_objects import AnyPayment, Decision, PaymentRecord, any_payment, record
from services.console.payments.payment import Payment
from services.console.payments.store import SHOWN
from services.console.problems import Problem

_STATES: Final = SHOWN[1:]


async def list_payments(call: Call) -> Any:
    """A page of payments, newest first, narrowed by how they stand and by tenant."""
    state, limit = call.query.get("state", ""), size_of(call)
    if state not in SHOWN:
        raise Problem(400, f"state: one of {', '.join(_STATES)} is needed.", param="state")
    store, query = call.console.cashier.store, call.query
    found = await store.page(limit + 1, state, query.get("tenant_id", ""), query.get("cursor", ""))
    cursor = found[limit - 1].payment_id if len(found) > limit else ""
    return passed_on((any_payment(payment) for payment in found[:limit]), cursor)


async def get_payment(call: Call) -> PaymentRecord:
    """One payment, what it moved, and its history."""
    return await _record(call, await _payment(call))


async def check_payment(call: Call) -> PaymentRecord:
    """Asks the provider now, and brings the balance to what it says."""
    payment = await _payment(call)
    await call.console.cashier.check(payment.payment_id)
    return await get_payment(call)


async def decide_payment(call: Call) -> PaymentRecord:
    """Credits what came of a payment in review, or nothing."""
    payment, wanted = await _payment(call), call.body
    await purchases.decide(call.console, payment, wanted.credit_nano, call.caller.actor, wanted.reason)
    return await get_payment(call)


async def _payment(call: Call) -> Payment:
    return await purchases.payment_of(call.console, call.path("payment_id"))


async def _record(call: Call, payment: Payment) -> PaymentRecord:
    store = call.console.cashier.store
    return record(payment, await store.movements(payment.payment_id), await store.events(payment.payment_id))


_ONE: Final = "/payments/{payment_id}"

operations = (
    listing(
        "/payments",
        "listPayments",
        "Everybody's payments, newest first",
        list_payments,
        AnyPayment,
        {"state": {"type": "string", "enum": list(_STATES)}, "tenant_id": STRING},
    ),
    reading(
        _ONE, "getPayment", "One payment with its movements of the balance and its history", get_payment, PaymentRecord
    ),
    changing(
        "POST", _ONE + "/check", "checkPayment", "Asks the provider how it stands now", check_payment, PaymentRecord
    ),
    changing(
        "POST",
        _ONE + "/decide",
        "decidePayment",
        "Credits what came of a payment in review, or nothing",
        decide_payment,
        PaymentRecord,
        body=Decision,
        current=get_payment,
    ),
)
