"""Payments that do not go as they should: too little, too late, too much, returned, disputed, unheard of."""

import pytest
from psycopg import connect

from tests.books import superuser_url
from tests.deployment import Deployment, eventually
from tests.payment_providers import Webhook
from tests.shop import NANO, Payer, Shop, payer
from tests.visitors import operator, text_of
from tollhouse.v1 import billing_pb2


def pass_time(tollhouse: Deployment, payment_id: str, days: int = 0) -> None:
    """Makes a payment older, so that it is to be checked now."""
    with connect(superuser_url(tollhouse)) as connection:
        connection.execute(
            "UPDATE console.payments SET check_at = now(), created_at = created_at - make_interval(days => %s)"
            " WHERE payment_id = %s",
            (days, payment_id),
        )


def decided(one: Payer, amount: str, reason: str = "as it came") -> str:
    """What the payment's page says to operators after one has decided."""
    visitor, page = operator(one.shop.tollhouse), f"/operator/payments/{one.payment_id}"
    answer = visitor.send(page, f"{page}/decide", amount=amount, reason=reason)
    return text_of(visitor.get(page) if answer.status_code == 303 else answer)


# ---- otherwise than asked for ----


@pytest.mark.parametrize("provider", ["nowpayments", "btcpay"])
def test_a_partial_payment_is_credited_as_far_as_an_operator_says(shop: Shop, provider: str) -> None:
    one = payer(shop, provider)
    if provider == "btcpay":
        webhook = shop.btcpay.becomes(one.payment_id, "Expired", "PaidPartial", share=0.4)
    else:
        webhook = shop.nowpayments.pay(one.payment_id, "partially_paid", share=0.4)
    assert shop.send(provider, webhook) == 200
    assert one.balance == 0
    assert "Less came than was asked for" in one.page()
    page = operator(shop.tollhouse).get(f"/operator/payments/{one.payment_id}").text
    assert 'value="10.00"' in page
    assert "To decide" in text_of(operator(shop.tollhouse).get("/operator/payments?state=review"))
    assert "From $0 to what was asked for" in decided(one, "25.01")
    assert "Please say why" in decided(one, "10", " ")
    assert "as it came" in decided(one, "10.00")
    assert one.balance == 10
    assert "$10.00 of it were credited" in one.page()
    decided(one, "25")
    assert one.balance == 10, "it was decided once"


def test_what_an_operator_closed_and_the_provider_settles_after_all_is_credited_in_full(shop: Shop) -> None:
    one = payer(shop, "btcpay")
    assert shop.send("btcpay", shop.btcpay.becomes(one.payment_id, "Expired", "PaidLate")) == 200
    assert "after its time was over" in one.page()
    decided(one, "5")
    assert one.balance == 5
    assert shop.send("btcpay", shop.btcpay.becomes(one.payment_id, "Settled", "Marked")) == 200
    assert one.balance == 25


@pytest.mark.parametrize("provider", ["nowpayments", "btcpay"])
def test_more_than_asked_for_credits_what_was_asked_for_and_shows_the_rest(shop: Shop, provider: str) -> None:
    one = payer(shop, provider)
    if provider == "btcpay":
        webhook = shop.btcpay.becomes(one.payment_id, "Settled", "PaidOver", share=2)
    else:
        webhook = shop.nowpayments.pay(one.payment_id, "finished", share=2)
    assert shop.send(provider, webhook) == 200
    assert one.balance == 25
    assert "More came than was asked for" in one.page()


def test_an_invoice_that_is_paid_twice_is_credited_once_and_shows_both(shop: Shop) -> None:
    one = payer(shop, "nowpayments")
    for _ in range(2):
        assert shop.send("nowpayments", shop.nowpayments.pay(one.payment_id, "finished")) == 200
    assert one.balance == 25
    assert "More came than was asked for" in one.page()
    assert one.page().count("USDTTRC20") == 2


def test_a_payment_whose_time_is_over_says_so_and_one_that_comes_late_is_seen(shop: Shop) -> None:
    one, coins = payer(shop, "stripe"), payer(shop, "nowpayments")
    assert shop.send("stripe", shop.stripe.expire(one.payment_id)) == 200
    assert "nothing was charged" in one.page()
    assert shop.send("nowpayments", shop.nowpayments.pay(coins.payment_id, "expired", share=0, number="99")) == 200
    assert "The time to pay is over" in coins.page()
    assert shop.send("nowpayments", shop.nowpayments.pay(coins.payment_id, "finished", number="99")) == 200
    assert coins.balance == 25


# ---- money that goes back ----


def test_refunds_leave_the_balance_each_once(shop: Shop) -> None:
    one = payer(shop, "stripe")
    assert shop.send("stripe", shop.stripe.complete(one.payment_id)) == 200
    first = shop.stripe.refund(one.payment_id, 500)
    for _ in range(3):
        assert shop.send("stripe", first) == 200
    assert one.balance == 20
    assert "$5.00 went back to you" in one.page()
    assert shop.send("stripe", shop.stripe.refund(one.payment_id, 2000)) == 200
    assert one.balance == 0
    assert "refunded" in one.page()


def test_a_disputed_payment_leaves_the_balance_and_comes_back_when_it_is_won(shop: Shop) -> None:
    one = payer(shop, "stripe")
    assert shop.send("stripe", shop.stripe.complete(one.payment_id)) == 200
    assert shop.send("stripe", shop.stripe.dispute(one.payment_id, "warning_needs_response")) == 200
    assert one.balance == 25, "an inquiry takes nothing"
    assert shop.send("stripe", shop.stripe.dispute(one.payment_id, "needs_response")) == 200
    assert one.balance == 0
    assert "disputed" in one.page()
    won = shop.stripe.dispute(one.payment_id, "won")
    assert shop.send("stripe", won) == 200
    assert shop.send("stripe", won) == 200
    assert one.balance == 25


def test_coins_that_were_sent_back_credit_nothing(shop: Shop) -> None:
    one = payer(shop, "nowpayments")
    assert shop.send("nowpayments", shop.nowpayments.pay(one.payment_id, "refunded")) == 200
    assert one.balance == 0
    assert "refunded" in one.page()


def test_what_went_back_after_it_was_spent_is_owed_until_the_balance_has_it(shop: Shop) -> None:
    one, tollhouse = payer(shop, "stripe"), shop.tollhouse
    assert shop.send("stripe", shop.stripe.complete(one.payment_id)) == 200
    tollhouse.billing.Adjust(
        billing_pb2.AdjustRequest(
            tenant_id=one.tenant_id,
            kind=billing_pb2.ADJUSTMENT_KIND_DEBIT,
            amount_nano=20 * NANO,
            idempotency_key=f"spent-{one.payment_id}",
            reason="spent",
            actor="test",
        )
    )
    assert shop.send("stripe", shop.stripe.refund(one.payment_id, 2500)) == 200
    assert one.balance == 5
    visitor = operator(tollhouse)
    assert one.payment_id in visitor.get("/operator/payments?state=owed").text
    assert "owed" in text_of(visitor.get(f"/operator/payments/{one.payment_id}"))
    tollhouse.top_up(one.tenant_id, 30)
    pass_time(tollhouse, one.payment_id)
    eventually(lambda: one.balance == 10, what="what was owed is taken once the balance has it")
    assert one.payment_id not in visitor.get("/operator/payments?state=owed").text


# ---- what nobody told us ----


@pytest.mark.parametrize("provider", ["stripe", "nowpayments", "btcpay"])
def test_a_payment_whose_webhooks_were_lost_is_found_by_asking(shop: Shop, provider: str) -> None:
    one = payer(shop, provider)
    _lost(shop, provider, one.payment_id)
    pass_time(shop.tollhouse, one.payment_id)
    eventually(lambda: one.balance == 25, what="the payment is found")


def test_whoever_comes_back_from_the_provider_before_the_webhook_sees_the_payment(shop: Shop) -> None:
    one = payer(shop, "stripe")
    shop.stripe.complete(one.payment_id)
    assert "$25.00 is in your balance" in one.page()


def test_a_refund_that_nobody_told_us_of_is_found_weeks_later(shop: Shop) -> None:
    one = payer(shop, "stripe")
    assert shop.send("stripe", shop.stripe.complete(one.payment_id)) == 200
    shop.stripe.refund(one.payment_id, 2500)
    pass_time(shop.tollhouse, one.payment_id, days=60)
    eventually(lambda: one.balance == 0, what="the refund is found")


def test_a_provider_that_is_away_loses_no_webhook(shop: Shop) -> None:
    one = payer(shop, "btcpay")
    webhook = shop.btcpay.becomes(one.payment_id, "Settled")
    shop.btcpay.away = True
    try:
        assert shop.send("btcpay", webhook) == 200
        visitor = one.visitor
        page = "/dashboard/billing/pay"
        away = visitor.send(page, page, payment_id=one.payment_id[:-1] + "0", amount="25", provider="btcpay")
        assert away.status_code == 502
        assert "nothing was charged" in text_of(away)
    finally:
        shop.btcpay.away = False
    pass_time(shop.tollhouse, one.payment_id)
    eventually(lambda: one.balance == 25, what="the webhook is made up for")


def _lost(shop: Shop, provider: str, payment_id: str) -> Webhook:
    if provider == "stripe":
        return shop.stripe.complete(payment_id)
    if provider == "nowpayments":
        return shop.nowpayments.pay(payment_id, "finished")
    return shop.btcpay.becomes(payment_id, "Settled")
