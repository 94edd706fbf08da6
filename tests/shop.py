"""A deployment that sells credit, its payment providers, and customers who pay."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tests.deployment import Deployment, deployed
from tests.payment_providers import (
    BTCPAY_KEY,
    BTCPAY_SECRET,
    BTCPAY_STORE,
    IPN_ACCOUNT,
    IPN_KEY,
    IPN_SECRET,
    STRIPE_KEY,
    STRIPE_SECRET,
    BtcPay,
    NowPayments,
    Stripe,
    Webhook,
    listening,
)
from tests.visitors import Visitor, customer, operator, text_of

NANO = 1_000_000_000


@dataclass
class Shop:
    """A deployment and its payment providers."""

    tollhouse: Deployment
    stripe: Stripe
    nowpayments: NowPayments
    btcpay: BtcPay

    def send(self, name: str, webhook: Webhook) -> int:
        """Sends a webhook to the console; answers the status."""
        headers, body = webhook
        return httpx2.post(
            f"{self.tollhouse.console_url}/webhooks/{name}", content=body, headers=headers, timeout=30
        ).status_code


@dataclass
class Payer:
    """A customer with a payment under way."""

    visitor: Visitor
    shop: Shop
    tenant_id: str
    payment_id: str

    @property
    def balance(self) -> float:
        return self.shop.tollhouse.balance_nano(self.tenant_id) / NANO

    def page(self) -> str:
        return text_of(self.visitor.get(f"/dashboard/billing/payments/{self.payment_id}"))


@contextlib.contextmanager
def opened(state_dir: Path) -> Iterator[Shop]:
    """A shop until the block ends."""
    stripe, nowpayments, btcpay = Stripe(), NowPayments(), BtcPay()
    with contextlib.ExitStack() as stack:
        for stand_in in (stripe, nowpayments, btcpay):
            stack.enter_context(listening(stand_in))
        settings = {
            "STRIPE_KEY": STRIPE_KEY,
            "STRIPE_WEBHOOK_SECRET": STRIPE_SECRET,
            "STRIPE_URL": stripe.url,
            "NOWPAYMENTS_KEY": IPN_KEY,
            "NOWPAYMENTS_IPN_SECRET": IPN_SECRET,
            "NOWPAYMENTS_URL": nowpayments.url,
            "NOWPAYMENTS_EMAIL": IPN_ACCOUNT[0],
            "NOWPAYMENTS_PASSWORD": IPN_ACCOUNT[1],
            "BTCPAY_URL": btcpay.url,
            "BTCPAY_STORE": BTCPAY_STORE,
            "BTCPAY_KEY": BTCPAY_KEY,
            "BTCPAY_WEBHOOK_SECRET": BTCPAY_SECRET,
            "PAYMENTS_CHECK_S": "0.2",
        }
        named = {f"TOLLHOUSE_CONSOLE_{name}": value for name, value in settings.items()}
        yield Shop(stack.enter_context(deployed(state_dir, **named)), stripe, nowpayments, btcpay)


def payer(shop: Shop, provider: str, amount: str = "25") -> Payer:
    """A new customer who was just sent to the provider."""
    visitor = customer(shop.tollhouse)
    page = visitor.get("/dashboard/billing/pay").text
    payment_id = found(r'name="payment_id" value="(\w+)"', page)
    answer = visitor.send(
        "/dashboard/billing/pay", "/dashboard/billing/pay", payment_id=payment_id, amount=amount, provider=provider
    )
    assert answer.status_code == 303, text_of(answer)
    assert answer.headers["location"] == f"/dashboard/billing/payments/{payment_id}"
    listed = operator(shop.tollhouse).get(f"/operator/payments/{payment_id}").text
    return Payer(visitor, shop, found(r"/operator/tenants/([\w-]+)\"", listed), payment_id)


def found(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match is not None, pattern
    return match[1]
