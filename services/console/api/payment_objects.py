"""Payments as objects, and what is asked for to begin or to decide one. Amounts are nano-dollars, instants Unix
milliseconds. Pure."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from services.console.payments.payment import Movement, Payment, State
from services.console.payments.store import Event
from services.shared import clock


class PaymentObject(msgspec.Struct):
    """A payment as its payer sees it."""

    payment_id: str
    provider: str
    amount_nano: int
    """What was asked for."""
    state: str
    """open, processing, paid, review, expired or failed."""
    finding: str
    """What is unusual: partial, late, over, mismatch, or nothing."""
    received: str
    """What came, as the provider says it."""
    received_nano: int
    returned_nano: int
    dispute: str
    """open, won, lost, or nothing."""
    decided_nano: int | None
    """What an operator credited of one in review; null while nobody has decided."""
    url: str
    """Where it is paid, while it can be."""
    created_ms: int
    changed_ms: int


class PaymentStanding(PaymentObject):
    """A payment, and what it has moved the balance by."""

    credited_nano: int


class AnyPayment(PaymentObject):
    """A payment as operators see it."""

    tenant_id: str
    person_id: str
    reference: str
    """The provider's name for it."""
    needs_decision: bool


class MovementObject(msgspec.Struct):
    """A change of the balance for a payment."""

    number: int
    amount_nano: int
    done_ms: int | None
    refused: str
    """Why the ledger would not, as yet."""


class EventObject(msgspec.Struct):
    """Something that happened to a payment."""

    at_ms: int
    source: str
    said: str


class PaymentRecord(AnyPayment):
    """A payment with all that it moved and all that happened to it."""

    credited_nano: int
    movements: list[MovementObject]
    events: list[EventObject]


class NewPayment(msgspec.Struct):
    """A payment to begin."""

    amount_nano: int
    provider: str
    payment_id: str = ""
    """A ULID that the caller makes, so that asking again is the same payment; made here when it is empty."""


class Decision(msgspec.Struct, forbid_unknown_fields=True):
    """What of a payment in review is credited, and why."""

    credit_nano: int
    reason: str


class VoucherCode(msgspec.Struct):
    """A voucher's code, in the field that New-API's clients send it in."""

    key: str

    def __repr__(self) -> str:
        return "VoucherCode(...)"


class ProviderObject(msgspec.Struct):
    """A way to pay."""

    name: str
    label: str


class TopUpWays(msgspec.Struct):
    """How the caller may come by credit."""

    vouchers: bool
    providers: list[ProviderObject]
    least_nano: int
    most_nano: int


def payment_object(payment: Payment) -> PaymentObject:
    """For its payer."""
    return PaymentObject(**_fields(payment))


def standing(payment: Payment, credited_nano: int) -> PaymentStanding:
    """For its payer, who asks for this one."""
    return PaymentStanding(**_fields(payment), credited_nano=credited_nano)


def any_payment(payment: Payment) -> AnyPayment:
    """For operators."""
    return AnyPayment(**_fields(payment), **_of_operators(payment))


def record(payment: Payment, movements: Iterable[Movement], events: Iterable[Event]) -> PaymentRecord:
    """For operators, who ask for this one."""
    made = list(movements)
    return PaymentRecord(
        **_fields(payment),
        **_of_operators(payment),
        credited_nano=sum(movement.amount_nano for movement in made if movement.done_at),
        movements=[
            MovementObject(one.number, one.amount_nano, _ms(one.done_at) if one.done_at else None, one.refused)
            for one in made
        ],
        events=[EventObject(_ms(event.at), event.source, event.said) for event in events],
    )


def _fields(payment: Payment) -> dict[str, Any]:
    return {
        "payment_id": payment.payment_id,
        "provider": payment.provider,
        "amount_nano": payment.amount_nano,
        "state": payment.state.value,
        "finding": payment.finding.value,
        "received": payment.received,
        "received_nano": payment.received_nano,
        "returned_nano": payment.returned_nano,
        "dispute": payment.dispute.value,
        "decided_nano": payment.decided_nano,
        "url": payment.url if payment.state is State.OPEN else "",
        "created_ms": _ms(payment.created_at),
        "changed_ms": _ms(payment.changed_at),
    }


def _of_operators(payment: Payment) -> dict[str, Any]:
    return {
        "tenant_id": payment.tenant_id,
        "person_id": payment.person_id,
        "reference": payment.reference,
        "needs_decision": payment.needs_decision,
    }


def _ms(at: datetime | None) -> int:
    return int(at.timestamp() * clock.MS_PER_S) if at else 0
