"""POST /v1/messages by the official SDKs: the answer is the upstream's, and the bill is exact."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from tests.deployment import MODEL, ROOT, SONNET_NANO, Deployment, eventually, message, sha256
from tests.sdks import anthropic_sdk

EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
OLDER_SDK = ROOT / ".venv" / "sdk1"
ASK: list[Any] = [{"role": "user", "content": "Say hello."}]

SCRIPT = """
import json, sys, anthropic
client = anthropic.Anthropic(api_key=sys.argv[2], base_url=sys.argv[1], max_retries=0)
ask = dict(model=sys.argv[3], max_tokens=200, messages=[{"role": "user", "content": "Say hello."}])
plain = client.messages.with_raw_response.create(**ask)
with client.messages.with_streaming_response.create(stream=True, **ask) as streamed:
    data = b"".join(streamed.iter_bytes())
with client.messages.stream(**ask) as stream:
    text = stream.get_final_text()
print(json.dumps({"version": anthropic.__version__, "plain": plain.http_response.content.decode(),
    "plain_headers": dict(plain.headers), "streamed": data.decode(), "streamed_headers": dict(streamed.headers),
    "text": text, "parsed": plain.parse().content[0].text, "models": [m.id for m in client.models.list()]}))
"""


def events(stream: bytes) -> list[dict[str, Any]]:
    """The data of each server-sent event."""
    return [json.loads(line[5:]) for line in stream.split(b"\n") if line.startswith(b"data:")]


def cost_nano(usage: dict[str, Any]) -> int:
    """The cost of what `/v1/usage` says, by the demo price book."""
    counts = {
        "input": usage["input_tokens"],
        "output": usage["output_tokens"],
        "cache_read": usage["cache_read_input_tokens"],
        "cache_write_5m": usage["cache_creation"]["ephemeral_5m_input_tokens"],
        "cache_write_1h": usage["cache_creation"]["ephemeral_1h_input_tokens"],
    }
    return sum(SONNET_NANO[token_class] * count for token_class, count in counts.items())


def assert_billed(tollhouse: Deployment, key: str, headers: dict[str, str]) -> dict[str, Any]:
    """What the gateway says of a request is what the simulator counted of it."""
    served = tollhouse.served_request(headers["request-id"])
    answer = tollhouse.usage_of(key, headers["x-request-id"])
    assert answer.status == 200, answer.body
    usage: dict[str, Any] = answer.json()
    assert {
        "input": usage["input_tokens"],
        "output": usage["output_tokens"],
        "cache_read": usage["cache_read_input_tokens"],
        "cache_write_5m": usage["cache_creation"]["ephemeral_5m_input_tokens"],
        "cache_write_1h": usage["cache_creation"]["ephemeral_1h_input_tokens"],
    } == served["tokens"]
    assert usage["cost_nano"] == cost_nano(usage)
    assert usage["cost_micro"] == (usage["cost_nano"] + 500) // 1000
    assert usage["request_id"] == headers["x-request-id"]
    assert usage["model"] == MODEL
    assert usage["estimated"] is False
    return usage


def test_an_unmodified_sdk_gets_the_upstreams_answer_byte_for_byte(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()
    client = anthropic_sdk(tollhouse.base_url, tenant.key)
    raw = client.messages.with_raw_response.create(model=MODEL, max_tokens=200, messages=ASK)
    body = raw.http_response.content
    assert sha256(body) == tollhouse.served_request(raw.headers["request-id"])["response_sha256"]
    Message.model_validate_json(body, strict=True)
    assert_billed(tollhouse, tenant.key, dict(raw.headers))


def test_an_unmodified_sdk_gets_the_upstreams_stream_byte_for_byte(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()
    client = anthropic_sdk(tollhouse.base_url, tenant.key)
    with client.messages.with_streaming_response.create(
        model=MODEL, max_tokens=200, messages=ASK, stream=True, extra_headers={"x-simulator": "gap_ms=2"}
    ) as response:
        body = b"".join(response.iter_bytes())
        headers = dict(response.headers)
    assert sha256(body) == tollhouse.served_request(headers["request-id"])["response_sha256"]
    for event in events(body):
        if event["type"] != "ping":
            EVENT.validate_json(json.dumps(event), strict=True)
    usage = assert_billed(tollhouse, tenant.key, headers)
    assert usage["status"] == "ok"
    assert 0 < usage["first_token_ms"] <= usage["duration_ms"]


def test_the_older_sdk_generation_works_alike(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()
    assert OLDER_SDK.is_dir(), "`make install` puts the older SDK there"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, tollhouse.base_url, tenant.key, MODEL],
        env={"PYTHONPATH": str(OLDER_SDK), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["version"].startswith("1.17.")
    for kind in ("plain", "streamed"):
        headers = {name.lower(): value for name, value in seen[f"{kind}_headers"].items()}
        served = tollhouse.served_request(headers["request-id"])
        assert sha256(seen[kind].encode()) == served["response_sha256"]
        assert "x-api-key" in {name.lower() for name, _ in served["headers"]}
        assert_billed(tollhouse, tenant.key, headers)
    assert seen["text"] == seen["parsed"]
    assert MODEL in seen["models"]


def test_the_newer_sdk_generation_sends_bearer_and_its_own_api_version(tollhouse: Deployment) -> None:
    client = anthropic_sdk(tollhouse.base_url, tollhouse.key)
    raw = client.messages.with_raw_response.create(model=MODEL, max_tokens=20, messages=ASK)
    sent = raw.http_request.headers
    assert sent["authorization"] == f"Bearer {tollhouse.key}"
    assert "x-api-key" not in sent
    received = dict(tollhouse.served_request(raw.headers["request-id"])["headers"])
    assert received["anthropic-version"] == sent["anthropic-version"] == "2026-10-21"


def test_the_balance_goes_down_by_exactly_the_cost(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=10)
    scripts = [
        "",
        "cache_read=1000;cache_write_5m=300;cache_write_1h=77",
        "tokens=1;input_tokens=1",
        "thinking=5;tool=1",
    ]
    spent = 0
    for stream in (False, True):
        for script in scripts:
            answer = tollhouse.messages(tenant.key, simulator=script, stream=stream)
            assert answer.status == 200, answer.body
            spent += assert_billed(tollhouse, tenant.key, answer.headers)["cost_nano"]
    assert tollhouse.balance_nano(tenant.tenant_id) == 10_000_000_000 - spent


def test_a_key_is_taken_as_bearer_or_x_api_key_with_or_without_its_prefix(tollhouse: Deployment) -> None:
    body = json.dumps(message()).encode()
    bare = tollhouse.key.removeprefix("sk-th-")
    forms = [{"authorization": f"Bearer {tollhouse.key}"}, {"authorization": f"bearer {tollhouse.key}"}]
    forms += [{"x-api-key": key} for key in (tollhouse.key, bare, f"sk-{bare}")]
    forms.append({"x-api-key": tollhouse.key, "authorization": f"Bearer {tollhouse.key}"})
    for headers in forms:
        assert tollhouse.call("POST", "/v1/messages", headers, body).status == 200, headers


def test_a_stream_is_delivered_event_by_event(tollhouse: Deployment) -> None:
    with (
        httpx2.Client(timeout=20) as client,
        client.stream(
            "POST",
            f"{tollhouse.base_url}/v1/messages",
            headers={"x-api-key": tollhouse.key, "x-simulator": "tokens=5;gap_ms=100"},
            json=message(stream=True),
        ) as response,
    ):
        chunks = list(response.iter_raw())
    assert len(chunks) >= 5


@pytest.mark.parametrize("script", ["chunk=1", "chunk=7", "crlf=1", "crlf=1;chunk=3"])
def test_however_the_upstream_cuts_its_stream_the_bill_is_exact(tollhouse: Deployment, script: str) -> None:
    tenant = tollhouse.tenant()
    answer = tollhouse.messages(tenant.key, simulator=script, stream=True)
    served = tollhouse.served_request(answer.headers["request-id"])
    assert sha256(answer.body) == served["response_sha256"]
    assert_billed(tollhouse, tenant.key, answer.headers)


def test_what_the_api_has_and_we_do_not_know_passes_through(tollhouse: Deployment) -> None:
    body = json.dumps(message(context_management={"edits": []}, output_config={"effort": "medium"})).encode()
    headers = {
        "authorization": f"Bearer {tollhouse.key}",
        "anthropic-beta": "context-management-2025-06-27,effort-2025-11-24",
        "anthropic-future": "yes",
        "x-app": "cli",
        "user-agent": "claude-cli/2.1.329 (external, sdk-cli)",
        "content-type": "text/plain",
    }
    answer = tollhouse.call("POST", "/v1/messages?beta=true", headers, body)
    assert answer.status == 200, answer.body
    served = tollhouse.served_request(answer.headers["request-id"])
    received = {name.lower(): value for name, value in served["headers"]}
    assert served["body_sha256"] == sha256(body)
    assert served["path"] == "/v1/messages?beta=true"
    for name in ("anthropic-beta", "anthropic-future", "x-app", "user-agent"):
        assert received[name] == headers[name]
    assert received["content-type"] == "application/json"
    assert received["anthropic-version"] == "2023-06-01"


def test_credentials_and_hop_by_hop_headers_stay_here(tollhouse: Deployment) -> None:
    body = json.dumps(message()).encode()
    headers = {
        "x-api-key": tollhouse.key,
        "authorization": f"Bearer {tollhouse.key}",
        "x-goog-api-key": tollhouse.key,
        "cookie": "secret=1",
        "proxy-authorization": "Basic eDp5",
        "te": "trailers",
        "connection": "keep-alive, x-private",
        "x-private": "hop",
        "x-forwarded-for": "192.0.2.1",
        "forwarded": "for=192.0.2.1",
    }
    answer = tollhouse.call("POST", "/v1/messages", headers, body)
    assert answer.status == 200, answer.body
    served = tollhouse.served_request(answer.headers["request-id"])
    received = {name.lower(): value for name, value in served["headers"]}
    for name in headers.keys() - {"x-api-key", "connection"}:
        assert name not in received
    assert received["x-api-key"] != sha256(tollhouse.key.encode())
    assert received["accept-encoding"] == "identity"
    assert received["host"] == tollhouse.simulator_url.removeprefix("http://")


def test_nothing_of_the_upstream_account_reaches_the_client(tollhouse: Deployment) -> None:
    answer = tollhouse.messages(tollhouse.key)
    assert not [name for name in answer.headers if name.startswith(("anthropic-organization", "anthropic-ratelimit"))]
    assert answer.headers["request-id"] != answer.headers["x-request-id"]


def test_the_models_are_listed_in_the_callers_shape(tollhouse: Deployment) -> None:
    client = anthropic_sdk(tollhouse.base_url, tollhouse.key)
    listed = list(client.models.list())
    assert MODEL in [model.id for model in listed]
    assert client.models.retrieve(MODEL).type == "model"
    openai = tollhouse.call("GET", "/v1/models", {"authorization": f"Bearer {tollhouse.key}"}).json()
    assert openai["object"] == "list"
    assert MODEL in [model["id"] for model in openai["data"]]
    assert tollhouse.call("GET", "/v1/models").status == 401


def test_clients_may_probe_the_root(tollhouse: Deployment) -> None:
    assert tollhouse.call("GET", "/").status == 200
    head = tollhouse.call("HEAD", "/")
    assert (head.status, head.body) == (200, b"")


def test_a_model_may_have_another_name_at_the_upstream(tollhouse: Deployment) -> None:
    tollhouse.account("aliased", tollhouse.simulator_url, {"house-model": "claude-opus-4-6"})
    tenant = tollhouse.tenant()
    ask = message(model="house-model", metadata={"user_id": 'é\u2028"x"'})
    answer = tollhouse.call("POST", "/v1/messages", {"x-api-key": tenant.key}, json.dumps(ask).encode())
    assert answer.status == 200, answer.body
    assert answer.json()["model"] == "claude-opus-4-6"
    assert tollhouse.usage_of(tenant.key, answer.headers["x-request-id"]).json()["model"] == "house-model"


def test_usage_is_told_to_the_tenant_that_asked_and_to_nobody_else(tollhouse: Deployment) -> None:
    owner, stranger = tollhouse.tenant(), tollhouse.tenant()
    request_id = tollhouse.messages(owner.key).headers["x-request-id"]
    assert tollhouse.usage_of(owner.key, request_id).status == 200
    foreign = tollhouse.usage_of(stranger.key, request_id)
    assert foreign.status == 404
    assert foreign.json()["error"]["type"] == "not_found_error"
    assert tollhouse.usage_of(owner.key, "req_nonsense").status == 404
    assert tollhouse.usage_of("sk-th-nobody", request_id).status == 401


def test_usage_is_there_when_the_answer_is(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant()
    for _ in range(20):
        answer = tollhouse.messages(tenant.key)
        assert tollhouse.usage_of(tenant.key, answer.headers["x-request-id"]).status == 200


def test_a_disabled_key_is_refused_at_once_and_an_enabled_one_taken(tollhouse: Deployment) -> None:
    from tollhouse.v1 import auth_pb2

    tenant = tollhouse.tenant()
    assert tollhouse.messages(tenant.key).status == 200

    def refused() -> bool:  # in less than the five seconds that an edge remembers a key
        return tollhouse.messages(tenant.key).status == 403

    tollhouse.auth.SetKeyEnabled(auth_pb2.SetKeyEnabledRequest(key_id=tenant.key_id, enabled=False))
    eventually(refused, within_s=4)
    tollhouse.auth.SetKeyEnabled(auth_pb2.SetKeyEnabledRequest(key_id=tenant.key_id, enabled=True))
    eventually(lambda: not refused(), within_s=4)
    tollhouse.auth.SetTenantEnabled(auth_pb2.SetTenantEnabledRequest(tenant_id=tenant.tenant_id, enabled=False))
    eventually(refused, within_s=4)


def test_requests_on_one_connection_are_answered_one_after_the_other(tollhouse: Deployment) -> None:
    with httpx2.Client(base_url=tollhouse.base_url, headers={"x-api-key": tollhouse.key}) as client:
        ids = {client.post("/v1/messages", json=message()).headers["x-request-id"] for _ in range(5)}
        assert client.post("/v1/messages", json={}).status_code == 400
        assert client.post("/v1/messages", json=message()).status_code == 200
    assert len(ids) == 5
