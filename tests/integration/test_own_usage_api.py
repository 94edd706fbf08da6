"""What customers read over the management API: usage, balance, transactions, models and prices."""

import json
from typing import Any

import httpx2
import pytest

from tests.api_callers import ApiCaller, caller_with
from tests.customers import customer_with_credit, make_key, voucher
from tests.deployment import MODEL, Deployment, eventually
from tests.visitors import customer, operator
from tollhouse.v1 import usage_pb2

USAGE = "/api/user/usage"
OURS = ("upstream_account_id", "upstream_request_id", "upstream_model", "upstream_cost_nano", "margin_nano")


def data(answer: httpx2.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


class Used:
    """A customer who asked twice, with a program that reads."""

    def __init__(self, tollhouse: Deployment) -> None:
        visitor = customer_with_credit(tollhouse)
        path, secret = make_key(visitor, name="asks")
        self.key_id = path.rpartition("/")[2]
        self.requests = [tollhouse.messages(secret).headers["x-request-id"] for _ in range(2)]
        self.cost_nano = sum(
            tollhouse.usage.GetUsage(usage_pb2.GetUsageRequest(request_id=one, wait_ms=5000)).usage.cost_nano
            for one in self.requests
        )
        self.caller = caller_with(visitor, tollhouse, "account:read", "billing:write")


@pytest.fixture(scope="module")
def used(tollhouse: Deployment) -> Used:
    return Used(tollhouse)


@pytest.fixture(scope="module")
def stranger(tollhouse: Deployment) -> ApiCaller:
    return caller_with(customer(tollhouse), tollhouse, "account:read", "billing:write")


def test_requests_come_in_pages_newest_first(used: Used) -> None:
    first = data(used.caller.get(USAGE, params={"limit": 1}))
    second = data(used.caller.get(USAGE, params={"limit": 1, "cursor": first["next_cursor"]}))
    assert [page["items"][0]["request_id"] for page in (first, second)] == used.requests[::-1]
    assert data(used.caller.get(USAGE, params={"key_id": "key_other"}))["items"] == []
    assert used.caller.get(USAGE, params={"status": "nonsense"}).status_code == 400


def test_one_request_comes_with_its_price_and_its_receipt(tollhouse: Deployment, used: Used) -> None:
    said = data(used.caller.get(f"{USAGE}/{used.requests[0]}"))
    assert said["usage"]["key_id"] == used.key_id
    assert said["price"]["price_version"] == said["usage"]["price_version"]
    assert said["price"]["model"] == MODEL
    receipt = data(used.caller.get(f"{USAGE}/{used.requests[0]}/receipt"))["receipt"]
    assert receipt.count(".") == 2


def test_nothing_of_ours_is_told(used: Used) -> None:
    usage = data(used.caller.get(f"{USAGE}/{used.requests[0]}"))["usage"]
    buckets = data(used.caller.get(f"{USAGE}/summary", params={"groups": "key,model"}))
    for said in (*usage["attempts_detail"], *buckets):
        assert not any(said.get(name) for name in OURS), said
    assert used.caller.get(f"{USAGE}/summary", params={"groups": "upstream_account"}).status_code == 400
    assert used.caller.get(f"{USAGE}/summary", params={"groups": "tenant"}).status_code == 400


def test_sums_are_the_callers_alone(used: Used) -> None:
    def booked() -> bool:
        buckets = data(used.caller.get(f"{USAGE}/summary", params={"period": "hour"}))
        found = sum(one["requests"] for one in buckets), sum(one["cost_nano"] for one in buckets)
        return found == (2, used.cost_nano)

    eventually(booked)
    narrowed = data(used.caller.get(f"{USAGE}/summary", params={"model": "no-such-model"}))
    assert narrowed == []


def test_another_tenants_requests_are_not_there(used: Used, stranger: ApiCaller) -> None:
    for path in (f"{USAGE}/{used.requests[0]}", f"{USAGE}/{used.requests[0]}/receipt"):
        foreign, missing = stranger.get(path), stranger.get(path.replace(used.requests[0], "req_nobodys"))
        assert (foreign.status_code, foreign.text) == (missing.status_code, missing.text)
        assert foreign.status_code == 404
    assert data(stranger.get(USAGE, params={"key_id": used.key_id}))["items"] == []
    tenant = data(used.caller.get("/api/user/self"))["tenant_id"]
    assert data(stranger.get(USAGE, params={"tenant_id": tenant}))["items"] == []


def test_the_balance_and_what_moved_it_are_told_but_not_who_of_us(tollhouse: Deployment, used: Used) -> None:
    tenant_id = data(used.caller.get("/api/user/self"))["tenant_id"]
    admin = caller_with(operator(tollhouse), tollhouse, "admin:write")
    gift = {"kind": "promotion", "amount_nano": 1000, "reason": "for trying it"}
    assert admin.post(f"/api/admin/v1/tenants/{tenant_id}/adjustments", json=gift).status_code == 200
    moved = data(used.caller.get("/api/user/transactions", params={"without_usage": "true"}))["items"]
    assert [(one["kind"], one["amount_nano"]) for one in moved[:2]] == [
        ("promotion", 1000),
        ("voucher", 5_000_000_000),
    ]
    assert tollhouse.operator[0] not in json.dumps(moved)
    balance = data(used.caller.get("/api/user/balance"))
    assert balance["balance_nano"] == 5_000_001_000 - used.cost_nano


def test_a_voucher_is_redeemed_once(tollhouse: Deployment, stranger: ApiCaller) -> None:
    code = voucher(tollhouse, dollars=2)
    first = stranger.post("/api/user/topup", json={"key": code}).json()
    again = stranger.post("/api/user/topup", json={"key": code}).json()
    assert (first["success"], first["message"], first["data"]) == (True, "", 1_000_000)
    assert again["message"] == "It was redeemed before."
    assert data(stranger.get("/api/user/balance"))["balance_nano"] == 2_000_000_000
    other = caller_with(customer(tollhouse), tollhouse, "billing:write")
    assert other.post("/api/user/topup", json={"key": code}).json()["success"] is False
    unknown = other.post("/api/user/topup", json={"key": "no such voucher"})
    assert (unknown.status_code, unknown.json()["success"]) == (404, False)


def test_models_have_the_prices_that_are_booked(used: Used) -> None:
    models = {model["id"]: model for model in data(used.caller.get("/api/user/models"))}
    prices = models[MODEL]["prices"]
    assert prices["million_nano"]["output"] > prices["million_nano"]["input"] > 0
    own = data(used.caller.get("/api/user/models", params={"as": used.key_id}))
    assert MODEL in {model["id"] for model in own}


def test_another_tenants_key_is_nobodys_eyes(used: Used, stranger: ApiCaller) -> None:
    assert stranger.get("/api/user/models", params={"as": used.key_id}).status_code == 404


def test_limits_of_a_key_are_said_and_told(used: Used, tollhouse: Deployment) -> None:
    caller = caller_with(used.caller.visitor, tollhouse, "keys:read", "keys:write")
    limits = {"requests": 60, "concurrent": 4}
    made = data(caller.post("/api/token/", json={"name": "limited", "limits": limits}))
    assert data(caller.get(f"/api/token/{made['id']}"))["limits"] == limits
    assert data(caller.put(f"/api/token/{made['id']}", json={"name": "still"}))["limits"] == limits
    assert data(caller.put(f"/api/token/{made['id']}", json={"limits": {}}))["limits"] == {}
    assert caller.put(f"/api/token/{made['id']}", json={"limits": {"days": 1}}).status_code == 400
    assert caller.put(f"/api/token/{made['id']}", json={"limits": {"requests": -1}}).status_code == 400
