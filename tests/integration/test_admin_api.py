"""The operators' API on the real services: pages, ETags, idempotency keys, problems, and what can be done."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from openapi_spec_validator import validate

from services.console.api import OPERATIONS
from services.console.api.admin.resources import PREFIX
from services.shared import ids
from tests.api_callers import ApiCaller, caller_with
from tests.deployment import Deployment
from tests.visitors import operator
from tollhouse.v1 import usage_pb2


@pytest.fixture(scope="module")
def admin(tollhouse: Deployment) -> ApiCaller:
    return caller_with(operator(tollhouse), tollhouse, "admin:read", "admin:write", "admin:people")


def good(answer: httpx2.Response) -> Any:
    assert answer.status_code in (200, 201, 204), answer.text
    return answer.json() if answer.content else None


def problem(answer: httpx2.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said: dict[str, Any] = answer.json()
    assert said["status"] == status
    assert said["type"].startswith("urn:tollhouse:problem:")
    assert said["detail"]
    return said


def tenant(admin: ApiCaller) -> str:
    tenant_id = f"t-{ids.ulid()}"
    good(admin.post(f"{PREFIX}/tenants", json={"tenant_id": tenant_id, "name": "Tests"}))
    return tenant_id


def every(admin: ApiCaller, path: str, **query: Any) -> list[dict[str, Any]]:
    """All pages of a list."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = good(admin.get(PREFIX + path, params=query | ({"cursor": cursor} if cursor else {})))
        assert len(page["data"]) <= query.get("limit", 100)
        found += page["data"]
        cursor = page["next_cursor"]
        if not cursor:
            return found


# ---- what can be done ----


def test_an_upstream_account_is_tried_and_its_row_says_who_did_it(tollhouse: Deployment, admin: ApiCaller) -> None:
    tried = good(admin.post(f"{PREFIX}/accounts/simulator/test", json={}))
    assert (tried["ok"], tried["http_status"]) == (True, 200)
    (row, *_) = every(admin, "/audit", target="simulator", action="test_upstream_account")
    assert row["actor"].startswith(tollhouse.operator[0])


def test_the_fleet_and_the_state_of_the_books_can_be_asked_for(admin: ApiCaller) -> None:
    assert {"edge", "auth", "router", "ledger"} <= {one["service"] for one in every(admin, "/replicas")}
    assert good(admin.get(f"{PREFIX}/reconciliation"))["shortfall_nano"] >= 0
    assert all(not check["differences"] for check in good(admin.post(f"{PREFIX}/reconciliation/verify"))["checks"])
    letters = every(admin, "/dead-letters")
    assert good(admin.post(f"{PREFIX}/dead-letters/replay", json={}))["replayed"] == len(letters)


def test_a_tenant_gets_a_key_money_and_a_plan(tollhouse: Deployment, admin: ApiCaller) -> None:
    tenant_id, plan = tenant(admin), f"p-{ids.ulid()}"
    limits = [{"metric": "requests", "amount": 60, "model": ""}]
    good(admin.put(f"{PREFIX}/plans/{plan}", json={"limits": limits}))
    changed = good(admin.put(f"{PREFIX}/tenants/{tenant_id}", json={"enabled": True, "plan": plan}))
    assert (changed["plan"], changed["name"]) == (plan, "Tests")
    made = good(admin.post(f"{PREFIX}/keys", json={"tenant_id": tenant_id, "name": "first"}))
    paid = {"amount_nano": 3_000_000_000, "reason": "invoice 7"}
    assert good(admin.post(f"{PREFIX}/tenants/{tenant_id}/top-ups", json=paid))["balance_nano"] == 3_000_000_000
    gift = {"kind": "promotion", "amount_nano": 1_000_000_000, "reason": "welcome"}
    assert good(admin.post(f"{PREFIX}/tenants/{tenant_id}/adjustments", json=gift))["balance_nano"] == 4_000_000_000
    assert good(admin.get(f"{PREFIX}/tenants/{tenant_id}/balance"))["available_nano"] == 4_000_000_000
    moved = every(admin, f"/tenants/{tenant_id}/transactions")
    assert [(row["kind"], row["reason"]) for row in moved] == [("promotion", "welcome"), ("top_up", "invoice 7")]
    assert all(" via token_" in row["actor"] for row in moved)
    assert tollhouse.messages(made["secret"]).status == 200
    assert problem(admin.delete(f"{PREFIX}/plans/{plan}"), 400)["detail"]


def test_a_request_is_found_in_usage_with_its_attempts(tollhouse: Deployment, admin: ApiCaller) -> None:
    client = tollhouse.tenant()
    request_id = tollhouse.messages(client.key).headers["x-request-id"]
    tollhouse.usage.GetUsage(usage_pb2.GetUsageRequest(request_id=request_id, wait_ms=5000))
    one = good(admin.get(f"{PREFIX}/usage/{request_id}"))
    assert (one["tenant_id"], one["attempts"], one["status"]) == (client.tenant_id, 1, "ok")
    assert one["attempts_detail"][0]["upstream_account_id"]
    listed = every(admin, "/usage", tenant_id=client.tenant_id, status="ok")
    assert [row["request_id"] for row in listed] == [request_id]
    sums = good(admin.get(f"{PREFIX}/usage/summary", params={"tenant_id": client.tenant_id, "groups": "key,model"}))
    assert [bucket["key_id"] for bucket in sums["buckets"]] == [client.key_id]


def test_pools_groups_and_accounts_come_and_go(tollhouse: Deployment, admin: ApiCaller) -> None:
    name = f"n-{ids.ulid()}"
    account = {"kind": "simulator", "base_url": tollhouse.simulator_url, "models": {name: "m"}, "pool": name}
    good(admin.put(f"{PREFIX}/pools/{name}"))
    good(admin.put(f"{PREFIX}/groups/{name}", json={"pools": [name]}))
    good(admin.put(f"{PREFIX}/accounts/{name}", json={"account": account, "credential": "c"}))
    assert good(admin.get(f"{PREFIX}/accounts/{name}"))["enabled"] is False
    assert good(admin.post(f"{PREFIX}/accounts/{name}/enable"))["enabled"] is True
    assert name in [model["model"] for model in every(admin, "/models")]
    shown = good(admin.put(f"{PREFIX}/models/{name}", json={"display_name": "Shown"}))
    assert (shown["model"], shown["display_name"]) == (name, "Shown")
    good(admin.post(f"{PREFIX}/accounts/{name}/clear", json={}))
    assert good(admin.post(f"{PREFIX}/accounts/{name}/disable"))["enabled"] is False
    for path in (f"/groups/{name}", f"/accounts/{name}", f"/pools/{name}"):
        good(admin.delete(PREFIX + path))
        problem(admin.get(PREFIX + path), 404)


def test_prices_and_vouchers_can_be_made_and_read(admin: ApiCaller) -> None:
    model, batch = f"m-{ids.ulid()}", f"b-{ids.ulid()}"
    price = good(admin.post(f"{PREFIX}/prices", json={"model": model, "input_pico": 5, "output_pico": 7}))
    assert model in [row["model"] for row in every(admin, "/prices")]
    book = {"prices": [{"model": model, "input_pico": 6, "output_pico": 7}], "multipliers": [], "costs": []}
    dry = good(admin.put(f"{PREFIX}/price-book", params={"dry_run": "true"}, json=book))
    assert len(dry["changes"]) == 1
    rows = [row for row in good(admin.get(f"{PREFIX}/price-book"))["prices"] if row["model"] == model]
    assert rows[0]["input_pico"] == price["input_pico"] == 5
    asked = {"count": 3, "amount_nano": 10**9, "funding": "gift", "batch_id": batch, "reason": "fair"}
    codes = good(admin.post(f"{PREFIX}/vouchers", json=asked))["codes"]
    assert len(set(codes)) == 3
    assert len(every(admin, "/vouchers", batch_id=batch, limit=2)) == 3
    assert good(admin.post(f"{PREFIX}/voucher-batches/{batch}/void", json={"reason": "over"}))["voided"] == 3


# ---- pages ----


def test_pages_of_keys_hold_each_key_once_though_some_go_meanwhile(admin: ApiCaller) -> None:
    tenant_id = tenant(admin)
    made = [
        good(admin.post(f"{PREFIX}/keys", json={"tenant_id": tenant_id, "name": f"k{number}"}))["key"]["key_id"]
        for number in range(5)
    ]
    first = good(admin.get(f"{PREFIX}/keys", params={"tenant_id": tenant_id, "limit": 2}))
    assert [key["key_id"] for key in first["data"]] == made[:2]
    good(admin.delete(f"{PREFIX}/keys/{made[1]}"))  # the one that the cursor stands on
    rest = every(admin, "/keys", tenant_id=tenant_id, limit=2, cursor=first["next_cursor"])
    assert [key["key_id"] for key in rest] == made[2:]


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "1001"}, {"limit": "x"}, {"cursor": "!!"}])
def test_a_page_that_does_not_fit_is_400(admin: ApiCaller, query: dict[str, str]) -> None:
    assert problem(admin.get(f"{PREFIX}/plans", params=query), 400)["param"] == next(iter(query))


# ---- ETags ----


def test_an_update_of_what_was_changed_meanwhile_is_412(admin: ApiCaller) -> None:
    path = f"{PREFIX}/tenants/{tenant(admin)}"
    tag = admin.get(path).headers["etag"]
    changed = admin.put(path, json={"enabled": False}, headers={"if-match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag
    assert changed.headers["etag"] == admin.get(path).headers["etag"]
    problem(admin.put(path, json={"enabled": True}, headers={"if-match": tag}), 412)
    assert good(admin.get(path))["enabled"] is False
    assert admin.get(path, headers={"if-none-match": changed.headers["etag"]}).status_code == 304


def test_what_is_to_be_made_anew_is_not_replaced(admin: ApiCaller) -> None:
    path = f"{PREFIX}/plans/p-{ids.ulid()}"
    assert admin.put(path, json={"limits": []}, headers={"if-match": "*"}).status_code == 412
    assert admin.put(path, json={"limits": []}, headers={"if-none-match": "*"}).status_code == 200
    assert admin.put(path, json={"limits": []}, headers={"if-none-match": "*"}).status_code == 412


def test_an_accounts_tag_does_not_change_with_its_health(tollhouse: Deployment, admin: ApiCaller) -> None:
    name = every(admin, "/accounts")[0]["name"]
    before = admin.get(f"{PREFIX}/accounts/{name}").headers["etag"]
    tollhouse.messages(tollhouse.tenant().key)
    assert admin.get(f"{PREFIX}/accounts/{name}").headers["etag"] == before


# ---- idempotency keys ----


def test_a_top_up_that_is_sent_twice_happens_once(admin: ApiCaller) -> None:
    path, headers = f"{PREFIX}/tenants/{tenant(admin)}/top-ups", {"idempotency-key": f"k-{ids.ulid()}"}
    paid = {"amount_nano": 10**9, "reason": "once"}
    first, second = (admin.post(path, json=paid, headers=headers) for _ in range(2))
    assert good(first) == good(second)
    assert second.headers["idempotency-replayed"] == "true"
    assert good(admin.get(path.replace("top-ups", "balance")))["balance_nano"] == 10**9


def test_a_key_that_is_asked_for_twice_is_shown_twice_and_made_once(admin: ApiCaller) -> None:
    headers, asked = {"idempotency-key": f"k-{ids.ulid()}"}, {"tenant_id": tenant(admin), "name": "k"}
    first, second = (good(admin.post(f"{PREFIX}/keys", json=asked, headers=headers)) for _ in range(2))
    assert first["secret"] == second["secret"] != ""
    assert len(every(admin, "/keys", tenant_id=asked["tenant_id"])) == 1


def test_calls_side_by_side_under_one_key_make_one_change(admin: ApiCaller) -> None:
    path, headers = f"{PREFIX}/tenants/{tenant(admin)}/top-ups", {"idempotency-key": f"k-{ids.ulid()}"}
    paid = {"amount_nano": 10**9, "reason": "once"}
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: admin.post(path, json=paid, headers=headers), range(8)))
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert good(admin.get(path.replace("top-ups", "balance")))["balance_nano"] == 10**9


def test_a_key_that_was_used_for_something_else_is_422(admin: ApiCaller) -> None:
    headers = {"idempotency-key": f"k-{ids.ulid()}"}
    path = f"{PREFIX}/plans/p-{ids.ulid()}"
    assert admin.put(path, json={"limits": []}, headers=headers).status_code == 200
    said = problem(admin.put(f"{path}x", json={"limits": []}, headers=headers), 422)
    assert said["type"].endswith("idempotency_key_reused")


def test_a_call_that_failed_may_be_sent_again_under_its_key(admin: ApiCaller) -> None:
    headers, tenant_id = {"idempotency-key": f"k-{ids.ulid()}"}, f"t-{ids.ulid()}"
    path, paid = f"{PREFIX}/tenants/{tenant_id}/top-ups", {"amount_nano": 10**9, "reason": "later"}
    problem(admin.post(path, json=paid, headers=headers), 404)
    good(admin.post(f"{PREFIX}/tenants", json={"tenant_id": tenant_id}))
    assert good(admin.post(path, json=paid, headers=headers))["repeated"] is False


# ---- problems ----


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tenants", {"tenant_id": "t", "nonsense": 1}, "nonsense"),
        ("/tenants", {}, "tenant_id"),
        ("/keys", {"tenant_id": "t", "name": "k", "expires_ms": "soon"}, "expires_ms"),
        ("/keys", {"tenant_id": "t", "name": "k", "models": [1]}, "models[0]"),
        ("/keys", {"tenant_id": "t", "name": "k", "idempotency_key": "mine"}, "idempotency_key"),
        ("/prices", {"model": "m", "input_pico": 2**63}, "input_pico"),
        ("/tenants/demo/adjustments", {"kind": "bribe", "amount_nano": 1, "reason": "r"}, "kind"),
    ],
)
def test_a_body_that_does_not_fit_names_the_field(
    admin: ApiCaller, path: str, body: dict[str, Any], param: str
) -> None:
    assert problem(admin.post(PREFIX + path, json=body), 400)["param"] == param


@pytest.mark.parametrize("body", [b"{", b"[]", b"null", b"\xff", b'"text"', b"[" * 100_000])
def test_a_body_that_is_no_object_is_400(admin: ApiCaller, body: bytes) -> None:
    problem(admin.post(f"{PREFIX}/tenants", content=body), 400)


def test_what_is_not_there_is_a_problem_too(admin: ApiCaller) -> None:
    problem(admin.get(f"{PREFIX}/nowhere"), 404)
    problem(admin.request("PATCH", f"{PREFIX}/plans"), 405)
    problem(admin.get(f"{PREFIX}/usage/req_nonsense"), 404)


def test_a_body_that_is_too_large_is_413(admin: ApiCaller) -> None:
    problem(admin.post(f"{PREFIX}/tenants", content=b" " * (1024 * 1024 + 1)), 413)


def test_nobody_shuts_themselves_out(tollhouse: Deployment, admin: ApiCaller) -> None:
    mine = next(person for person in every(admin, "/people") if person["email"] == tollhouse.operator[0])
    problem(admin.put(f"{PREFIX}/people/{mine['person_id']}", json={"enabled": False}), 409)


# ---- the document ----


def test_the_document_is_served_to_everybody_and_has_every_operation(tollhouse: Deployment) -> None:
    document = httpx2.get(f"{tollhouse.console_url}/api/openapi.json").json()
    validate(document)
    said = {one["operationId"] for methods in document["paths"].values() for one in methods.values()}
    assert said == {operation.name for operation in OPERATIONS}
