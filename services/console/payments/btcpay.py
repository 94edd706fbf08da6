"""BTCPay Server: hosted invoices through its Greenfield API (https://docs.btcpayserver.org/API/Greenfield/v1/).

An invoice is Settled when all of it came and is confirmed. Where less came in time it is Expired with PaidPartial, and
where all of it came too late it is Expired with PaidLate; whether to accept these is the merchant's choice, so they go
to an operator, who may also mark the invoice as settled in BTCPay Server: then we hear that. BTCPay Server sends
nothing back by itself.
"""

import hashlib
import hmac
from collections.abc import Mapping
from decimal import Decimal
from typing import Final
from urllib.parse import quote

import msgspec

from services.console.payments.json_api import JsonApi, decimal_text, nano
from services.console.payments.payment import CURRENCY, Begun, Finding, Forged, Heard, Payment, Report, State
from services.shared.money import NANO_PER_DOLLAR
from services.shared.settings import Secret
from tollhouse.v1 import auth_pb2

_SIGNATURE: Final = "btcpay-sig"
_STATES: Final = {
    "New": State.OPEN,
    "Processing": State.PROCESSING,
    "Settled": State.PAID,
    "Expired": State.EXPIRED,
    "Invalid": State.FAILED,
}
_FINDINGS: Final = {"PaidPartial": Finding.PARTIAL, "PaidLate": Finding.LATE, "PaidOver": Finding.OVER}


class _Invoice(msgspec.Struct, rename="camel", frozen=True):
    id: str
    amount: Decimal
    currency: str
    status: str
    additional_status: str = "None"
    checkout_link: str = ""


class _Method(msgspec.Struct, rename="camel", frozen=True):
    """What came by one coin; `rate` is dollars for one of it."""

    currency: str = ""
    payment_method_paid: Decimal = Decimal()
    rate: Decimal = Decimal()


class _Event(msgspec.Struct, rename="camel", frozen=True):
    type: str
    store_id: str = ""
    invoice_id: str = ""


class BtcPay:
    """One store of a BTCPay Server."""

    name = "btcpay"
    way = auth_pb2.TOP_UP_CRYPTO

    def __init__(self, url: str, store: str, key: Secret, webhook_secret: Secret, label: str) -> None:
        self.label = label
        self._store = store
        self._invoices = f"/api/v1/stores/{quote(store, safe='')}/invoices"
        self._webhook_secret = webhook_secret.reveal().encode()
        self._api = JsonApi(url, {"authorization": f"token {key.reveal()}"})

    async def begin(self, payment: Payment, return_url: str) -> Begun:
        """An invoice in dollars: the server says how much of each coin that is."""
        asked = {
            "amount": decimal_text(Decimal(payment.amount_nano) / NANO_PER_DOLLAR),
            "currency": CURRENCY,
            "metadata": {"orderId": payment.payment_id},
            "checkout": {"redirectURL": return_url, "redirectAutomatically": True},
        }
        invoice = await self._api.post(_Invoice, self._invoices, asked)
        return Begun(invoice.id, invoice.checkout_link)

    def heard(self, headers: Mapping[str, str], body: bytes) -> Heard:
        """The signature is over the body as it came."""
        made = hmac.new(self._webhook_secret, body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(headers.get(_SIGNATURE, "").encode(), f"sha256={made}".encode()):
            raise Forged(self.name)
        try:
            event = msgspec.json.decode(body, type=_Event)
        except msgspec.DecodeError as error:
            raise Forged(str(error)) from error
        return Heard(reference=event.invoice_id if event.store_id == self._store else "", event=event.type)

    async def report(self, payment: Payment) -> Report:
        """The invoice, and where money came the coins that it came in."""
        path = f"{self._invoices}/{quote(payment.reference, safe='')}"
        invoice = await self._api.get(_Invoice, path)
        methods = []
        if invoice.status != "New" or invoice.additional_status != "None":
            methods = await self._api.get(list[_Method], f"{path}/payment-methods")
        paid = [method for method in methods if method.payment_method_paid > 0]
        finding = _FINDINGS.get(invoice.additional_status, Finding.NONE)
        state = _STATES.get(invoice.status, State.PROCESSING)
        if state is State.EXPIRED and finding in (Finding.PARTIAL, Finding.LATE):
            state = State.REVIEW
        return Report(
            state=state,
            asked_nano=nano(invoice.amount),
            currency=invoice.currency,
            finding=finding,
            received=" + ".join(f"{decimal_text(method.payment_method_paid)} {method.currency}" for method in paid),
            received_nano=sum(nano(method.payment_method_paid * method.rate) for method in paid),
        )

    async def close(self) -> None:
        """Closes connections."""
        await self._api.close()
