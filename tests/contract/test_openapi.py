"""What the served OpenAPI document promises, a running deployment keeps: every endpoint, answers and errors."""

import json
from typing import Any

import pytest
from openapi_spec_validator import validate

from tests.contract.conftest import EXAMPLES
from tests.contract.description import Description
from tests.contract.house import House
from tests.deployment import MODEL, Answer, Deployment, message
from tollhouse.v1 import auth_pb2

CHAT = {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}]}
RESPONSES = {"model": MODEL, "input": "Say hello."}
REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/messages": message(),
    "/v1/messages/count_tokens": {"model": MODEL, "messages": [{"role": "user", "content": "Say hello."}]},
    "/v1/chat/completions": CHAT,
    "/v1/responses": RESPONSES,
    "/v1/embeddings": {"model": MODEL, "input": "Say hello."},
}
STREAMED = ("/v1/messages", "/v1/chat/completions", "/v1/responses")


@pytest.fixture(scope="module")
def description(tollhouse: Deployment) -> Description:
    return Description.of(tollhouse)


def asked(tollhouse: Deployment, path: str, key: str = "", script: str = "", **fields: Any) -> Answer:
    headers = {"x-api-key": key or tollhouse.key} | ({"x-simulator": script} if script else {})
    return tollhouse.call("POST", path, headers, json.dumps(REQUESTS[path] | fields).encode())


def test_the_document_is_served_to_everybody_and_is_valid(tollhouse: Deployment) -> None:
    answer = tollhouse.call("GET", "/openapi.json")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    document = answer.json()
    assert document["openapi"].startswith("3.1.")
    validate(document)
    assert tollhouse.call("GET", "/api/proxy/openapi.json").body == answer.body


@pytest.mark.parametrize("path", REQUESTS)
def test_what_is_asked_of_models_is_answered_as_described(
    tollhouse: Deployment, description: Description, path: str
) -> None:
    said = description.operation("POST", path)["requestBody"]["content"]["application/json"]["schema"]
    description.validator(said).validate(REQUESTS[path])
    answer = asked(tollhouse, path)
    assert answer.status == 200, answer.body
    description.assert_holds("POST", path, answer)


@pytest.mark.parametrize("path", STREAMED)
def test_streams_are_answered_as_described(tollhouse: Deployment, description: Description, path: str) -> None:
    answer = asked(tollhouse, path, stream=True)
    assert answer.headers["content-type"].startswith("text/event-stream")
    description.assert_holds("POST", path, answer)


@pytest.mark.parametrize("path", REQUESTS)
def test_errors_of_what_is_asked_of_models_are_as_described(
    tollhouse: Deployment, description: Description, path: str
) -> None:
    poor = tollhouse.tenant(dollars=0)
    idle = tollhouse.tenant()
    tollhouse.auth.SetKeyEnabled(auth_pb2.SetKeyEnabledRequest(key_id=idle.key_id, enabled=False))
    key = {"x-api-key": tollhouse.key}
    answers = {
        400: tollhouse.call("POST", path, key, b"{"),
        401: tollhouse.call("POST", path, {}, b"{}"),
        402: asked(tollhouse, path, poor.key),
        403: asked(tollhouse, path, idle.key),
        404: asked(tollhouse, path, model="no-such-model"),
        413: tollhouse.call("POST", path, key, b" " * (33 << 20)),
        422: asked(tollhouse, path, script="status=422"),
        429: asked(tollhouse, path, script="status=429"),
        502: asked(tollhouse, path, script="status=500"),
        504: asked(tollhouse, path, script="hang=before"),
        529: asked(tollhouse, path, script="status=529"),
    }
    counting = path.endswith("count_tokens")  # which is not billed, and estimated where no upstream counts
    for status, answer in answers.items():
        assert answer.status == (200 if counting and status in (402, 429, 502, 504, 529) else status), answer.body
        description.assert_holds("POST", path, answer)


@pytest.mark.parametrize("brand", EXAMPLES)
def test_every_brand_answers_as_its_own_document_says(
    tollhouse: Deployment, houses: dict[str, House], brand: str
) -> None:
    host = {"host": houses[brand].host}
    answer = tollhouse.call("GET", "/openapi.json", host)
    validate(answer.json())
    description = Description(answer.json())
    assert tollhouse.call("GET", "/openapi.json", host).body == answer.body
    key, nobody = {"x-api-key": tollhouse.key}, {"x-api-key": "sk-nobody"}
    unbounded = {name: value for name, value in message().items() if name != "max_tokens"}
    for path, request in (REQUESTS | {"/v1/messages": unbounded}).items():
        for who in (key, nobody, {}):
            for model in (MODEL, "no-such-model"):
                body = json.dumps(request | {"model": model}).encode()
                description.assert_holds("POST", path, tollhouse.call("POST", path, host | who, body))
    for path in ("/v1/models", "/v1/models/no-such-model", "/v1beta/models", "/v1/balance", "/v1/usage/req_x", "/"):
        for who in (key, nobody, {"x-goog-api-key": tollhouse.key}):
            description.assert_holds("GET", path, tollhouse.call("GET", path, host | who))
    schema = description.document["components"]["schemas"]["MessagesRequest"]
    accepted = tollhouse.call("POST", "/v1/messages", host | key, json.dumps(unbounded).encode()).status == 200
    assert description.validator(schema).is_valid(unbounded) == accepted
    for server in description.document["servers"]:
        assert tollhouse.call("GET", server["url"].rstrip("/") + "/v1/balance", host | key).status == 200


def test_what_is_read_is_answered_as_described(tollhouse: Deployment, description: Description) -> None:
    tenant = tollhouse.tenant()
    request_id = asked(tollhouse, "/v1/messages", tenant.key).headers["x-request-id"]
    paths = [
        f"/v1/usage/{request_id}",
        f"/v1/usage/{request_id}/receipt",
        "/v1/usage?limit=1",
        "/v1/usage/summary?by=hour&group=key,model",
        "/v1/balance",
        "/v1/dashboard/billing/subscription",
        "/v1/dashboard/billing/usage",
        "/api/usage/token/",
        "/api/usage/token",
        "/v1/models",
        f"/v1/models/{MODEL}",
        "/v1beta/models",
        f"/v1beta/models/{MODEL}",
        "/v1beta/openai/models",
        f"/v1beta/openai/models/{MODEL}",
        "/.well-known/tollhouse-receipt-keys.json",
        "/openapi.json",
        "/",
    ]
    described = {path for path, methods in description.document["paths"].items() if "get" in methods}
    assert len(described) == len(paths)
    for path in paths:
        for asking in ({}, {"anthropic-version": "2023-06-01"}, {"x-goog-api-key": tenant.key}):
            answer = tollhouse.call("GET", path, {"x-api-key": tenant.key} | asking)
            assert answer.status == 200, answer.body
            description.assert_holds("GET", path, answer)


def test_errors_of_what_is_read_are_as_described(tollhouse: Deployment, description: Description) -> None:
    key = {"authorization": f"Bearer {tollhouse.key}"}
    for path, status in (
        ("/v1/usage/req_unknown", 404),
        ("/v1/usage/req_unknown/receipt", 404),
        ("/v1/usage?limit=none", 400),
        ("/v1/usage/summary?by=year", 400),
        ("/v1/models/no-such-model", 404),
        ("/v1beta/models/no-such-model", 404),
        ("/v1beta/openai/models/no-such-model", 404),
    ):
        answer = tollhouse.call("GET", path, key)
        assert answer.status == status
        description.assert_holds("GET", path, answer)
        without = tollhouse.call("GET", path)
        assert without.status == 401
        description.assert_holds("GET", path, without)
    for path in ("/v1/balance", "/v1/models", "/v1beta/models", "/v1beta/openai/models"):
        description.assert_holds("GET", path, tollhouse.call("GET", path, {"x-api-key": "sk-th-nobody"}))
    for asking in ({}, {"anthropic-version": "2023-06-01"}, {"x-goog-api-key": tollhouse.key}):
        deleting = tollhouse.call("DELETE", f"/v1/models/{MODEL}", asking)
        assert deleting.status == 501
        description.assert_holds("DELETE", f"/v1/models/{MODEL}", deleting)
