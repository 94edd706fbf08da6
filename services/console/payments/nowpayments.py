"""NOWPayments: hosted invoices (https://documenter.getpostman.com/view/7907941/2s93JusNJt).

An invoice has no state of its own: each try to pay it is a payment with an id, which its webhooks ("IPN") name. So we
keep those ids and ask for each. Where the first webhook was lost we know of none; the list of an invoice's payments,
which would name them, is open only to whoever signs in with the account's e-mail address and password.

finished: all of it came. partially_paid: less came, and is in our wallet. refunded: it went back to the person.
"""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final
from urllib.parse import quote

import msgspec

from services.console.payments.json_api import JsonApi, decimal_text, nano
from services.console.payments.payment import (
    CURRENCY,
    Begun,
    Finding,
    Forged,
    Heard,
    Payment,
    ProviderFailed,
    Report,
    State,
)
from services.shared.money import NANO_PER_DOLLAR
from services.shared.settings import Secret
from tollhouse.v1 import auth_pb2

_SIGNATURE: Final = "x-nowpayments-sig"
_UNDER_WAY: Final = ("confirming", "confirmed", "sending")


class _Invoice(msgspec.Struct, frozen=True):
    id: int | str
    invoice_url: str


class _Try(msgspec.Struct, frozen=True):
    """One try to pay an invoice."""

    payment_id: int | str
    payment_status: str
    price_amount: Decimal
    price_currency: str
    invoice_id: int | str | None = None
    order_id: str | None = None
    pay_amount: Decimal | None = None
    pay_currency: str = ""
    actually_paid: Decimal | None = None

    @property
    def number(self) -> str:
        """Its id: a number in some answers, a text in others."""
        return str(self.payment_id)

    @property
    def invoice(self) -> str:
        """The id of its invoice, likewise."""
        return str(self.invoice_id or "")

    @property
    def paid(self) -> Decimal:
        """What came, in the coin."""
        return self.actually_paid or Decimal()

    @property
    def paid_nano(self) -> int:
        """What came, in nano-dollars, at the rate of the try."""
        return nano(self.price_amount * self.paid / self.pay_amount) if self.pay_amount else 0


class _Listed(msgspec.Struct, frozen=True):
    data: list[_Try]


class _SignedIn(msgspec.Struct, frozen=True):
    token: str


class NowPayments:
    """One account at NOWPayments.

    Args:
        webhook_url: where webhooks are to come to; what the account's own settings say when empty.
        account: e-mail address and password, to find payments whose webhooks were lost.
    """

    name = "nowpayments"
    way = auth_pb2.TOP_UP_CRYPTO

    def __init__(
        self,
        url: str,
        key: Secret,
        ipn_secret: Secret,
        label: str,
        webhook_url: str = "",
        account: tuple[str, Secret] | None = None,
    ) -> None:
        self.label = label
        self._webhook_url = webhook_url
        self._ipn_secret = ipn_secret.reveal().encode()
        self._account = account
        self._api = JsonApi(url, {"x-api-key": key.reveal()})

    async def begin(self, payment: Payment, return_url: str) -> Begun:
        """An invoice in dollars; the person picks the coin."""
        asked: dict[str, Any] = {
            "price_amount": msgspec.Raw(decimal_text(Decimal(payment.amount_nano) / NANO_PER_DOLLAR).encode()),
            "price_currency": CURRENCY.lower(),
            "order_id": payment.payment_id,
            "order_description": "Credit",
            **dict.fromkeys(("success_url", "cancel_url", "partially_paid_url"), return_url),
        }
        if self._webhook_url:
            asked["ipn_callback_url"] = self._webhook_url
        invoice = await self._api.post(_Invoice, "/v1/invoice", asked)
        return Begun(str(invoice.id), invoice.invoice_url)

    def heard(self, headers: Mapping[str, str], body: bytes) -> Heard:
        """The signature is over the body with its keys sorted."""
        try:
            said = canonical(body)
            one = msgspec.json.decode(body, type=_Try, strict=False)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Forged(str(error)) from error
        made = hmac.new(self._ipn_secret, said, hashlib.sha512).hexdigest()
        if not hmac.compare_digest(headers.get(_SIGNATURE, "").encode(), made.encode()):
            raise Forged(self.name)
        return Heard(one.order_id or "", one.invoice, one.number, one.payment_status)

    async def report(self, payment: Payment) -> Report:
        """All tries together."""
        tries = {one.number: one for one in await self._listed(payment)}
        for part in payment.parts:
            if part not in tries:
                tries[part] = await self._api.get(_Try, f"/v1/payment/{quote(part, safe='')}")
        return reported(payment, [one for one in tries.values() if _is_of(one, payment)])

    async def close(self) -> None:
        """Closes connections."""
        await self._api.close()

    async def _listed(self, payment: Payment) -> Sequence[_Try]:
        if self._account is None:
            return ()
        email, password = self._account
        signed_in = await self._api.post(_SignedIn, "/v1/auth", {"email": email, "password": password.reveal()})
        path = f"/v1/payment/?limit=100&page=0&invoiceId={quote(payment.reference, safe='')}"
        return (await self._api.get(_Listed, path, {"authorization": f"Bearer {signed_in.token}"})).data


def canonical(body: bytes) -> bytes:
    """A JSON object with its keys sorted at every depth and no space, numbers as they were written: what NOWPayments
    signs. Raises msgspec.DecodeError, UnicodeDecodeError, RecursionError."""
    decoder = msgspec.json.Decoder(dict[str, Any], float_hook=lambda text: msgspec.Raw(text.encode()))
    return msgspec.json.encode(decoder.decode(body), order="sorted")


def reported(payment: Payment, tries: Sequence[_Try]) -> Report:
    """What the tries to pay an invoice come to."""
    for one in tries:
        if one.payment_status == "":
            raise ProviderFailed(f"payment {one.number} has no status")
    states = {one.payment_status for one in tries}
    came = [one for one in tries if one.paid > 0]
    finished = [one for one in tries if one.payment_status == "finished"]
    sent_back = [one for one in tries if one.payment_status == "refunded"]
    asked = (finished or came or list(tries))[:1]
    state, finding = State.OPEN, Finding.NONE
    if finished:
        over = len(came) > 1 or any(one.pay_amount and one.paid > one.pay_amount for one in finished)
        state, finding = State.PAID, Finding.OVER if over else Finding.NONE
    elif sent_back:
        state = State.PAID  # and all of it returned, below
    elif "partially_paid" in states:
        state, finding = State.REVIEW, Finding.PARTIAL
    elif states & set(_UNDER_WAY):
        state = State.PROCESSING
    elif states and states <= {"expired", "failed"}:
        state = State.FAILED if "failed" in states else State.EXPIRED
    return Report(
        state=state,
        asked_nano=nano(asked[0].price_amount) if asked else payment.amount_nano,
        currency=asked[0].price_currency.upper() if asked else CURRENCY,
        finding=finding,
        received=" + ".join(f"{decimal_text(one.paid)} {one.pay_currency.upper()}" for one in came),
        received_nano=sum(one.paid_nano for one in came),
        returned_nano=payment.amount_nano if sent_back and not finished else 0,
        parts=tuple(one.number for one in tries),
    )


def _is_of(one: _Try, payment: Payment) -> bool:
    return one.order_id == payment.payment_id or one.invoice == payment.reference
