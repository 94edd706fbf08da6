"""Servers that are compatible with OpenAI's, and know nothing but Chat Completions."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.deployment import Answer, Deployment, Tenant, eventually
from tests.sdks import openai_sdk
from tests.upstreams import begun_by
from tollhouse.v1 import billing_pb2, router_pb2

MODEL = "compatible-model"
CREDENTIAL = "sim-compatible"


@pytest.fixture(scope="module")
def tenant(tollhouse: Deployment) -> Iterator[Tenant]:
    account = router_pb2.UpstreamAccount(
        name="compatible",
        kind=router_pb2.UPSTREAM_KIND_OPENAI,
        base_url=f"{tollhouse.simulator_url}/compatible",
        models={MODEL: "gpt-5.2"},
        enabled=True,
    )
    tollhouse.router.PutUpstreamAccount(router_pb2.PutUpstreamAccountRequest(account=account, credential=CREDENTIAL))
    price = billing_pb2.Price(model=MODEL, input_pico=3_000_000, output_pico=15_000_000)
    tollhouse.billing.SetPrice(billing_pb2.SetPriceRequest(price=price, actor="test"))
    key = {"x-api-key": tollhouse.key}
    eventually(lambda: tollhouse.call("GET", f"/v1/models/{MODEL}", key).status == 200, what="the model is known")
    yield tollhouse.tenant()
    tollhouse.router.DeleteUpstreamAccount(router_pb2.DeleteUpstreamAccountRequest(name="compatible"))


def respond(tollhouse: Deployment, tenant: Tenant, model: str = MODEL, **fields: Any) -> Answer:
    body = {"model": model, "input": "Say hello."} | fields
    return tollhouse.call("POST", "/v1/responses", {"x-api-key": tenant.key}, json.dumps(body).encode())


def test_a_response_is_had_by_a_chat_completion_and_asked_for_so_at_once_from_then_on(
    tollhouse: Deployment, tenant: Tenant
) -> None:
    client = openai_sdk(f"{tollhouse.base_url}/v1", tenant.key)
    answer = client.responses.create(model=MODEL, input="Say hello.")
    assert answer.output_text
    assert answer.usage is not None
    used = tollhouse.usages(tenant.tenant_id)
    eventually(lambda: len(tollhouse.usages(tenant.tenant_id)) == 1, what="it is booked")
    used = tollhouse.usages(tenant.tenant_id)
    assert (used[0].tokens.input, used[0].tokens.output) == (answer.usage.input_tokens, answer.usage.output_tokens)
    assert len(used[0].attempts_detail) <= 2
    before = begun_by(tollhouse, CREDENTIAL)
    with client.responses.stream(model=MODEL, input="Say hello.") as stream:
        assert stream.get_final_response().output_text
    assert begun_by(tollhouse, CREDENTIAL) == before + 1
    eventually(lambda: len(tollhouse.usages(tenant.tenant_id)) == 2, what="it is booked")


def test_what_a_chat_completion_cannot_express_is_refused_by_its_name(tollhouse: Deployment, tenant: Tenant) -> None:
    assert respond(tollhouse, tenant).status == 200
    refused = respond(tollhouse, tenant, previous_response_id="resp_1")
    assert refused.status == 400
    assert refused.json()["error"]["param"] == "previous_response_id"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_clients_of_other_apis_notice_nothing_of_that(tollhouse: Deployment, tenant: Tenant, path: str) -> None:
    assert respond(tollhouse, tenant).status == 200
    body = {"model": MODEL, "max_tokens": 20, "messages": [{"role": "user", "content": "Say hello."}]}
    assert tollhouse.call("POST", path, {"x-api-key": tenant.key}, json.dumps(body).encode()).status == 200
