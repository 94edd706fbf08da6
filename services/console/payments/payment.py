"""A payment, what its provider says of it, and what that means for a balance. Pure.

A provider's webhook is never believed by itself: it makes us ask the provider how things stand, and what it answers
replaces what we knew. So it does not matter how often webhooks come, in which order, or whether they come at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, Protocol

from tollhouse.v1 import auth_pb2

CURRENCY: Final = "USD"
NANO_PER_CENT: Final = 10_000_000

_CHECK_LEAST: Final = timedelta(minutes=1)
_CHECKS_A_DOUBLING: Final = 4
_CARD_WATCHED: Final = timedelta(days=180)  # cardholders may dispute for 120 days, and banks take their time
_UNPAID_WATCHED: Final = timedelta(days=30)


class State(StrEnum):
    """How a payment stands."""

    OPEN = "open"
    """The person was sent away; no money was seen."""
    PROCESSING = "processing"
    """Money was seen, and is not final."""
    PAID = "paid"
    REVIEW = "review"
    """Money came, but not what was asked for: an operator decides."""
    EXPIRED = "expired"
    FAILED = "failed"


class Finding(StrEnum):
    """What is unusual about a payment."""

    NONE = ""
    PARTIAL = "partial"
    LATE = "late"
    OVER = "over"
    MISMATCH = "mismatch"
    """The provider's amount or currency is not the one that we asked for."""


class Dispute(StrEnum):
    """What became of a cardholder's dispute."""

    NONE = ""
    OPEN = "open"
    WON = "won"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class Report:
    """How a payment stands, as its provider says.

    Args:
        asked_nano: what the provider asked the person for, in nano-dollars.
        currency: in which currency; upper case.
        received: what came, for people: "0.0012 BTC".
        received_nano: the same in nano-dollars; 0 where the provider does not say it.
        returned_nano: what went back to the person, by refunds and disputes, in nano-dollars.
        parts: the provider's names for what belongs to the payment, such as Stripe's PaymentIntent.
    """

    state: State
    asked_nano: int
    currency: str = CURRENCY
    finding: Finding = Finding.NONE
    received: str = ""
    received_nano: int = 0
    returned_nano: int = 0
    dispute: Dispute = Dispute.NONE
    parts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Payment:
    """What somebody pays, or was about to."""

    payment_id: str
    tenant_id: str
    person_id: str
    provider: str
    amount_nano: int
    """What was asked for, and what is credited when all of it came."""
    reference: str = ""
    """The provider's name for it; empty until the provider has answered."""
    url: str = ""
    """Where the person pays."""
    parts: tuple[str, ...] = ()
    state: State = State.OPEN
    finding: Finding = Finding.NONE
    received: str = ""
    received_nano: int = 0
    returned_nano: int = 0
    dispute: Dispute = Dispute.NONE
    decided_nano: int | None = None
    """What an operator credited of a payment in review; 0 for nothing, None while nobody has decided."""
    version: int = 0
    """Counts changes, so that an old answer of a provider never replaces a newer one."""
    created_at: datetime | None = None
    changed_at: datetime | None = None

    @property
    def is_under_way(self) -> bool:
        """Whether it may be paid by itself yet, so that a page waits for it."""
        return self.state in (State.OPEN, State.PROCESSING)

    @property
    def needs_decision(self) -> bool:
        """Whether an operator has to look at it."""
        return self.state is State.REVIEW and self.decided_nano is None

    @property
    def due_nano(self) -> int:
        """What the payment has to have moved the balance by."""
        gross = {State.PAID: self.amount_nano, State.REVIEW: self.decided_nano or 0}.get(self.state, 0)
        return max(0, gross - self.returned_nano)


@dataclass(frozen=True, slots=True)
class Movement:
    """A change of the balance for a payment: noted first, then asked of the ledger, then noted as done."""

    payment_id: str
    number: int
    amount_nano: int
    """Above 0 for a credit."""
    done_at: datetime | None = None
    refused: str = ""
    """Why the ledger would not, as yet."""

    @property
    def idempotency_key(self) -> str:
        """The payment's id for the first movement, which credits it."""
        return self.payment_id if self.number == 1 else f"{self.payment_id}:{self.number}"


def absorbed(payment: Payment, report: Report) -> Payment:
    """The payment after what its provider says."""
    state, finding = report.state, report.finding
    as_asked = report.asked_nano == payment.amount_nano and report.currency.upper() == CURRENCY
    if not as_asked and state in (State.PAID, State.REVIEW):
        state, finding = State.REVIEW, Finding.MISMATCH
    return replace(
        payment,
        state=state,
        finding=finding,
        received=report.received,
        received_nano=report.received_nano,
        returned_nano=report.returned_nano,
        dispute=report.dispute,
        parts=tuple(sorted({*payment.parts, *report.parts})),
    )


def next_check(payment: Payment, now: datetime) -> datetime | None:
    """When to ask the provider without being told to: ever more rarely, some thirty times in all; None for no more."""
    age = now - payment.created_at if payment.created_at else timedelta()
    watched = _CARD_WATCHED if payment.state in (State.PAID, State.REVIEW) else _UNPAID_WATCHED
    return now + max(_CHECK_LEAST, age / _CHECKS_A_DOUBLING) if age < watched else None


# ---- the port ----


class ProviderFailed(Exception):
    """A provider does not answer, or answers what cannot be understood. Its text is for the log."""


class Forged(Exception):
    """A webhook whose signature is wrong, or missing."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A payment at its provider: what it is called there, and where the person pays."""

    reference: str
    url: str


@dataclass(frozen=True, slots=True)
class Heard:
    """Which payment a webhook speaks of, by any of its names; and what happened, for people."""

    payment_id: str = ""
    reference: str = ""
    part: str = ""
    event: str = ""


class Provider(Protocol):
    """Somebody who takes payments for us. Amounts are nano-dollars, all calls raise ProviderFailed."""

    name: str
    label: str
    way: auth_pb2.TopUp.ValueType
    """Which of a brand's ways to buy credit it is."""

    async def begin(self, payment: Payment, return_url: str) -> Begun:
        """Asks the provider for a place where the person can pay; `return_url` is where they come back to. Asked twice
        for the same payment it may answer two places, of which we tell the person one."""

    def heard(self, headers: Mapping[str, str], body: bytes) -> Heard:
        """Checks a webhook's signature and reads which payment it speaks of. Raises Forged."""

    async def report(self, payment: Payment) -> Report:
        """How a payment stands."""

    async def close(self) -> None:
        """Closes connections."""
