"""Unit tests of services.edge.catalog: which models are listed, for whom."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from starlette.requests import Request

from services.edge.answers import Context
from services.edge.brand import BUILT_IN
from services.edge.catalog import Catalog
from services.edge.dialects.errors import APIS, Api
from services.edge.head import RequestHead
from services.edge.identification import Identification
from services.edge.principals import Principal
from services.edge.routes import Routes
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import router_pb2

FUTURE_KIND = 77
MODELS = [
    router_pb2.Model(model="haiku", kinds=[router_pb2.UPSTREAM_KIND_ANTHROPIC]),
    router_pb2.Model(model="openai/gpt-5.2", kinds=[router_pb2.UPSTREAM_KIND_OPENAI, cast(Any, FUTURE_KIND)]),
    router_pb2.Model(model="strange", kinds=[cast(Any, FUTURE_KIND)]),
    router_pb2.Model(model="untold"),
]


class Anybody:
    """Identification that knows one principal."""

    def __init__(self, *models: str) -> None:
        self.principal = Principal("t", "k", "g", models=frozenset(models))

    async def of(self, request: Request, model: str = "") -> Principal:
        return self.principal


def catalog(*models: str) -> Catalog:
    served = SimpleNamespace(models=lambda group: MODELS if group == "g" else [])
    return Catalog(cast(Routes, served), cast(Identification, Anybody(*models)))


def request(shape: Api = "openai", **path_params: str) -> Request:
    context = Context("req_1", BUILT_IN, RequestHead(), shape)
    return Request({"type": "http", "path_params": path_params, "tollhouse.context": context})


async def listed(of: Catalog) -> list[str]:
    return [model["id"] for model in (await of.every(request()))["data"]]


async def test_models_that_only_accounts_of_an_unknown_kind_serve_are_not_listed() -> None:
    assert await listed(catalog()) == ["haiku", "openai/gpt-5.2", "untold"]


async def test_a_keys_list_narrows_what_is_listed() -> None:
    assert await listed(catalog("openai/gpt-5.2", "strange", "not-served")) == ["openai/gpt-5.2"]


@pytest.mark.parametrize("shape", APIS)
async def test_one_model_is_told_as_the_list_tells_it(shape: Api) -> None:
    every = await catalog().every(request(shape))
    one = await catalog().one(request(shape, model="openai/gpt-5.2"))
    assert one in (every["models"] if shape == "gemini" else every["data"])


@pytest.mark.parametrize("model", ["strange", "no/such", ""])
async def test_a_model_that_is_not_listed_is_unknown(model: str) -> None:
    with pytest.raises(Refusal) as refusal:
        await catalog().one(request(model=model))
    assert refusal.value.kind is Kind.MODEL_UNKNOWN
