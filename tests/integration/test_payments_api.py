"""Payments over the management API: begun and watched by customers, decided by operators; what is live, live."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from services.shared import ids
from tests.api_callers import ApiCaller, caller_with
from tests.deployment import Deployment
from tests.shop import NANO, Shop
from tests.visitors import customer, operator
from tollhouse.v1 import billing_pb2

OWN = "/api/user/payments"
ALL = "/api/admin/v1/payments"


def data(answer: httpx2.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


@pytest.fixture
def payer(shop: Shop) -> ApiCaller:
    return caller_with(customer(shop.tollhouse), shop.tollhouse, "account:read", "billing:write")


@pytest.fixture(scope="module")
def admin(shop: Shop) -> ApiCaller:
    return caller_with(operator(shop.tollhouse), shop.tollhouse, "admin:read", "admin:write")


def begun(payer: ApiCaller, provider: str, dollars: int = 25, **fields: Any) -> dict[str, Any]:
    wanted = {"amount_nano": dollars * NANO, "provider": provider} | fields
    payment: dict[str, Any] = data(payer.post(OWN, json=wanted))
    return payment


def balance_nano(payer: ApiCaller) -> int:
    return int(data(payer.get("/api/user/balance"))["balance_nano"])


def partly_paid(shop: Shop, payer: ApiCaller) -> str:
    """A payment of $25 of which $10 came."""
    payment_id = str(begun(payer, "btcpay")["payment_id"])
    assert shop.send("btcpay", shop.btcpay.becomes(payment_id, "Expired", "PaidPartial", share=0.4)) == 200
    return payment_id


# ---- customers ----


def test_the_ways_to_pay_are_those_of_the_page(payer: ApiCaller) -> None:
    ways = data(payer.get("/api/user/top-up-ways"))
    assert {provider["name"] for provider in ways["providers"]} == {"stripe", "nowpayments", "btcpay"}
    assert ways["vouchers"] is True
    assert 0 < ways["least_nano"] < ways["most_nano"]


def test_a_payment_is_begun_paid_and_credited(shop: Shop, payer: ApiCaller) -> None:
    payment = begun(payer, "stripe")
    assert payment["state"] == "open"
    assert payment["url"].startswith(f"{shop.stripe.url}/pay/")
    assert shop.stripe.of(payment["payment_id"])["amount_total"] == 2500
    assert shop.send("stripe", shop.stripe.complete(payment["payment_id"])) == 200
    said = data(payer.get(f"{OWN}/{payment['payment_id']}"))
    assert (said["state"], said["credited_nano"], said["url"]) == ("paid", 25 * NANO, "")
    assert balance_nano(payer) == 25 * NANO
    page = payer.visitor.get(f"/dashboard/billing/payments/{payment['payment_id']}").text
    assert "$25.00 is in your balance" in page


def test_people_come_back_from_the_provider_to_the_payments_page(shop: Shop, payer: ApiCaller) -> None:
    payment = begun(payer, "stripe")
    back = shop.stripe.of(payment["payment_id"])["success_url"]
    path = httpx2.URL(back).path
    assert path == f"/dashboard/billing/payments/{payment['payment_id']}"
    assert payer.visitor.get(path).status_code == 200


def test_a_payment_that_is_begun_twice_is_one(shop: Shop, payer: ApiCaller) -> None:
    payment_id = ids.ulid()
    first, again = (begun(payer, "btcpay", payment_id=payment_id) for _ in range(2))
    assert first["url"] == again["url"]
    wanted = {"amount_nano": 30 * NANO, "provider": "btcpay"}
    headers = {"idempotency-key": ids.ulid()}
    replayed = [data(payer.post(OWN, json=wanted, headers=headers))["payment_id"] for _ in range(2)]
    assert replayed[0] == replayed[1]
    listed = data(payer.get(OWN))["items"]
    assert [one["payment_id"] for one in listed] == [replayed[0], payment_id]


def test_payments_come_in_pages(payer: ApiCaller) -> None:
    made = [begun(payer, "btcpay")["payment_id"] for _ in range(3)]
    found, cursor = [], ""
    while True:
        page = data(payer.get(OWN, params={"limit": 2, "cursor": cursor}))
        found += [one["payment_id"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == sorted(made, reverse=True)


@pytest.mark.parametrize(
    "fault",
    [
        {"amount_nano": 1},
        {"amount_nano": 25 * NANO + 1},
        {"amount_nano": 10**16},
        {"amount_nano": -NANO},
        {"provider": "nobody"},
        {"payment_id": "../etc"},
    ],
    ids=str,
)
def test_what_no_payment_can_be_is_refused(payer: ApiCaller, fault: dict[str, Any]) -> None:
    answer = payer.post(OWN, json={"amount_nano": 25 * NANO, "provider": "stripe"} | fault)
    assert (answer.status_code, answer.json()["success"]) == (400, False)
    assert data(payer.get(OWN))["items"] == []


def test_a_provider_that_is_away_is_said_to_be(shop: Shop, payer: ApiCaller) -> None:
    shop.btcpay.away = True
    try:
        answer = payer.post(OWN, json={"amount_nano": 25 * NANO, "provider": "btcpay"})
    finally:
        shop.btcpay.away = False
    assert answer.status_code == 502
    assert "nothing was charged" in answer.json()["message"]


def test_another_tenants_payment_is_not_there(shop: Shop, payer: ApiCaller) -> None:
    stranger = caller_with(customer(shop.tollhouse), shop.tollhouse, "account:read", "billing:write")
    payment = begun(payer, "btcpay")
    path = f"{OWN}/{payment['payment_id']}"
    foreign, missing = stranger.get(path), stranger.get(f"{OWN}/{ids.ulid()}")
    assert foreign.status_code == missing.status_code == 404
    assert foreign.text == missing.text
    taken = stranger.post(
        OWN, json={"amount_nano": 25 * NANO, "provider": "btcpay", "payment_id": payment["payment_id"]}
    )
    assert taken.status_code == 409
    assert payment["url"] not in taken.text
    assert data(stranger.get(OWN))["items"] == []
    assert data(payer.get(path))["state"] == "open"


def test_reading_is_not_paying(shop: Shop) -> None:
    visitor = customer(shop.tollhouse)
    reads = caller_with(visitor, shop.tollhouse, "account:read")
    assert reads.post(OWN, json={"amount_nano": 25 * NANO, "provider": "stripe"}).status_code == 403
    assert reads.post("/api/user/topup", json={"key": "x"}).status_code == 403
    pays = caller_with(visitor, shop.tollhouse, "billing:write")
    assert pays.get(OWN).status_code == 403


# ---- operators ----


def test_operators_see_everybodys_payments_narrowed(shop: Shop, payer: ApiCaller, admin: ApiCaller) -> None:
    payment_id = partly_paid(shop, payer)
    tenant_id = data(payer.get("/api/user/self"))["tenant_id"]
    begun(payer, "btcpay")
    of_tenant = {"tenant_id": tenant_id}
    assert len(admin.get(ALL, params=of_tenant).json()["data"]) == 2
    first = admin.get(ALL, params=of_tenant | {"limit": "1"}).json()
    rest = admin.get(ALL, params=of_tenant | {"cursor": first["next_cursor"]}).json()
    assert [one["payment_id"] for one in rest["data"]] == [payment_id]
    in_review = admin.get(ALL, params=of_tenant | {"state": "review"}).json()["data"]
    assert [(one["payment_id"], one["needs_decision"]) for one in in_review] == [(payment_id, True)]
    assert admin.get(ALL, params={"state": "nonsense"}).status_code == 400


def test_an_operator_decides_once_what_came(shop: Shop, payer: ApiCaller, admin: ApiCaller) -> None:
    payment_id = partly_paid(shop, payer)
    path = f"{ALL}/{payment_id}"
    for fault in ({"credit_nano": 26 * NANO}, {"credit_nano": -1}, {"reason": " "}):
        wanted = {"credit_nano": 10 * NANO, "reason": "as it came"} | fault
        assert admin.post(f"{path}/decide", json=wanted).status_code == 400
    assert balance_nano(payer) == 0
    wanted = {"credit_nano": 10 * NANO, "reason": "as it came"}
    stale = admin.post(f"{path}/decide", json=wanted, headers={"if-match": '"stale"'})
    assert stale.status_code == 412
    tag = admin.get(path).headers["etag"]
    said = admin.post(f"{path}/decide", json=wanted, headers={"if-match": tag}).json()
    assert (said["credited_nano"], said["decided_nano"], said["needs_decision"]) == (10 * NANO, 10 * NANO, False)
    assert [movement["amount_nano"] for movement in said["movements"]] == [10 * NANO]
    assert any("as it came" in event["said"] for event in said["events"])
    again = admin.post(f"{path}/decide", json={"credit_nano": 25 * NANO, "reason": "again"})
    assert again.status_code == 409
    assert balance_nano(payer) == 10 * NANO
    rows = shop.tollhouse.billing.ListAudit(billing_pb2.ListAuditRequest(target=payment_id)).entries
    assert (rows[0].action, rows[1].action) == ("decide_payment_refused", "decide_payment")
    assert " via token_" in rows[0].actor


def test_an_operator_has_the_provider_asked_now(shop: Shop, payer: ApiCaller, admin: ApiCaller) -> None:
    payment_id = str(begun(payer, "btcpay")["payment_id"])
    shop.btcpay.becomes(payment_id, "Settled")
    said = admin.post(f"{ALL}/{payment_id}/check").json()
    assert (said["state"], said["credited_nano"]) == ("paid", 25 * NANO)
    assert admin.post(f"{ALL}/{ids.ulid()}/check").status_code == 404


# ---- what is live ----


def events(answer: httpx2.Response) -> Iterator[tuple[str, Any]]:
    """Names and objects of a stream of events."""
    name = ""
    for line in answer.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def test_replicas_and_accounts_are_watched_as_on_the_pages(tollhouse: Deployment) -> None:
    admin = caller_with(operator(tollhouse), tollhouse, "admin:read", "admin:write")
    account = admin.get("/api/admin/v1/accounts").json()["data"][0]["name"]
    with admin.client.stream("GET", "/api/admin/v1/replicas/live") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        name, said = next(events(answer))
        assert name == "replicas"
        assert {replica["service"] for replica in said["data"]} >= {"edge", "auth", "router", "ledger"}
    with admin.client.stream("GET", f"/api/admin/v1/accounts/{account}/live") as answer:
        name, said = next(events(answer))
        assert (name, said["name"]) == ("account", account)
        assert "credential" not in said
    assert admin.get("/api/admin/v1/accounts/no-such/live").status_code == 404
