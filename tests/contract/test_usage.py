"""Usage, balance and receipts as a client sees them on the wire, receipts checked by a library that knows only JWS."""

import json
from typing import Any
from urllib.parse import quote

import httpx2
import jwt
import pytest

from tests.deployment import Deployment

USAGE_FIELDS = {
    "request_id",
    "model",
    "status",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation",
    "cost_micro",
    "cost_nano",
    "price_version",
    "created_at",
    "duration_ms",
    "first_token_ms",
}


def get(tollhouse: Deployment, path: str, key: str | None = None) -> httpx2.Response:
    headers = {"authorization": f"Bearer {key or tollhouse.key}"}
    return httpx2.get(tollhouse.base_url + path, headers=headers, timeout=30)


def test_a_listed_request_is_the_same_as_the_request_asked_for_alone(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()
    request_id = tollhouse.messages(tenant.key).headers["x-request-id"]
    alone: dict[str, Any] = get(tollhouse, f"/v1/usage/{request_id}", tenant.key).json()
    assert alone.keys() >= USAGE_FIELDS
    listed = get(tollhouse, "/v1/usage", tenant.key).json()
    assert listed == {"data": [alone], "has_more": False, "next_cursor": None}


def test_the_balance_falls_by_what_a_request_cost(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=1)
    request_id = tollhouse.messages(tenant.key).headers["x-request-id"]
    cost_nano = get(tollhouse, f"/v1/usage/{request_id}", tenant.key).json()["cost_nano"]
    balance = get(tollhouse, "/v1/balance", tenant.key).json()
    assert balance["balance_nano"] == 1_000_000_000 - cost_nano
    assert all(type(amount) is int for amount in balance.values())


def test_any_jws_library_checks_a_receipt_with_the_published_keys(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()
    request_id = tollhouse.messages(tenant.key).headers["x-request-id"]
    receipt = get(tollhouse, f"/v1/usage/{request_id}/receipt", tenant.key).text
    published = httpx2.get(tollhouse.base_url + "/.well-known/tollhouse-receipt-keys.json", timeout=30)
    keys = jwt.PyJWKSet.from_dict(published.json())
    key = keys[jwt.get_unverified_header(receipt)["kid"]]
    said = jwt.decode(receipt, key, algorithms=["EdDSA"])
    assert (said["request_id"], said["tenant_id"]) == (request_id, tenant.tenant_id)
    head, payload, signature = receipt.split(".")
    with pytest.raises(jwt.InvalidSignatureError):
        jwt.decode(f"{head}.{payload}.{signature[:-4]}AAAA", key, algorithms=["EdDSA"])


@pytest.mark.parametrize("path", ["/v1/usage", "/v1/usage/summary", "/v1/balance", "/v1/usage/req_x/receipt"])
def test_nothing_is_told_without_a_key(tollhouse: Deployment, path: str) -> None:
    answer = httpx2.get(tollhouse.base_url + path, timeout=30)
    assert answer.status_code == 401
    assert answer.json()["error"]["type"] == "authentication_error"
    assert answer.headers["x-request-id"] in json.dumps(answer.json())


@pytest.mark.parametrize("query", ["from=x", "to=" + quote("2026-13-01T00:00:00Z"), "by=minute", "group=tenant", "x=1"])
def test_a_wrong_query_is_the_clients_fault_and_named(tollhouse: Deployment, query: str) -> None:
    answer = get(tollhouse, f"/v1/usage/summary?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(query.partition("=")[0])
