"""Bad input, bad luck and bad upstreams: a clear error in Anthropic's shape, and nothing lost."""

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import anthropic
import pytest

from tests.deployment import MODEL, Answer, Deployment, eventually, free_port, message
from tests.sdks import anthropic_sdk
from tollhouse.v1 import auth_pb2

VALID = json.dumps(message()).encode()


def assert_error(answer: Answer, status: int, type_: str, *words: str) -> dict[str, Any]:
    """An error of ours in Anthropic's shape, with the request id in its message."""
    assert answer.status == status, answer.body
    body: dict[str, Any] = answer.json()
    assert body["type"] == "error"
    assert body["error"]["type"] == type_
    assert f"(request id: {answer.headers['x-request-id']})" in body["error"]["message"]
    for word in words:
        assert word in body["error"]["message"]
    return body


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "JSON"),
        (b"not json", "JSON"),
        (b'{"model": ', "JSON"),
        (b"[1, 2]", "JSON object"),
        (b'"text"', "JSON object"),
        (b"null", "JSON object"),
        (json.dumps({"model": MODEL, "max_tokens": 5}).encode(), "messages: field is required"),
        (json.dumps({"max_tokens": 5, "messages": []}).encode(), "model: field is required"),
        (json.dumps({"model": MODEL, "messages": [{}]}).encode(), "max_tokens: field is required"),
        (json.dumps(message(messages=[])).encode(), "messages: at least one"),
        (json.dumps(message(messages="hi")).encode(), "messages: expected `array`, got `str`"),
        (json.dumps(message(max_tokens=0)).encode(), "max_tokens: must be at least 1"),
        (json.dumps(message(max_tokens="many")).encode(), "max_tokens:"),
        (json.dumps(message(model=7)).encode(), "model:"),
        (json.dumps(message(stream="yes")).encode(), "stream:"),
        (b'{"model": "\xff\xfe", "max_tokens": 1, "messages": [1]}', ""),
        (b"[" * 100_000, ""),
    ],
)
def test_a_malformed_request_is_told_what_is_wrong(tollhouse: Deployment, body: bytes, words: str) -> None:
    answer = tollhouse.call("POST", "/v1/messages", {"x-api-key": tollhouse.key}, body)
    assert_error(answer, 400, "invalid_request_error", words)


def test_an_unknown_model_is_not_found(tollhouse: Deployment) -> None:
    answer = tollhouse.messages(tollhouse.key, model="no-such-model")
    assert_error(answer, 404, "not_found_error", "no-such-model")


def test_a_body_of_33_mib_is_too_large(tollhouse: Deployment) -> None:
    body = json.dumps(message(messages=[{"role": "user", "content": "x" * (33 * 1024 * 1024)}])).encode()
    answer = tollhouse.call("POST", "/v1/messages", {"x-api-key": tollhouse.key}, body)
    assert_error(answer, 413, "request_too_large", "33554432")
    client = anthropic_sdk(tollhouse.base_url, tollhouse.key)
    with pytest.raises(anthropic.APIStatusError) as caught:
        client.messages.create(
            model=MODEL, max_tokens=5, messages=[{"role": "user", "content": "x" * (33 * 1024 * 1024)}]
        )
    assert caught.value.status_code == 413


def test_a_body_in_chunks_over_the_limit_is_too_large(tollhouse: Deployment) -> None:
    parts = urlsplit(tollhouse.base_url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as sock:
        sock.sendall(
            b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: " + tollhouse.key.encode() + b"\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        piece = b"%x\r\n%s\r\n" % (1 << 20, b" " * (1 << 20))
        for _ in range(33):
            sock.sendall(piece)
        sock.sendall(b"0\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_never_comes_is_given_up(tollhouse: Deployment) -> None:
    parts = urlsplit(tollhouse.base_url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as sock:
        sock.sendall(
            b"POST /v1/messages HTTP/1.1\r\nhost: x\r\nx-api-key: " + tollhouse.key.encode() + b"\r\n"
            b"content-length: 100\r\n\r\n{"
        )
        assert sock.recv(65536).startswith(b"HTTP/1.1 408 ")


def test_a_key_that_is_missing_unknown_or_ambiguous_is_refused_and_not_to_be_retried(tollhouse: Deployment) -> None:
    cases: list[tuple[dict[str, str], str]] = [
        ({}, "no key"),
        ({"x-api-key": ""}, "no key"),
        ({"authorization": "Bearer "}, "no key"),
        ({"x-api-key": "sk-th-unknown"}, "not known"),
        ({"authorization": "Basic dXNlcjpwYXNz"}, "not known"),
        ({"x-api-key": "sk-th-" + "x" * 5000}, "malformed"),
        ({"x-api-key": "sk-th-é"}, "malformed"),
        ({"x-api-key": tollhouse.key, "authorization": "Bearer sk-th-another"}, "different keys"),
    ]
    for headers, words in cases:
        encoded = {name: value.encode("utf-8").decode("latin-1") for name, value in headers.items()}
        answer = tollhouse.call("POST", "/v1/messages", encoded, VALID)
        assert_error(answer, 401, "authentication_error", words)
        assert answer.headers["x-should-retry"] == "false"
    assert tollhouse.call("GET", "/v1/usage/req_x").status == 401


def test_an_empty_balance_is_402_and_says_what_could_be_afforded(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=0.01)
    answer = tollhouse.messages(tenant.key, max_tokens=64_000)
    body = assert_error(answer, 402, "billing_error", "max_tokens of at most")
    assert answer.headers["x-should-retry"] == "false"
    affordable = int(body["error"]["message"].split("at most ")[1].split(" ")[0])
    assert tollhouse.messages(tenant.key, max_tokens=affordable).status == 200
    nothing = tollhouse.tenant(dollars=0)
    assert_error(tollhouse.messages(nothing.key), 402, "billing_error", "cannot afford this prompt")
    tollhouse.top_up(nothing.tenant_id, 1)
    assert tollhouse.messages(nothing.key).status == 200


def test_a_balance_is_used_up_and_never_overdrawn(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=0.02)
    statuses = []
    for _ in range(40):
        statuses.append(tollhouse.messages(tenant.key, simulator="tokens=100;input_tokens=20", max_tokens=100).status)
        if statuses[-1] == 402:
            break
    assert statuses[-1] == 402
    assert set(statuses[:-1]) == {200}
    spent = len(statuses[:-1]) * (100 * 15_000 + 20 * 3_000)
    eventually(lambda: len(tollhouse.usages(tenant.tenant_id)) == len(statuses) - 1, what="all is booked")
    assert tollhouse.balance_nano(tenant.tenant_id) == 20_000_000 - spent
    assert spent > 20_000_000 * 0.85


def test_an_expired_key_is_refused(tollhouse: Deployment) -> None:
    import time

    tenant = tollhouse.tenant()
    expires_ms = time.time_ns() // 1_000_000 + 300
    made = tollhouse.auth.CreateKey(
        auth_pb2.CreateKeyRequest(tenant_id=tenant.tenant_id, name="short", expires_ms=expires_ms)
    )
    while time.time_ns() // 1_000_000 <= expires_ms:
        time.sleep(0.05)
    assert_error(tollhouse.messages(made.secret), 401, "authentication_error", "expired")


def test_unknown_routes_and_methods_are_told_in_the_apis_own_shape(tollhouse: Deployment) -> None:
    assert_error(tollhouse.call("GET", "/v1/nothing"), 404, "not_found_error", "/v1/nothing")
    assert_error(tollhouse.call("POST", "/v1/usage/req_x", {}, b"{}"), 405, "invalid_request_error")
    assert tollhouse.call("PUT", "/v1/messages", {}, b"{}").status == 405
    key = {"x-api-key": tollhouse.key, "anthropic-version": "2023-06-01"}
    assert_error(tollhouse.call("GET", "/v1/models/no-such-model", key), 404, "not_found_error")


@pytest.mark.parametrize("stream", [False, True])
def test_a_fault_of_the_request_that_the_upstream_found_is_passed_on(tollhouse: Deployment, stream: bool) -> None:
    for status in (400, 404, 413, 422):
        answer = tollhouse.messages(tollhouse.key, simulator=f"status={status};message=look here", stream=stream)
        assert answer.status == status
        assert answer.json()["error"]["message"].startswith("look here")
        usage = tollhouse.usage_of(tollhouse.key, answer.headers["x-request-id"]).json()
        assert (usage["status"], usage["cost_nano"]) == ("client_fault", 0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("upstream", "status", "type_"),
    [
        (500, 502, "api_error"),
        (503, 502, ""),
        (401, 502, "upstream_error"),
        (403, 502, "upstream_error"),
        (429, 429, "rate_limit_error"),
        (529, 529, "overloaded_error"),
    ],
)
def test_a_fault_of_the_upstream_is_told_without_its_words(
    tollhouse: Deployment, upstream: int, status: int, type_: str, stream: bool
) -> None:
    script = f"status={upstream};message=account acc-secret of org-secret;retry_after=7"
    answer = tollhouse.messages(tollhouse.key, simulator=script, stream=stream)
    body = assert_error(answer, status, type_ or json.loads(answer.body)["error"]["type"])
    assert "secret" not in answer.body.decode()
    assert "secret" not in json.dumps(answer.headers)
    if status in (429, 529):
        assert answer.headers["retry-after"] == "7"
    usage = tollhouse.usage_of(tollhouse.key, answer.headers["x-request-id"]).json()
    assert (usage["status"], usage["cost_nano"]) == ("upstream_fault", 0), body


def test_an_upstream_that_is_down_is_502(tollhouse: Deployment) -> None:
    tollhouse.account("down", f"http://127.0.0.1:{free_port()}", {"model-down": "model-down"})
    answer = tollhouse.messages(tollhouse.key, model="model-down")
    assert_error(answer, 502, "upstream_error", "could not be reached")


@pytest.mark.parametrize("stream", [False, True])
def test_an_upstream_that_hangs_is_504(tollhouse: Deployment, stream: bool) -> None:
    answer = tollhouse.messages(tollhouse.key, simulator="hang=before", stream=stream)
    assert_error(answer, 504, "timeout_error", "sent nothing")
    usage = tollhouse.usage_of(tollhouse.key, answer.headers["x-request-id"]).json()
    assert (usage["status"], usage["cost_nano"]) == ("upstream_fault", 0)


def test_an_upstream_that_hangs_up_is_502(tollhouse: Deployment) -> None:
    for script in ("cut_after=-1", "cut_after=0"):
        answer = tollhouse.messages(tollhouse.key, simulator=script)
        assert_error(answer, 502, "upstream_error")


def test_a_model_whose_accounts_are_all_disabled_is_503(tollhouse: Deployment) -> None:
    from tollhouse.v1 import router_pb2

    tollhouse.account("resting", tollhouse.simulator_url, {"model-resting": "claude-opus-4-6"})
    tollhouse.router.SetUpstreamAccountEnabled(
        router_pb2.SetUpstreamAccountEnabledRequest(name="resting", enabled=False)
    )
    answer = tollhouse.messages(tollhouse.key, model="model-resting")
    assert_error(answer, 503, "overloaded_error")
    assert answer.headers["retry-after"].isdigit()


def test_a_model_without_a_price_is_refused(tollhouse: Deployment) -> None:
    from tollhouse.v1 import router_pb2

    account = router_pb2.UpstreamAccount(
        name="unpriced",
        kind=router_pb2.UPSTREAM_KIND_ANTHROPIC,
        base_url=tollhouse.simulator_url,
        models={"model-unpriced": "claude-opus-4-6"},
        enabled=True,
    )
    tollhouse.router.PutUpstreamAccount(router_pb2.PutUpstreamAccountRequest(account=account, credential="x"))
    before = tollhouse.served()["requests"]
    assert_error(tollhouse.messages(tollhouse.key, model="model-unpriced"), 503, "api_error", "price")
    assert tollhouse.served()["requests"] == before


def test_another_account_takes_over_before_the_first_byte(tollhouse: Deployment) -> None:
    models = {"model-pair": "claude-sonnet-4-6"}
    tollhouse.account("pair-dead", f"http://127.0.0.1:{free_port()}", models, priority=1)
    tollhouse.account("pair-alive", tollhouse.simulator_url, models, priority=2)
    tenant = tollhouse.tenant()
    for stream in (False, True):
        answer = tollhouse.messages(tenant.key, model="model-pair", stream=stream)
        assert answer.status == 200, answer.body
        assert tollhouse.usage_of(tenant.key, answer.headers["x-request-id"]).json()["status"] == "ok"
