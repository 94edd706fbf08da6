"""Upstream accounts of every kind, each played by the simulator at the base URL that the kind has."""

import hashlib
from collections.abc import Mapping
from typing import Any

from tests.deployment import Deployment, eventually, request
from tollhouse.v1 import billing_pb2, router_pb2

KINDS: Mapping[str, tuple["router_pb2.UpstreamKind.ValueType", str]] = {
    "anthropic": (router_pb2.UPSTREAM_KIND_ANTHROPIC, ""),
    "openai": (router_pb2.UPSTREAM_KIND_OPENAI, ""),
    "openrouter": (router_pb2.UPSTREAM_KIND_OPENROUTER, "/api"),
    "gemini-openai": (router_pb2.UPSTREAM_KIND_GEMINI_OPENAI, "/v1beta/openai"),
    "simulator": (router_pb2.UPSTREAM_KIND_SIMULATOR, ""),
}
"""By the name that `tollhouse account add --kind` takes: the kind, and the end of its base URL."""


def put_upstream(tollhouse: Deployment, name: str, kind: str, models: Mapping[str, str], **fields: Any) -> str:
    """Stores an upstream account with a credential of its own, and prices of its models; its credential. Waits until
    the edge knows the models."""
    number, base = KINDS[kind]
    credential = f"sim-{name}"
    account = router_pb2.UpstreamAccount(
        name=name, kind=number, base_url=tollhouse.simulator_url + base, models=models, enabled=True, **fields
    )
    tollhouse.router.PutUpstreamAccount(router_pb2.PutUpstreamAccountRequest(account=account, credential=credential))
    for model in models:
        price = billing_pb2.Price(model=model, input_pico=3_000_000, output_pico=15_000_000)
        tollhouse.billing.SetPrice(billing_pb2.SetPriceRequest(price=price, actor="test"))
    eventually(lambda: all(_known(tollhouse, model) for model in models), what=f"the edge knows the models of {name}")
    return credential


def delete_upstream(tollhouse: Deployment, name: str) -> None:
    """Takes an upstream account away again."""
    tollhouse.router.DeleteUpstreamAccount(router_pb2.DeleteUpstreamAccountRequest(name=name))


def begun_by(tollhouse: Deployment, credential: str) -> int:
    """How many requests the simulator got with this credential."""
    return int(tollhouse.served()["by_credential"].get(credential, 0))


def last_served(tollhouse: Deployment, credential: str) -> dict[str, Any]:
    """What the simulator saw of the latest request with this credential."""
    digest = hashlib.sha256(credential.encode()).hexdigest()
    listed = request(tollhouse.simulator_url, "GET", "/__served/requests?last=1000").json()["requests"]
    return next(entry for entry in reversed(listed) if any(value == digest for _, value in entry["headers"]))


def _known(tollhouse: Deployment, model: str) -> bool:
    return tollhouse.call("GET", f"/v1/models/{model}", {"x-api-key": tollhouse.key}).status == 200
