"""Whose application asks is told to upstream accounts of OpenRouter's kind, and to nobody else's."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deployment import Deployment, Tenant, request
from tests.upstreams import KINDS, begun_by, delete_upstream, last_served, put_upstream

ATTRIBUTION = {
    "http-referer": "https://app.example",
    "x-title": "An application",
    "x-openrouter-title": "An application, newly named",
}
ASK: dict[str, dict[str, Any]] = {
    "/v1/messages": {"max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "/v1/responses": {"input": "hi"},
}


@pytest.fixture(scope="module")
def credentials(tollhouse: Deployment) -> Iterator[dict[str, str]]:
    """The credential of an upstream account of each kind, which serves the model `attributed-KIND`."""
    yield {kind: put_upstream(tollhouse, f"attributed-{kind}", kind, {f"attributed-{kind}": "m"}) for kind in KINDS}
    for kind in KINDS:
        delete_upstream(tollhouse, f"attributed-{kind}")


@pytest.fixture(scope="module")
def tenant(tollhouse: Deployment) -> Tenant:
    return tollhouse.tenant()


def ask(tollhouse: Deployment, tenant: Tenant, path: str, model: str) -> None:
    body = json.dumps({"model": model, **ASK[path]}).encode()
    headers = {"authorization": f"Bearer {tenant.key}", **ATTRIBUTION}
    assert tollhouse.call("POST", path, headers, body).status == 200


def attribution(tollhouse: Deployment, credential: str) -> dict[str, str]:
    """What the latest request with a credential told of its application."""
    headers = last_served(tollhouse, credential)["headers"]
    return {name.lower(): value for name, value in headers if name.lower() in ATTRIBUTION}


@pytest.mark.parametrize("path", ASK)
@pytest.mark.parametrize("kind", KINDS)
def test_an_application_is_told_to_openrouter_alone(
    tollhouse: Deployment, tenant: Tenant, credentials: dict[str, str], kind: str, path: str
) -> None:
    ask(tollhouse, tenant, path, f"attributed-{kind}")
    assert attribution(tollhouse, credentials[kind]) == (ATTRIBUTION if kind == "openrouter" else {})


def test_an_attempt_elsewhere_after_openrouter_failed_tells_nothing(tollhouse: Deployment, tenant: Tenant) -> None:
    model = "attributed-twice"
    names = {"openrouter": f"{model}-first", "openai": f"{model}-second"}
    first = put_upstream(tollhouse, names["openrouter"], "openrouter", {model: "m"}, priority=0)
    second = put_upstream(tollhouse, names["openai"], "openai", {model: "m"}, priority=1)
    request(tollhouse.simulator_url, "PUT", f"/__behaviour/{first}", body=b"status=500")
    ask(tollhouse, tenant, "/v1/chat/completions", model)
    assert (begun_by(tollhouse, first), begun_by(tollhouse, second)) == (1, 1)
    assert attribution(tollhouse, first) == ATTRIBUTION
    assert attribution(tollhouse, second) == {}
    for name in names.values():
        delete_upstream(tollhouse, name)
