"""What today's clients send, captured from unmodified ones (long texts cut), through every kind of upstream account."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest

from tests.deployment import ROOT, Answer, Deployment, Tenant
from tests.upstreams import KINDS, delete_upstream, last_served, put_upstream

GENERATE = "enerateContent"
"""Of Gemini's own API, which is not served."""
ONLY_SPOKEN = {"/v1/embeddings": ("openai", "gemini-openai", "simulator")}
"""APIs that are not translated, with the kinds that speak them."""
LAST = {
    "/v1/messages": b"event: message_stop",
    "/v1/chat/completions": b"data: [DONE]",
    "/v1/responses": b"event: response.completed",
}
"""How a whole stream ends, or the event that ends it begins."""


class Capture(NamedTuple):
    """One captured request."""

    client: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]

    @property
    def endpoint(self) -> str:
        """The path without its query."""
        return self.path.partition("?")[0]


def captures() -> Iterator[Capture]:
    for file in sorted((ROOT / "tests" / "data" / "captures").glob("*.json")):
        captured = json.loads(file.read_text())
        for request in captured["requests"]:
            yield Capture(file.stem, request["path"], request["headers"], request["body"])


CAPTURES = list(captures())
SERVED = [one for one in CAPTURES if GENERATE not in one.path]
MODELS = {str(one.body["model"]) for one in SERVED}


def named(value: object) -> str:
    if not isinstance(value, Capture):
        return str(value)
    streamed = "-streamed" if value.body.get("stream") else ""
    return f"{value.client}{value.endpoint.replace('/', '-')}{streamed}"


@pytest.fixture(scope="module")
def credentials(tollhouse: Deployment) -> Iterator[dict[str, str]]:
    """The credential of an upstream account of each kind, which serves every captured model as `KIND/MODEL`."""
    yield {
        kind: put_upstream(tollhouse, f"captures-{kind}", kind, {f"{kind}/{model}": model for model in MODELS})
        for kind in KINDS
    }
    for kind in KINDS:
        delete_upstream(tollhouse, f"captures-{kind}")


@pytest.fixture(scope="module")
def tenant(tollhouse: Deployment) -> Tenant:
    return tollhouse.tenant(dollars=1000)


def replayed(tollhouse: Deployment, tenant: Tenant, capture: Capture, kind: str) -> Answer:
    body = json.dumps({**capture.body, "model": f"{kind}/{capture.body['model']}"}).encode()
    return tollhouse.call("POST", capture.path, {**capture.headers, "authorization": f"Bearer {tenant.key}"}, body)


def test_the_captures_are_of_every_endpoint_that_is_translated_plain_and_streamed() -> None:
    found = {(one.endpoint, bool(one.body.get("stream"))) for one in CAPTURES}
    assert {(path, stream) for path in LAST for stream in (False, True)} <= found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("capture", SERVED, ids=named)
def test_a_captured_request_is_answered_in_its_own_api_and_billed_as_served(
    tollhouse: Deployment, tenant: Tenant, credentials: dict[str, str], capture: Capture, kind: str
) -> None:
    answer = replayed(tollhouse, tenant, capture, kind)
    if kind not in ONLY_SPOKEN.get(capture.endpoint, KINDS):
        assert (answer.status, answer.json()["error"]["code"]) == (404, "model_not_found")
        return
    assert answer.status == 200, answer.body
    if capture.endpoint == "/v1/messages/count_tokens":
        assert answer.json()["input_tokens"] > 0
        return
    if capture.body.get("stream"):
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.body.rstrip().split(b"\n\n")[-1].startswith(LAST[capture.endpoint])
    else:
        assert answer.json()["usage"]
    served = last_served(tollhouse, credentials[kind])["tokens"]
    billed = tollhouse.usage_of(tenant.key, answer.headers["x-request-id"]).json()
    assert (billed["input_tokens"], billed["output_tokens"]) == (served["input"], served["output"])


@pytest.mark.parametrize("capture", [one for one in CAPTURES if GENERATE in one.path], ids=named)
def test_geminis_own_generation_is_no_endpoint(tollhouse: Deployment, tenant: Tenant, capture: Capture) -> None:
    body = json.dumps(capture.body).encode()
    answer = tollhouse.call("POST", capture.path, {**capture.headers, "x-goog-api-key": tenant.key}, body)
    assert answer.status in (404, 405)  # 405 where the model's own page is, which can be read
    assert answer.headers["x-request-id"] in answer.json()["error"]["message"]
