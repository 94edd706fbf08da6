"""A customer's keys over the management API, in the shapes that New-API's clients know."""

import time
from typing import Any

import pytest

from services.shared import ids
from tests.api_callers import ApiCaller, caller_with
from tests.deployment import Deployment, eventually
from tests.visitors import Visitor, customer
from tollhouse.v1 import auth_pb2

KEYS = "/api/token/"
ALL = ("keys:read", "keys:write", "keys:reveal", "account:read")
QUOTA_NANO = 2_000


def revealing_brand(tollhouse: Deployment) -> str:
    """The host of a brand that reveals keys."""
    name = f"b{ids.ulid()}"
    made = auth_pb2.Brand(name=name, hosts=[f"{name}.example"], key_prefix="sk-", mask="{first4}*{last4}", reveal=True)
    tollhouse.auth.PutBrand(auth_pb2.PutBrandRequest(brand=made))
    return f"{name}.example"


@pytest.fixture
def caller(tollhouse: Deployment) -> ApiCaller:
    return caller_with(customer(tollhouse), tollhouse, *ALL)


@pytest.fixture
def revealing(tollhouse: Deployment, caller: ApiCaller) -> ApiCaller:
    """A caller on a host whose brand reveals keys."""
    caller.client.headers["host"] = revealing_brand(tollhouse)
    _wait_for_brand(caller)
    return caller


def _wait_for_brand(caller: ApiCaller) -> None:
    """The console reads brands anew every few seconds."""

    def known() -> bool:
        answer = create(caller, name="probe")
        caller.delete(KEYS + keys_of(caller)[0]["id"])
        return "data" not in answer

    eventually(known)


def create(caller: ApiCaller, **fields: Any) -> Any:
    answer = caller.post(KEYS, json={"name": "k"} | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


def keys_of(caller: ApiCaller, **query: Any) -> list[dict[str, Any]]:
    answer = caller.get(KEYS, params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]["items"]
    return found


def test_creating_answers_success_and_does_not_echo_a_key_that_can_be_revealed(revealing: ApiCaller) -> None:
    assert create(revealing, name="mine") == {"success": True, "message": ""}
    key = keys_of(revealing)[0]
    assert key["name"] == "mine"
    assert "*" in key["key"]
    revealed = revealing.post(f"{KEYS}{key['id']}/key").json()["data"]["key"]
    assert revealed.startswith("sk-")
    assert (revealed[:4], revealed[-4:]) == (key["key"][:4], key["key"][-4:])


def test_a_revealed_key_is_the_one_that_clients_call_with(tollhouse: Deployment, revealing: ApiCaller) -> None:
    create(revealing, name="called")
    key = revealing.post(f"{KEYS}{keys_of(revealing)[0]['id']}/key").json()["data"]["key"]
    assert tollhouse.call("GET", "/v1/balance", {"x-api-key": key}).status == 200


def test_where_no_copy_is_kept_the_key_is_shown_when_it_is_made_and_never_again(caller: ApiCaller) -> None:
    made = create(caller)["data"]
    assert made["key"].startswith("sk-")
    refused = caller.post(f"{KEYS}{made['id']}/key")
    assert refused.status_code == 400
    assert refused.json()["success"] is False


def test_every_field_of_a_key_can_be_said_and_is_told(caller: ApiCaller) -> None:
    end = int(time.time()) + 3600
    fields = {
        "name": "whole",
        "expired_time": end,
        "unlimited_quota": False,
        "remain_quota": 500_000,
        "model_limits_enabled": True,
        "model_limits": "claude-haiku-4-5,claude-sonnet-4-6",
        "allow_ips": "10.0.0.0/8\n2001:db8::1",
        "group": "default",
    }
    key_id = create(caller, **fields)["data"]["id"]
    key = caller.get(KEYS + key_id).json()["data"]
    assert {name: key[name] for name in fields} == fields
    assert key["status"] == 1
    assert key["used_quota"] == 0


def test_what_a_change_leaves_out_stays(caller: ApiCaller) -> None:
    key_id = create(caller, name="before", remain_quota=1000, allow_ips="10.0.0.1")["data"]["id"]
    changed = caller.put(KEYS + key_id, json={"name": "after"}).json()["data"]
    assert (changed["name"], changed["remain_quota"], changed["allow_ips"]) == ("after", 1000, "10.0.0.1")
    changed = caller.put(KEYS + key_id, json={"unlimited_quota": True, "allow_ips": ""}).json()["data"]
    assert (changed["unlimited_quota"], changed["allow_ips"]) == (True, "")


def test_a_key_can_be_sent_back_as_it_was_read(caller: ApiCaller) -> None:
    create(caller, expired_time=int(time.time()) + 60, remain_quota=7, model_limits="a,b")
    key = keys_of(caller)[0]
    assert caller.put(KEYS, json=key).json()["data"] == key


def test_a_group_and_a_plan_that_are_not_a_customers_to_choose_are_refused_and_kept_where_given(
    tollhouse: Deployment, caller: ApiCaller
) -> None:
    made, plan = create(caller)["data"], f"p-{ids.ulid()}"
    tollhouse.auth.PutPlan(auth_pb2.PutPlanRequest(plan=auth_pb2.Plan(name=plan)))
    for fields in ({"group": "premium"}, {"plan": plan}):
        assert caller.post(KEYS, json={"name": "k"} | fields).status_code == 400
        assert caller.put(KEYS + made["id"], json=fields).status_code == 400
    tollhouse.auth.SetKeyPolicy(auth_pb2.SetKeyPolicyRequest(key_id=made["id"], group="premium", plan=plan))
    changed = caller.put(KEYS + made["id"], json={"name": "after", "group": "premium", "plan": plan})
    assert changed.status_code == 200
    assert (changed.json()["data"]["group"], changed.json()["data"]["plan"]) == ("premium", plan)


def test_status_only_changes_nothing_else(caller: ApiCaller) -> None:
    key_id = create(caller, name="stays")["data"]["id"]
    body = {"id": key_id, "status": 2, "name": "ignored"}
    changed = caller.put(KEYS, params={"status_only": "true"}, json=body).json()["data"]
    assert (changed["status"], changed["name"]) == (2, "stays")


def test_a_disabled_key_is_refused_by_the_edge_and_an_enabled_one_is_not(
    tollhouse: Deployment, caller: ApiCaller
) -> None:
    made = create(caller)["data"]

    def status_of_a_call() -> int:
        return tollhouse.call("GET", "/v1/balance", {"x-api-key": made["key"]}).status

    caller.put(KEYS + made["id"], json={"status": 2})
    eventually(lambda: status_of_a_call() == 403)
    caller.put(KEYS + made["id"], json={"status": 1})
    eventually(lambda: status_of_a_call() == 200)


def test_what_is_left_of_a_cap_is_the_cap_less_what_was_spent(tollhouse: Deployment, caller: ApiCaller) -> None:
    made = create(caller, unlimited_quota=False, remain_quota=500_000)["data"]
    tenant_id = caller.get("/api/user/self").json()["data"]["tenant_id"]
    tollhouse.top_up(tenant_id, 5)
    answer = tollhouse.messages(made["key"])
    assert answer.status == 200
    cost_nano = tollhouse.usage_of(made["key"], answer.headers["x-request-id"]).json()["cost_micro"] * 1000
    key = caller.get(KEYS + made["id"]).json()["data"]
    assert abs(key["used_quota"] - cost_nano // QUOTA_NANO) <= 1
    assert abs(key["remain_quota"] + key["used_quota"] - 500_000) <= 1
    caller.put(KEYS + made["id"], json={"remain_quota": 0})
    assert caller.get(KEYS + made["id"]).json()["data"]["status"] == 4


def test_lists_come_in_pages_newest_first_and_can_be_searched(caller: ApiCaller) -> None:
    for number in range(5):
        create(caller, name=f"Number {number}")
    page = caller.get(KEYS, params={"p": 2, "page_size": 2}).json()["data"]
    assert (page["page"], page["page_size"], page["total"]) == (2, 2, 5)
    assert [key["name"] for key in page["items"]] == ["Number 2", "Number 1"]
    found = caller.get(KEYS + "search", params={"keyword": "number 3"}).json()["data"]["items"]
    assert [key["name"] for key in found] == ["Number 3"]


def test_keys_are_deleted_and_revealed_in_batches(revealing: ApiCaller) -> None:
    for _ in range(3):
        create(revealing)
    ids_ = [key["id"] for key in keys_of(revealing)]
    shown = revealing.post(KEYS + "batch/keys", json={"ids": [*ids_, "key_nobodys"]}).json()["data"]["keys"]
    assert shown.keys() == set(ids_)
    assert len(set(shown.values())) == 3
    assert revealing.post(KEYS + "batch", json={"ids": [*ids_[:2], "key_nobodys"]}).json()["data"] == 2
    assert [key["id"] for key in keys_of(revealing)] == ids_[2:]
    assert revealing.delete(KEYS + ids_[2]).json() == {"success": True, "message": ""}
    assert keys_of(revealing) == []


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "n" * 51},
        {"expired_time": 0},
        {"expired_time": 1_000_000_000},
        {"remain_quota": -1},
        {"unlimited_quota": False},
        {"allow_ips": "not an address"},
        {"status": 9},
        {"name": 5},
    ],
)
def test_what_does_not_fit_is_400_and_says_why(caller: ApiCaller, fields: dict[str, Any]) -> None:
    answer = caller.post(KEYS, json={"name": "k"} | fields)
    assert answer.status_code == 400
    assert answer.json()["success"] is False
    assert answer.json()["message"]
    assert keys_of(caller) == []


def test_a_path_may_lack_its_last_slash(caller: ApiCaller) -> None:
    assert caller.get("/api/token").status_code == 200


def test_a_signed_in_session_may_do_the_same_with_the_token_of_its_page(tollhouse: Deployment) -> None:
    visitor = customer(tollhouse)
    assert visitor.get(KEYS).json()["success"] is True
    bare = visitor.client.post(KEYS, json={"name": "k"})
    assert (bare.status_code, bare.json()["success"]) == (403, False)
    token = visitor.token("/settings")
    assert visitor.client.post(KEYS, json={"name": "k"}, headers={"x-csrf-token": token}).status_code == 200
    other_site = {"x-csrf-token": token, "sec-fetch-site": "cross-site"}
    assert visitor.client.post(KEYS, json={"name": "k"}, headers=other_site).status_code == 403


def test_nobody_signed_in_is_401(tollhouse: Deployment) -> None:
    answer = Visitor.of(tollhouse).get(KEYS)
    assert (answer.status_code, answer.json()["success"]) == (401, False)


def test_authorization_needs_no_token_of_a_page_even_beside_a_cookie(tollhouse: Deployment) -> None:
    owner = customer(tollhouse)
    caller = caller_with(customer(tollhouse), tollhouse, *ALL)
    headers = {"authorization": f"Bearer {caller.token}"}
    assert owner.client.post(KEYS, json={"name": "k"}, headers=headers).status_code == 200
    assert [key["name"] for key in keys_of(caller)] == ["k"]
    assert owner.get(KEYS).json()["data"]["items"] == []
