"""How tenants come by credit, by pages and by programs: payments through a provider, and vouchers.

What does not go is a Problem whose `param` is the field that is at fault: a page says it there.
"""

from __future__ import annotations

from typing import Final

from services.console.console import Console
from services.console.payments.cashier import Taken
from services.console.payments.payment import NANO_PER_CENT, Payment, ProviderFailed
from services.console.problems import Problem
from services.shared.money import NANO_PER_DOLLAR
from services.shared.telemetry import logger
from tollhouse.v1 import auth_pb2, billing_pb2

PAYMENTS: Final = "/dashboard/billing/payments"
"""Where people see how their payments stand; providers send them back to one of them."""
REASON_MOST: Final = 200
"""Characters of the reason for a decision."""
_CODE_MOST: Final = 100
_AWAY: Final = "The payment provider does not answer just now, and nothing was charged. Please try again in a moment."
_log = logger("payments")


async def redeem(console: Console, tenant_id: str, code: str, actor: str) -> billing_pb2.RedeemVoucherResponse:
    """Credits a voucher to a tenant, once. Raises Refusal."""
    asked = billing_pb2.RedeemVoucherRequest(tenant_id=tenant_id, code=code[:_CODE_MOST], actor=actor)
    return await console.clients.billing.RedeemVoucher(asked)


def faults(console: Console, brand: auth_pb2.Brand, provider: str, amount_nano: int) -> dict[str, str]:
    """What is wrong with a payment that somebody wants to begin, by field."""
    settings, found = console.settings, {}
    if not settings.payment_least * NANO_PER_DOLLAR <= amount_nano <= settings.payment_most * NANO_PER_DOLLAR:
        found["amount"] = f"From ${settings.payment_least} to ${settings.payment_most:,}."
    elif amount_nano % NANO_PER_CENT:
        found["amount"] = "Whole cents, please."
    if provider not in {offered.name for offered in console.cashier.offered(brand)}:
        found["provider"] = "Please choose how to pay."
    return found


async def begin(console: Console, wanted: Payment, brand: auth_pb2.Brand, origin: str) -> Payment:
    """Stores a payment and finds where it is paid; begun again under its id it is the same one. `origin` is where the
    console was reached: people come back to it. Raises Problem."""
    for name, why in faults(console, brand, wanted.provider, wanted.amount_nano).items():
        raise Problem(400, why, param=name)
    try:
        return await console.cashier.begin(wanted, f"{origin}{PAYMENTS}/{wanted.payment_id}")
    except Taken:
        raise Problem(409, "This was sent before, as another payment. Please send it once more.") from None
    except ProviderFailed as failed:
        _log.error("payment_not_begun", provider=wanted.provider, error=str(failed))
        raise Problem(502, _AWAY) from None


async def own_payment(console: Console, tenant_id: str, payment_id: str) -> Payment:
    """One of a tenant's payments, as its provider says; another tenant's is not there. Raises Problem."""
    payment = await console.cashier.store.get(payment_id)
    if payment is None or payment.tenant_id != tenant_id:
        raise Problem(404, "There is no such payment.")
    return await console.cashier.look(payment)


async def credited_nano(console: Console, payment: Payment) -> int:
    """What a payment has moved its balance by, in nano-dollars."""
    movements = await console.cashier.store.movements(payment.payment_id)
    return sum(movement.amount_nano for movement in movements if movement.done_at)


async def payment_of(console: Console, payment_id: str) -> Payment:
    """Anybody's payment, for operators. Raises Problem."""
    payment = await console.cashier.store.get(payment_id)
    if payment is None:
        raise Problem(404, "There is no such payment.")
    return payment


async def decide(console: Console, payment: Payment, credit_nano: int, actor: str, reason: str) -> None:
    """Credits what came of a payment in review, or nothing. Raises Problem."""
    for name, why in decision_faults(payment, credit_nano, reason).items():
        raise Problem(400, why, param=name)
    if not await console.cashier.decide(payment, credit_nano, actor, reason.strip()):
        raise Problem(409, "It was decided or changed meanwhile, or needs no decision.")


def decision_faults(payment: Payment, credit_nano: int, reason: str) -> dict[str, str]:
    """What is wrong with a decision on a payment, by field."""
    found = {}
    if not 0 <= credit_nano <= payment.amount_nano:
        found["amount"] = "From $0 to what was asked for."
    if not reason.strip() or len(reason) > REASON_MOST:
        found["reason"] = "Please say why, for the history."
    return found
