"""Holds as clients meet them: streams that hold a first stretch, credit that ends in mid-stream, spend caps."""

import base64
import json
from typing import Any

import pytest

from tests.deployment import SONNET_NANO, Answer, Deployment, Tenant, eventually, message
from tollhouse.v1 import auth_pb2, router_pb2

PROMPT_NANO = 5 * SONNET_NANO["input"]


def dollars_for(tokens: int) -> float:
    return tokens * SONNET_NANO["output"] / 1e9


def test_a_stream_asks_for_many_tokens_on_a_small_balance(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=dollars_for(5_000))
    assert tollhouse.messages(tenant.key, max_tokens=64_000).status == 402  # a plain answer cannot be stopped half way
    answer = tollhouse.messages(tenant.key, "tokens=50", max_tokens=64_000, stream=True)
    assert answer.status == 200
    assert answer.body.endswith(b'data: {"type":"message_stop"}\n\n')
    usage = tollhouse.usage_of(tenant.key, answer.headers["x-request-id"]).json()
    assert (usage["status"], usage["output_tokens"], usage["estimated"]) == ("ok", 50, False)


def test_a_stream_that_is_paid_for_is_extended_to_its_end(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=dollars_for(30_000))
    answer = tollhouse.messages(tenant.key, "tokens=9000", max_tokens=20_000, stream=True)
    assert answer.body.endswith(b'data: {"type":"message_stop"}\n\n')
    usage = tollhouse.usage_of(tenant.key, answer.headers["x-request-id"]).json()
    assert (usage["status"], usage["output_tokens"]) == ("ok", 9000)


def test_when_the_balance_is_used_up_in_mid_stream_the_stream_ends_and_says_why(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=dollars_for(3_000))
    answer = tollhouse.messages(tenant.key, "tokens=15000;gap_ms=1", max_tokens=20_000, stream=True)
    assert answer.status == 200
    last = answer.body.rstrip().rpartition(b"event: error\ndata: ")[2]
    error = json.loads(last)
    assert error["error"]["type"] == "billing_error"
    assert "balance" in error["error"]["message"]
    usage = tollhouse.usage_of(tenant.key, answer.headers["x-request-id"]).json()
    assert (usage["status"], usage["estimated"]) == ("credit_exhausted", True)
    assert 1_000 < usage["output_tokens"] <= 3_000 + 200  # what came in one read with the token that was one too many
    assert tollhouse.balance_nano(tenant.tenant_id) >= 0
    eventually(lambda: tollhouse.served()["open"] == 0, what="the upstream was stopped too")


def test_a_key_spends_no_more_than_its_cap(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=10)
    cap_nano = 10 * (PROMPT_NANO + 100 * SONNET_NANO["output"])
    made = tollhouse.auth.CreateKey(
        auth_pb2.CreateKeyRequest(tenant_id=tenant.tenant_id, name="capped", spend_cap_nano=cap_nano)
    )
    statuses = [tollhouse.messages(made.secret, "tokens=100;input_tokens=5", max_tokens=100).status for _ in range(14)]
    refused = tollhouse.messages(made.secret, max_tokens=100)
    assert refused.status == 402
    assert "the key's spend cap" in refused.json()["error"]["message"]
    assert 9 <= statuses.count(200) <= 10
    assert tollhouse.messages(tenant.key).status == 200  # the tenant's other key goes on
    tollhouse.auth.SetKeySpendCap(auth_pb2.SetKeySpendCapRequest(key_id=made.key.key_id))
    eventually(lambda: tollhouse.messages(made.secret, max_tokens=100).status == 200, what="the cap is lifted")


def test_a_repeated_request_is_seen_as_such_and_not_swallowed(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()
    headers = {"x-api-key": tenant.key, "idempotency-key": "order-7", "x-stainless-retry-count": "1"}
    body = json.dumps(
        {"model": "claude-sonnet-4-6", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
    ).encode()
    answers = [tollhouse.call("POST", "/v1/messages", headers, body) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    eventually(lambda: len(tollhouse.usages(tenant.tenant_id)) == 2)
    listed = tollhouse.call("GET", "/v1/usage?idempotency_key=order-7", {"x-api-key": tenant.key}).json()
    assert {entry["request_id"] for entry in listed["data"]} == {answer.headers["x-request-id"] for answer in answers}


def test_what_is_held_is_told_and_ends_with_the_request(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()
    answer = tollhouse.messages(tenant.key)
    tollhouse.usage_of(tenant.key, answer.headers["x-request-id"])

    def balance() -> dict[str, int]:
        told: dict[str, int] = tollhouse.call("GET", "/v1/balance", {"x-api-key": tenant.key}).json()
        return told

    eventually(lambda: balance()["held_nano"] == 0)
    assert balance()["balance_nano"] == balance()["available_nano"] == tollhouse.balance_nano(tenant.tenant_id)


@pytest.fixture(scope="module")
def chat_model(tollhouse: Deployment) -> str:
    """A model of an account that speaks OpenAI's APIs."""
    kind = router_pb2.UPSTREAM_KIND_OPENAI
    tollhouse.account("holds-chat", tollhouse.simulator_url, {"gpt-held": "gpt-5.2"}, kind=kind)
    eventually(lambda: b"gpt-held" in tollhouse.call("GET", "/v1/models", {"x-api-key": tollhouse.key}).body)
    return "gpt-held"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_what_stands_around_openais_text_uses_up_no_credit(tollhouse: Deployment, chat_model: str, path: str) -> None:
    tenant = tollhouse.tenant(dollars=dollars_for(3_000))
    body = json.dumps(message(model=chat_model, max_tokens=20_000, stream=True)).encode()
    answer = tollhouse.call("POST", path, {"x-api-key": tenant.key, "x-simulator": "tokens=600"}, body)
    usage = tollhouse.usage_of(tenant.key, answer.headers["x-request-id"]).json()
    assert (usage["status"], usage["output_tokens"], usage["estimated"]) == ("ok", 600, False)


def test_every_choice_of_a_chat_completion_is_held_for(tollhouse: Deployment, chat_model: str) -> None:
    plain, streaming = (tollhouse.tenant(dollars=dollars_for(2_500)) for _ in range(2))

    def ask(tenant: Tenant, **fields: Any) -> Answer:
        body = message(model=chat_model, max_tokens=1000, **fields)
        headers = {"authorization": f"Bearer {tenant.key}", "x-simulator": "tokens=1000"}
        return tollhouse.call("POST", "/v1/chat/completions", headers, json.dumps(body).encode())

    assert ask(plain, n=100).status == 402
    assert ask(plain, n=2).json()["usage"]["completion_tokens"] == 2000
    assert b"balance" in ask(streaming, n=100, stream=True).body.rstrip().rpartition(b"data: ")[2]


def test_an_image_in_a_data_url_needs_no_more_credit_than_an_image(tollhouse: Deployment, chat_model: str) -> None:
    tenant = tollhouse.tenant(dollars=1)
    image = {"url": "data:image/png;base64," + base64.b64encode(bytes(2_000_000)).decode()}
    content = [{"type": "image_url", "image_url": image}]
    body = message(model=chat_model, messages=[{"role": "user", "content": content}])
    answer = tollhouse.call("POST", "/v1/chat/completions", {"x-api-key": tenant.key}, json.dumps(body).encode())
    assert answer.status == 200, answer.body
