"""Payments on the real console, ledger and Postgres, with stand-ins for the providers: what came is credited, once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.shared import ids
from tests.payment_providers import Webhook
from tests.shop import Payer, Shop, payer
from tests.visitors import customer, operator, text_of

# ---- what came is credited ----


def test_a_card_payment_is_credited_when_stripe_says_that_it_is_paid(shop: Shop) -> None:
    one = payer(shop, "stripe", "12.50")
    assert "waiting" in one.page()
    assert f"{shop.stripe.url}/pay/" in one.visitor.get(f"/dashboard/billing/payments/{one.payment_id}").text
    assert shop.stripe.of(one.payment_id)["amount_total"] == 1250
    before = one.balance
    assert shop.send("stripe", shop.stripe.complete(one.payment_id)) == 200
    assert one.balance == before + 12.5
    assert "$12.50 is in your balance" in one.page()


@pytest.mark.parametrize("provider", ["nowpayments", "btcpay"])
def test_coins_are_credited_when_they_are_final_and_not_before(shop: Shop, provider: str) -> None:
    one = payer(shop, provider)
    before = one.balance
    if provider == "btcpay":
        steps = [shop.btcpay.becomes(one.payment_id, "Processing")]
    else:
        steps = [shop.nowpayments.pay(one.payment_id, "confirming", number="4242")]
    assert shop.send(provider, steps[0]) == 200
    assert one.balance == before
    assert "confirming" in one.page()
    if provider == "btcpay":
        final = shop.btcpay.becomes(one.payment_id, "Settled")
    else:
        final = shop.nowpayments.pay(one.payment_id, "finished", number="4242")
    assert shop.send(provider, final) == 200
    assert one.balance == before + 25
    assert "paid" in one.page()


def test_a_delayed_card_method_is_credited_when_the_money_is_there(shop: Shop) -> None:
    arrives, fails = payer(shop, "stripe"), payer(shop, "stripe")
    for one in (arrives, fails):
        assert shop.send("stripe", shop.stripe.complete(one.payment_id, paid=False)) == 200
        assert "confirming" in one.page()
    assert shop.send("stripe", shop.stripe.arrived(arrives.payment_id, paid=True)) == 200
    assert shop.send("stripe", shop.stripe.arrived(fails.payment_id, paid=False)) == 200
    assert (arrives.balance, fails.balance) == (25, 0)
    assert "did not go through" in fails.page()


def test_scripts_leave_for_the_provider_by_themselves(shop: Shop) -> None:
    visitor = customer(shop.tollhouse)
    fields = {"payment_id": ids.ulid(), "amount": "10", "provider": "stripe"}
    fields["csrf_token"] = visitor.token("/dashboard/billing/pay")
    answer = visitor.client.post("/dashboard/billing/pay", data=fields, headers={"hx-request": "true"})
    assert answer.headers["hx-redirect"].startswith(f"{shop.stripe.url}/pay/")


# ---- exactly once ----


def test_a_webhook_that_comes_often_and_at_once_credits_once(shop: Shop) -> None:
    paid: list[tuple[str, Payer, Callable[[], Webhook]]] = []
    for name in ("stripe", "nowpayments", "btcpay"):
        one = payer(shop, name)
        made = {
            "stripe": lambda one=one: shop.stripe.complete(one.payment_id),
            "nowpayments": lambda one=one: shop.nowpayments.pay(one.payment_id, "finished"),
            "btcpay": lambda one=one: shop.btcpay.becomes(one.payment_id, "Settled"),
        }[name]
        paid.append((name, one, made))
    for name, one, make in paid:
        webhook = make()
        with ThreadPoolExecutor(8) as threads:
            statuses = list(threads.map(lambda _, n=name, w=webhook: shop.send(n, w), range(16)))
        assert set(statuses) == {200}
        assert one.balance == 25, name


def test_webhooks_in_any_order_come_to_the_same(shop: Shop) -> None:
    one = payer(shop, "stripe")
    completed = shop.stripe.complete(one.payment_id)
    refunded = shop.stripe.refund(one.payment_id, 1000)
    assert shop.send("stripe", refunded) == 200
    assert one.balance == 15
    assert shop.send("stripe", completed) == 200
    assert one.balance == 15
    coins = payer(shop, "nowpayments")
    confirming = shop.nowpayments.pay(coins.payment_id, "confirming", number="777")
    assert shop.send("nowpayments", shop.nowpayments.pay(coins.payment_id, "finished", number="777")) == 200
    assert shop.send("nowpayments", confirming) == 200
    assert coins.balance == 25
    assert "paid" in coins.page()


def test_a_form_that_is_sent_twice_is_one_payment(shop: Shop) -> None:
    one = payer(shop, "btcpay")
    again = one.visitor.send(
        *("/dashboard/billing/pay", "/dashboard/billing/pay"),
        payment_id=one.payment_id,
        amount="25",
        provider="btcpay",
    )
    assert again.headers["location"].endswith(one.payment_id)
    made = [i for i in shop.btcpay.invoices.values() if i["metadata"]["orderId"] == one.payment_id]
    assert len(made) == 1
    other = one.visitor.send(
        *("/dashboard/billing/pay", "/dashboard/billing/pay"),
        payment_id=one.payment_id,
        amount="30",
        provider="btcpay",
    )
    assert other.status_code == 422


# ---- who may say that something is paid ----


def test_a_wrong_signature_is_400_and_asks_nobody(shop: Shop) -> None:
    one, two, three = payer(shop, "stripe"), payer(shop, "nowpayments"), payer(shop, "btcpay")
    session = shop.stripe.of(one.payment_id)
    said = {**session, "payment_intent": "pi_x"}
    forged = [
        ("stripe", shop.stripe.event("checkout.session.completed", said, secret="whsec_other")),
        ("stripe", shop.stripe.event("checkout.session.completed", said, age_s=3600)),
        ("stripe", ({}, shop.stripe.event("checkout.session.completed", said)[1])),
        ("nowpayments", shop.nowpayments.notification({"payment_id": 1, "payment_status": "finished"}, "other")),
        ("nowpayments", ({}, shop.nowpayments.pay(two.payment_id, "finished")[1])),
        ("btcpay", shop.btcpay.event("InvoiceSettled", "Invoice1", secret="other")),
        ("btcpay", ({"btcpay-sig": "sha256=0"}, b"{}")),
        ("btcpay", ({}, b"")),
    ]
    for name, webhook in forged:
        assert shop.send(name, webhook) == 400, (name, webhook)
    headers, body = shop.btcpay.becomes(three.payment_id, "Settled")
    assert shop.send("btcpay", (headers, body.replace(b"Settled", b"Invalid"))) == 400
    assert f"GET /v1/checkout/sessions/{session['id']}" not in shop.stripe.calls
    assert "waiting" in text_of(operator(shop.tollhouse).get(f"/operator/payments/{three.payment_id}"))


def test_a_true_webhook_about_something_unpaid_credits_nothing(shop: Shop) -> None:
    """Even somebody who has the webhook's secret cannot make a payment paid: the provider is asked."""
    one = payer(shop, "stripe")
    said = {**shop.stripe.of(one.payment_id), "payment_status": "paid", "status": "complete"}
    assert shop.send("stripe", shop.stripe.event("checkout.session.completed", said)) == 200
    assert one.balance == 0
    two = payer(shop, "btcpay")
    number = next(n for n, i in shop.btcpay.invoices.items() if i["metadata"]["orderId"] == two.payment_id)
    assert shop.send("btcpay", shop.btcpay.event("InvoiceSettled", number)) == 200
    assert two.balance == 0


def test_what_is_not_ours_is_heard_and_left_alone(shop: Shop) -> None:
    assert shop.send("stripe", shop.stripe.event("customer.created", {"id": "cus_1", "object": "customer"})) == 200
    assert shop.send("btcpay", shop.btcpay.event("InvoiceSettled", "Invoice1", store="AnotherStore")) == 200
    assert shop.send("nothing", ({}, b"{}")) == 404


@pytest.mark.parametrize(("name", "value"), [("amount_total", 100), ("currency", "eur")])
def test_another_amount_or_currency_than_asked_for_is_for_an_operator(shop: Shop, name: str, value: object) -> None:
    one = payer(shop, "stripe")
    shop.stripe.of(one.payment_id)[name] = value
    assert shop.send("stripe", shop.stripe.complete(one.payment_id)) == 200
    assert one.balance == 0
    assert "in review" in one.page()


def test_a_payment_of_another_tenant_is_404(shop: Shop) -> None:
    one, other = payer(shop, "stripe"), customer(shop.tollhouse)
    for path in (
        f"/dashboard/billing/payments/{one.payment_id}",
        f"/dashboard/billing/payments/{one.payment_id}/standing",
    ):
        assert other.get(path).status_code == 404
    assert one.payment_id not in other.get("/dashboard/billing/payments").text
    page = "/dashboard/billing/pay"
    taken = other.send(page, page, payment_id=one.payment_id, amount="25", provider="stripe")
    assert taken.status_code == 422
    assert other.get(f"/operator/payments/{one.payment_id}").status_code == 403
