"""A caller learns how its own limits stand in the headers of the API that it speaks, on every route."""

import json
from typing import Any

import pytest

from tests.deployment import MODEL, Answer, Deployment, Tenant
from tollhouse.v1 import auth_pb2, types_pb2

HI: Any = [{"role": "user", "content": "Say hello."}]
ANTHROPIC = "anthropic-ratelimit-{metric}-{what}"
OPENAI = "x-ratelimit-{what}-{metric}"
ROUTES = {
    "/v1/messages": (ANTHROPIC, {"max_tokens": 50, "messages": HI}),
    "/v1/messages/count_tokens": (ANTHROPIC, {"messages": HI}),
    "/v1/chat/completions": (OPENAI, {"max_completion_tokens": 50, "messages": HI}),
    "/v1/responses": (OPENAI, {"max_output_tokens": 50, "input": HI}),
    "/v1/embeddings": (OPENAI, {"input": "Say hello."}),
}
NOT_STREAMED = ("/v1/messages/count_tokens", "/v1/embeddings")


def limited(tollhouse: Deployment, requests: int) -> Tenant:
    """A tenant with limits of its own: so many requests a minute, and 4000 tokens."""
    tenant = tollhouse.tenant()
    limits = [
        types_pb2.Limit(metric=types_pb2.LIMIT_METRIC_REQUESTS, amount=requests),
        types_pb2.Limit(metric=types_pb2.LIMIT_METRIC_TOKENS, amount=4_000),
    ]
    tollhouse.auth.SetTenantPolicy(auth_pb2.SetTenantPolicyRequest(tenant_id=tenant.tenant_id, limits=limits))
    return tenant


def ask(tollhouse: Deployment, tenant: Tenant, path: str, **fields: Any) -> Answer:
    body = json.dumps({"model": MODEL, **ROUTES[path][1], **fields}).encode()
    return tollhouse.call("POST", path, {"authorization": f"Bearer {tenant.key}"}, body)


def told(answer: Answer, form: str, metric: str) -> list[str]:
    """Limit, what remains and the reset, as the headers of one API tell them; no header of the other is there."""
    other = {ANTHROPIC: "x-ratelimit-", OPENAI: "anthropic-ratelimit-"}[form]
    assert not [name for name in answer.headers if name.startswith(other)]
    return [answer.headers[form.format(metric=metric, what=what)] for what in ("limit", "remaining", "reset")]


@pytest.mark.parametrize(
    ("path", "stream"),
    [(path, stream) for path in ROUTES for stream in (False, True) if not (stream and path in NOT_STREAMED)],
)
def test_every_route_tells_limits_in_its_own_apis_words(tollhouse: Deployment, path: str, stream: bool) -> None:
    tenant, form = limited(tollhouse, 10), ROUTES[path][0]
    fields = {"stream": True} if stream else {}
    answer = ask(tollhouse, tenant, path, **fields)
    assert answer.status == 200, answer.body
    for metric, amount in (("requests", 10), ("tokens", 4_000)):
        limit, left, reset = told(answer, form, metric)
        assert int(limit) == amount
        counts_nothing = metric == "tokens" and path == "/v1/messages/count_tokens"  # it uses none
        assert int(left) == amount if counts_nothing else int(left) < amount
        assert reset


@pytest.mark.parametrize("path", ROUTES)
def test_a_refusal_tells_them_too_and_when_to_come_back(tollhouse: Deployment, path: str) -> None:
    tenant, form = limited(tollhouse, 1), ROUTES[path][0]
    assert ask(tollhouse, tenant, path).status == 200
    refused = ask(tollhouse, tenant, path)
    assert refused.status == 429
    assert told(refused, form, "requests")[:2] == ["1", "0"]
    assert 0 < int(refused.headers["retry-after"]) <= 60
