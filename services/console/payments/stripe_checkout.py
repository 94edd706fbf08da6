"""Stripe: cards, by Checkout (https://docs.stripe.com/api/checkout/sessions).

A session is complete when the person is done, and paid when the money is: with delayed methods later, or never. What
went back is told by the charge: `amount_refunded`, and its disputes. A dispute takes the amount from us when it is
opened and gives it back when we win; an inquiry ("warning_...") takes nothing (https://docs.stripe.com/disputes).
"""

from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import stripe

from services.console.payments.json_api import TIMEOUT_S
from services.console.payments.payment import (
    CURRENCY,
    NANO_PER_CENT,
    Begun,
    Dispute,
    Forged,
    Heard,
    Payment,
    ProviderFailed,
    Report,
    State,
)
from services.shared.settings import Secret
from tollhouse.v1 import auth_pb2

_PAYMENT: Final = "payment"
"""The name under which our payment's id is in Stripe's metadata."""
_TAKEN: Final = ("needs_response", "under_review", "lost")
_DISPUTES: Final = {
    "needs_response": Dispute.OPEN,
    "under_review": Dispute.OPEN,
    "warning_needs_response": Dispute.OPEN,
    "warning_under_review": Dispute.OPEN,
    "won": Dispute.WON,
    "lost": Dispute.LOST,
}


class StripeCheckout:
    """One Stripe account."""

    name = "stripe"
    label = "Card"
    way = auth_pb2.TOP_UP_CARD

    def __init__(self, key: Secret, webhook_secret: Secret, url: str) -> None:
        self._webhook_secret = webhook_secret.reveal()
        self._http = stripe.AIOHTTPClient(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
        self._client = stripe.StripeClient(
            key.reveal(), http_client=self._http, base_addresses={"api": url.rstrip("/")}, max_network_retries=1
        )

    async def begin(self, payment: Payment, return_url: str) -> Begun:
        """A Checkout Session; asked again for the same payment Stripe answers the same one."""
        names = {_PAYMENT: payment.payment_id}
        asked: Any = {
            "mode": "payment",
            "client_reference_id": payment.payment_id,
            "metadata": names,
            "payment_intent_data": {"metadata": names},
            "line_items": [
                {
                    "quantity": 1,
                    "price_data": {
                        "currency": CURRENCY.lower(),
                        "unit_amount": payment.amount_nano // NANO_PER_CENT,
                        "product_data": {"name": "Credit"},
                    },
                }
            ],
            "success_url": return_url,
            "cancel_url": return_url,
        }
        try:
            session = await self._client.v1.checkout.sessions.create_async(
                asked, {"idempotency_key": payment.payment_id}
            )
        except stripe.StripeError as error:
            raise _failed(error) from error
        if not session.url:
            raise ProviderFailed("a Checkout Session without a URL")
        return Begun(session.id, session.url)

    def heard(self, headers: Mapping[str, str], body: bytes) -> Heard:
        """Stripe's library checks the signature and its age, five minutes at most."""
        try:
            event = self._client.construct_event(body, headers.get("stripe-signature"), self._webhook_secret)
        except (stripe.SignatureVerificationError, ValueError) as error:
            raise Forged(str(error)) from error
        said: dict[str, Any] = event.data.object.to_dict()
        return Heard(
            payment_id=(said.get("metadata") or {}).get(_PAYMENT, "") or said.get("client_reference_id") or "",
            reference=said.get("id") or "",
            part=said.get("payment_intent") or "",
            event=event.type,
        )

    async def report(self, payment: Payment) -> Report:
        """The session, its charge, and the charge's disputes."""
        try:
            session, disputes = await self._found(payment)
        except stripe.StripeError as error:
            raise _failed(error) from error
        intent = session.get("payment_intent") or {}
        charge = intent.get("latest_charge") or {}
        paid = session["payment_status"] == "paid"
        cents, currency = session.get("amount_total") or 0, (session.get("currency") or "").upper()
        taken = sum(dispute["amount"] for dispute in disputes if dispute["status"] in _TAKEN)
        return Report(
            state=_state(session, intent),
            asked_nano=cents * NANO_PER_CENT,
            currency=currency,
            received=f"{cents // 100}.{cents % 100:02} {currency}" if paid else "",
            received_nano=cents * NANO_PER_CENT if paid else 0,
            returned_nano=((charge.get("amount_refunded") or 0) + taken) * NANO_PER_CENT,
            dispute=next((_DISPUTES[said["status"]] for said in disputes if said["status"] in _DISPUTES), Dispute.NONE),
            parts=(intent["id"],) if intent else (),
        )

    async def _found(self, payment: Payment) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The session and its disputes. Raises stripe.StripeError."""
        retrieved = await self._client.v1.checkout.sessions.retrieve_async(
            payment.reference, {"expand": ["payment_intent.latest_charge"]}
        )
        session: dict[str, Any] = retrieved.to_dict()
        charge = (session.get("payment_intent") or {}).get("latest_charge") or {}
        if not charge.get("disputed"):
            return session, []
        listed = await self._client.v1.disputes.list_async({"charge": charge["id"]})
        return session, [one.to_dict() for one in listed.data]

    async def close(self) -> None:
        """Closes connections."""
        await self._http.close_async()  # type: ignore[no-untyped-call]


def _state(session: Mapping[str, Any], intent: Mapping[str, Any]) -> State:
    if session["payment_status"] == "paid":
        return State.PAID
    if session["status"] == "expired":
        return State.EXPIRED
    if session["status"] != "complete":
        return State.OPEN
    gone = intent.get("status") in ("requires_payment_method", "canceled")
    return State.FAILED if gone else State.PROCESSING


def _failed(error: stripe.StripeError) -> ProviderFailed:
    """What Stripe said, without the request, which may hold what is not for a log."""
    return ProviderFailed(f"Stripe: {type(error).__name__} {error.http_status} {error.code}")
