"""The management API towards those who want more than is theirs. Every operation of its table is tried."""

import re
from typing import Any

import httpx2
import pytest

from services.console.access_tokens import Scope
from services.console.api import OPERATIONS
from services.console.api.admin.resources import PREFIX
from services.console.api.operation import Operation
from services.shared import ids
from tests.api_callers import ApiCaller, caller_with, token_of
from tests.deployment import Deployment, deployed
from tests.visitors import customer, operator
from tollhouse.v1 import auth_pb2, billing_pb2

OF_CUSTOMERS = tuple(operation for operation in OPERATIONS if not operation.path.startswith(PREFIX))
OF_OPERATORS = tuple(operation for operation in OPERATIONS if operation.path.startswith(PREFIX))
CUSTOMERS_SCOPES = tuple(scope.label for scope in Scope if not scope.for_operators)


def named(operation: Operation) -> str:
    return operation.name


def path_with(operation: Operation, piece: str) -> str:
    return re.sub(r"{[^}]+}", piece, operation.path)


@pytest.fixture(scope="module")
def all_of_customers(tollhouse: Deployment) -> ApiCaller:
    return caller_with(customer(tollhouse), tollhouse, *CUSTOMERS_SCOPES)


@pytest.fixture(scope="module")
def operators(tollhouse: Deployment) -> dict[Scope, ApiCaller]:
    """One token for each scope, each with that scope alone."""
    visitor = operator(tollhouse)
    return {scope: caller_with(visitor, tollhouse, scope.label) for scope in Scope}


@pytest.fixture(scope="module")
def foreign_key(tollhouse: Deployment) -> str:
    return tollhouse.tenant(dollars=0).key_id


def key_row(tollhouse: Deployment, key_id: str) -> auth_pb2.Key:
    return tollhouse.auth.GetKey(auth_pb2.GetKeyRequest(key_id=key_id)).key


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
def test_nobody_without_a_token_gets_in(tollhouse: Deployment, operation: Operation) -> None:
    stranger = ApiCaller(tollhouse, "tha_" + "B" * 43)
    stranger.client.headers["x-forwarded-for"] = f"10.78.1.{OPERATIONS.index(operation)}"
    assert stranger.request(operation.method, path_with(operation, "x"), json={}).status_code == 401


@pytest.mark.parametrize("operation", OPERATIONS, ids=named)
def test_a_token_does_nothing_outside_of_its_scope(
    operators: dict[Scope, ApiCaller], foreign_key: str, operation: Operation
) -> None:
    for scope, caller in operators.items():
        if scope is not operation.scope:
            answer = caller.request(operation.method, path_with(operation, foreign_key), json={})
            assert answer.status_code == 403, scope.label


@pytest.mark.parametrize("operation", OF_OPERATORS, ids=named)
def test_what_is_for_operators_is_for_nobody_else(
    all_of_customers: ApiCaller, foreign_key: str, operation: Operation
) -> None:
    answer = all_of_customers.request(operation.method, path_with(operation, foreign_key), json={})
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("operation", [one for one in OF_CUSTOMERS if "{" in one.path], ids=named)
def test_an_id_of_somebody_else_is_as_if_it_were_not_there(
    tollhouse: Deployment, all_of_customers: ApiCaller, foreign_key: str, operation: Operation
) -> None:
    before = key_row(tollhouse, foreign_key)
    body = {"name": "taken over", "status": 2}
    foreign = all_of_customers.request(operation.method, path_with(operation, foreign_key), json=body)
    missing = all_of_customers.request(operation.method, path_with(operation, "key_nobodys"), json=body)
    assert foreign.status_code == missing.status_code == 404
    assert foreign.text.replace(foreign_key, "ID") == missing.text.replace("key_nobodys", "ID")
    assert key_row(tollhouse, foreign_key) == before


def test_ids_of_somebody_else_in_bodies_do_nothing(
    tollhouse: Deployment, all_of_customers: ApiCaller, foreign_key: str
) -> None:
    before = key_row(tollhouse, foreign_key)
    taken = all_of_customers.put("/api/token/", json={"id": foreign_key, "name": "taken over"})
    assert taken.status_code == 404
    assert all_of_customers.post("/api/token/batch", json={"ids": [foreign_key]}).json()["data"] == 0
    assert all_of_customers.post("/api/token/batch/keys", json={"ids": [foreign_key]}).json()["data"] == {"keys": {}}
    assert key_row(tollhouse, foreign_key) == before


def test_every_operation_of_customers_that_takes_ids_is_among_those_that_were_tried() -> None:
    """An id of a payment that is somebody else's is tried where payments are."""
    with_ids = {
        operation.name
        for operation in OF_CUSTOMERS
        if {name for name in getattr(operation.body, "__struct_fields__", ()) if re.search(r"(^|_)ids?$", name)}
        and "{" not in operation.path
    }
    assert with_ids == {"createOwnKey", "updateOwnKeyOfBody", "deleteOwnKeys", "revealOwnKeys", "beginOwnPayment"}


def test_no_operation_of_customers_asks_whose_it_is() -> None:
    for operation in OF_CUSTOMERS:
        fields = getattr(operation.body, "__struct_fields__", ())
        assert not {"tenant_id", "person_id", "user_id"} & {*fields, *operation.query}
        assert "tenant" not in operation.path


def test_a_change_is_audited_with_who_and_which_token(tollhouse: Deployment, operators: dict[Scope, ApiCaller]) -> None:
    name = f"plan-{ids.ulid()}"
    assert operators[Scope.ADMIN_WRITE].put(f"{PREFIX}/plans/{name}", json={"limits": []}).status_code == 200
    entries = tollhouse.billing.ListAudit(billing_pb2.ListAuditRequest(target=name)).entries
    assert [entry.action for entry in entries] == ["put_plan"]
    assert entries[0].actor.startswith(tollhouse.operator[0])
    assert re.search(r" via token_\w+$", entries[0].actor)
    assert '"token_id": "token_' in entries[0].details


def test_what_was_made_is_audited_by_its_name(tollhouse: Deployment, operators: dict[Scope, ApiCaller]) -> None:
    tenant_id, email = f"t-{ids.ulid()}", f"{ids.ulid()}@tests.example"
    operators[Scope.ADMIN_WRITE].post(f"{PREFIX}/tenants", json={"tenant_id": tenant_id})
    operators[Scope.ADMIN_PEOPLE].post(f"{PREFIX}/people", json={"email": email})
    for target, action in ((tenant_id, "create_tenant"), (email, "add_person")):
        entries = tollhouse.billing.ListAudit(billing_pb2.ListAuditRequest(target=target)).entries
        assert [entry.action for entry in entries] == [action]


def test_what_a_customer_does_is_audited_too(tollhouse: Deployment, all_of_customers: ApiCaller) -> None:
    tenant_id = all_of_customers.get("/api/user/self").json()["data"]["tenant_id"]
    made = all_of_customers.post("/api/token/", json={"name": "k"}).json()["data"]["id"]
    all_of_customers.post("/api/token/batch", json={"ids": [made]})
    for target, action in ((tenant_id, "create_own_key"), (made, "delete_own_key")):
        entries = tollhouse.billing.ListAudit(billing_pb2.ListAuditRequest(target=target)).entries
        assert [entry.action for entry in entries] == [action]


def test_the_document_that_caches_may_keep_sets_no_cookie(tollhouse: Deployment) -> None:
    answer = httpx2.get(f"{tollhouse.console_url}/api/openapi.json")
    assert "public" in answer.headers["cache-control"]
    assert "set-cookie" not in answer.headers


def test_a_change_that_is_refused_is_audited_as_refused(
    tollhouse: Deployment, operators: dict[Scope, ApiCaller]
) -> None:
    name = f"nowhere-{ids.ulid()}"
    answer = operators[Scope.ADMIN_WRITE].put(f"{PREFIX}/groups/{name}", json={"pools": ["no-such-pool"]})
    assert answer.status_code in (400, 404), answer.text
    entries = tollhouse.billing.ListAudit(billing_pb2.ListAuditRequest(target=name)).entries
    assert [entry.action for entry in entries] == ["put_group_refused", "put_group"]


def test_no_credential_comes_back_or_is_written_down(tollhouse: Deployment, operators: dict[Scope, ApiCaller]) -> None:
    name, secret = f"acc-{ids.ulid()}", f"credential-{ids.ulid()}"
    account: dict[str, Any] = {
        "kind": "anthropic",
        "base_url": tollhouse.simulator_url,
        "models": {"m": "m"},
        "pool": "default",
        "enabled": False,
    }
    write, read = operators[Scope.ADMIN_WRITE], operators[Scope.ADMIN_READ]
    said = [
        write.put(f"{PREFIX}/accounts/{name}", json={"account": account, "credential": secret}),
        write.put(f"{PREFIX}/accounts/{name}/credential", json={"credential": secret}),
        read.get(f"{PREFIX}/accounts/{name}"),
        read.get(f"{PREFIX}/audit", params={"target": name}),
        write.delete(f"{PREFIX}/accounts/{name}"),
    ]
    assert [answer.status_code for answer in said] == [200, 200, 200, 200, 204], said[0].text
    assert not any(secret in answer.text for answer in said)
    logs = [path.read_text(errors="replace") for path in (tollhouse.state_dir / "log").iterdir()]
    assert not any(secret in log for log in logs)


def test_more_calls_than_are_allowed_wait(tmp_path: Any) -> None:
    with deployed(tmp_path / "state", TOLLHOUSE_CONSOLE_API_CALLS_PER_MINUTE="3") as own:
        visitor = customer(own)
        first, second = (ApiCaller(own, token_of(visitor, "keys:read")) for _ in range(2))
        answers = [first.get("/api/token/") for _ in range(5)]
        assert [answer.status_code for answer in answers[:3]] == [200, 200, 200]
        refused = answers[-1]
        assert refused.status_code == 429
        assert int(refused.headers["retry-after"]) >= 1
        assert second.get("/api/token/").status_code == 200
