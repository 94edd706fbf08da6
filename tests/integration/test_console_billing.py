"""Billing, models and prices on the console's pages."""

import re

import pytest

from services.shared import ids
from tests.customers import customer_with_credit, edit_key, make_key, voucher
from tests.deployment import MODEL, Deployment, eventually
from tests.visitors import Visitor, customer, text_of
from tollhouse.v1 import auth_pb2, billing_pb2

BILLING = "/dashboard/billing"
MODELS = "/dashboard/models"


def redeem(visitor: Visitor, code: str) -> tuple[int, str]:
    answer = visitor.send(BILLING, f"{BILLING}/voucher", voucher=code)
    return answer.status_code, text_of(answer)


def test_a_voucher_credits_once_however_it_is_typed(tollhouse: Deployment) -> None:
    visitor, code = customer(tollhouse), voucher(tollhouse, 7)
    assert redeem(visitor, f" {code.lower().replace('-', ' ')} ")[0] == 303
    assert redeem(visitor, code)[0] == 303
    page = text_of(visitor.get(BILLING))
    assert "you had redeemed this voucher before" in page.lower()
    assert "Balance $7.00" in page
    assert "+$7.00" in page


def test_a_voucher_of_somebody_else_and_an_unknown_one_are_refused(tollhouse: Deployment) -> None:
    code = voucher(tollhouse)
    assert redeem(customer(tollhouse), code)[0] == 303
    visitor = customer(tollhouse)
    refused, said = redeem(visitor, code)
    assert refused == 422
    assert "The voucher is redeemed" in said
    for unknown in ("TH-AAAAA", "", "x" * 5000, "TH-00000-00000-00000-00000-00000"):
        assert redeem(visitor, unknown)[0] == 422
    assert "Nothing has moved yet" in text_of(visitor.get(BILLING))


def test_the_history_has_pages_and_can_be_seen_without_usage(tollhouse: Deployment) -> None:
    visitor = customer_with_credit(tollhouse)
    _, secret = make_key(visitor)
    assert tollhouse.messages(secret).status == 200
    eventually(lambda: "requests booked together" in text_of(visitor.get(BILLING)))
    bare = text_of(visitor.get(BILLING, params={"show": "credit"}))
    assert "requests booked together" not in bare
    assert "+$5.00" in bare
    for _ in range(26):
        assert redeem(visitor, voucher(tollhouse, 1))[0] == 303
    first = visitor.get(BILLING)
    older = re.search(rf'href="({BILLING}\?after=\d+)">Older', first.text)
    assert older is not None
    last = text_of(visitor.get(older[1]))
    assert "+$5.00" in last
    assert "+$5.00" not in text_of(first)
    assert visitor.get(BILLING, params={"after": "nonsense"}).status_code == 200


def test_a_brand_without_vouchers_offers_none(tollhouse: Deployment) -> None:
    brand = auth_pb2.Brand(name="cards-only", hosts=["cards.example"], top_ups=[auth_pb2.TOP_UP_CARD])
    tollhouse.auth.PutBrand(auth_pb2.PutBrandRequest(brand=brand))
    try:
        visitor = Visitor.of(tollhouse, host="cards.example")
        assert visitor.register(f"{ids.ulid()}@tests.example").status_code == 303
        eventually(lambda: "Redeem a voucher" not in text_of(visitor.get(BILLING)))
    finally:
        tollhouse.auth.DeleteBrand(auth_pb2.DeleteBrandRequest(name=brand.name))
    assert "Redeem a voucher" in text_of(customer(tollhouse).get(BILLING))


def test_prices_are_those_of_whoever_looks(tollhouse: Deployment) -> None:
    plan = f"half-{ids.ulid().lower()}"
    tollhouse.auth.PutPlan(auth_pb2.PutPlanRequest(plan=auth_pb2.Plan(name=plan)))
    book = billing_pb2.PriceBook(multipliers=[billing_pb2.Multiplier(scope="plan", name=plan, ppm=500_000)])
    tollhouse.billing.ApplyPrices(billing_pb2.ApplyPricesRequest(book=book, actor="test"))
    visitor = customer_with_credit(tollhouse)
    path, secret = make_key(visitor, name="cheap", models=MODEL)
    key_id = path.rpartition("/")[2]
    tollhouse.auth.SetKeyPolicy(auth_pb2.SetKeyPolicyRequest(key_id=key_id, plan=plan))

    new, own = text_of(visitor.get(MODELS)), text_of(visitor.get(MODELS, params={"as": key_id}))
    assert f"{MODEL} $3.00 $15.00 $0.30 $3.75 $6.00" in new
    assert "claude-haiku-4-5" in new
    assert f"{MODEL} $1.50 $7.50 $0.15 $1.88 $3.00" in own
    assert "you pay 50 % of the list price" in own
    assert "claude-haiku-4-5 $" not in own

    answer = tollhouse.messages(secret)
    usage = answer.headers["x-request-id"]
    assert " 50 % " in text_of(visitor.get(f"/dashboard/usage/{usage}"))
    assert edit_key(visitor, path, plan=plan, group="default").status_code == 303  # it keeps what an operator gave it


def test_the_prices_of_another_tenants_key_are_not_shown(tollhouse: Deployment) -> None:
    path, _ = make_key(customer_with_credit(tollhouse), name="not yours")
    page = text_of(customer(tollhouse).get(MODELS, params={"as": path.rpartition("/")[2]}))
    assert "not yours" not in page
    assert "A new key" in page


@pytest.mark.parametrize("as_", ["group:private", "key_unknown", "group:"])
def test_only_groups_that_are_open_are_looked_into(tollhouse: Deployment, as_: str) -> None:
    assert "Group default" in text_of(customer(tollhouse).get(MODELS, params={"as": as_}))
