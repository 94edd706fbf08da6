"""Unit tests of services.edge.routes, beside a router that tells what it is given."""

import asyncio
import contextlib
from types import SimpleNamespace
from typing import cast

import pytest

from services.edge.clients import Routers
from services.edge.routes import Routes
from services.shared.errors import Kind, Refusal
from tests.unit.edge.test_picks import SETTINGS
from tollhouse.v1 import router_pb2

TOLD = router_pb2.GetRoutesResponse(
    pools=[
        router_pb2.Pool(name="p1", models=["haiku", "opus"]),
        router_pb2.Pool(name="p2", models=["opus", "gpt", "gone"]),
    ],
    groups=[router_pb2.Group(name="both", pools=["p1", "p2"]), router_pb2.Group(name="one", pools=["p2"])],
    models=[router_pb2.Model(model=model) for model in ("opus", "haiku", "gpt")],
)


def routes() -> Routes:
    async def told(request: router_pb2.GetRoutesRequest, *, timeout: float) -> router_pb2.GetRoutesResponse:
        return TOLD

    replica = SimpleNamespace(stub=SimpleNamespace(GetRoutes=told))
    return Routes(cast(Routers, SimpleNamespace(any=lambda: replica)), SETTINGS)


async def loaded() -> Routes:
    made = routes()
    keeping = asyncio.create_task(made.keep())
    await made.known.wait()
    keeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeping
    return made


async def test_a_group_may_call_what_its_pools_serve_by_id() -> None:
    known = await loaded()
    assert [model.model for model in known.models("both")] == ["gpt", "haiku", "opus"]
    assert [model.model for model in known.models("one")] == ["gpt", "opus"]
    assert known.models("nobodys") == []


async def test_nothing_is_listed_before_a_router_has_told() -> None:
    with pytest.raises(Refusal) as refusal:
        routes().models("both")
    assert refusal.value.kind is Kind.ROUTER_UNAVAILABLE


async def test_the_pools_that_serve_a_model_are_asked_in_the_groups_order() -> None:
    known = await loaded()
    assert known.pools("both", "opus") == ["p1", "p2"]
    assert known.pools("both", "gpt") == ["p2"]
    assert known.pools("both", "unheard-of") == ["p1"]
