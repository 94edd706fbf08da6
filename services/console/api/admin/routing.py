"""Pools, groups and models: how requests find upstream accounts."""

from typing import Any

from services.console.api.admin.resources import changing, listing, reading, the
from services.console.api.operation import Call
from services.console.api.pages import page_of
from tollhouse.v1 import router_pb2


async def _pools(call: Call) -> list[router_pb2.Pool]:
    return list((await call.console.clients.router.ListPools(router_pb2.ListPoolsRequest())).pools)


async def list_pools(call: Call) -> Any:
    """A page of pools, by name."""
    return page_of(await _pools(call), lambda pool: (0, pool.name), call.query)


async def get_pool(call: Call) -> router_pb2.Pool:
    """One pool."""
    return the(await _pools(call), lambda pool: pool.name == call.path("name"), "pool")


async def put_pool(call: Call) -> router_pb2.Pool:
    """Adds a pool."""
    return (await call.console.clients.router.PutPool(router_pb2.PutPoolRequest(name=call.path("name")))).pool


async def delete_pool(call: Call) -> None:
    """Deletes a pool without accounts that stands in no group."""
    await call.console.clients.router.DeletePool(router_pb2.DeletePoolRequest(name=call.path("name")))


async def _groups(call: Call) -> list[router_pb2.Group]:
    return list((await call.console.clients.router.ListGroups(router_pb2.ListGroupsRequest())).groups)


async def list_groups(call: Call) -> Any:
    """A page of groups, by name."""
    return page_of(await _groups(call), lambda group: (0, group.name), call.query)


async def get_group(call: Call) -> router_pb2.Group:
    """One group."""
    return the(await _groups(call), lambda group: group.name == call.path("name"), "group")


async def put_group(call: Call) -> router_pb2.Group:
    """Adds a group, or replaces its pools."""
    group = router_pb2.Group(name=call.path("name"), pools=call.body.pools)
    return (await call.console.clients.router.PutGroup(router_pb2.PutGroupRequest(group=group))).group


async def delete_group(call: Call) -> None:
    """Deletes a group."""
    await call.console.clients.router.DeleteGroup(router_pb2.DeleteGroupRequest(name=call.path("name")))


async def _models(call: Call) -> list[router_pb2.Model]:
    return list((await call.console.clients.router.ListModels(router_pb2.ListModelsRequest())).models)


async def list_models(call: Call) -> Any:
    """A page of the models that can be called, by id."""
    return page_of(await _models(call), lambda model: (0, model.model), call.query)


async def get_model(call: Call) -> router_pb2.Model:
    """One model that can be called."""
    return the(await _models(call), lambda model: model.model == call.path("model"), "model")


async def put_model(call: Call) -> router_pb2.Model:
    """Says how a model is shown, which family it belongs to, and how long it may take."""
    model: router_pb2.Model = call.body
    model.model = call.path("model")
    return (await call.console.clients.router.PutModel(router_pb2.PutModelRequest(model=model))).model


operations = (
    listing("/pools", "listPools", "Pools, by name", list_pools, router_pb2.Pool),
    reading("/pools/{name}", "getPool", "One pool", get_pool, router_pb2.Pool),
    changing("PUT", "/pools/{name}", "putPool", "Adds a pool", put_pool, router_pb2.Pool, current=get_pool),
    changing(
        "DELETE",
        "/pools/{name}",
        "deletePool",
        "Deletes a pool without accounts that stands in no group",
        delete_pool,
        current=get_pool,
    ),
    listing("/groups", "listGroups", "Groups, by name", list_groups, router_pb2.Group),
    reading("/groups/{name}", "getGroup", "One group", get_group, router_pb2.Group),
    changing(
        "PUT",
        "/groups/{name}",
        "putGroup",
        "Adds a group, or replaces its pools",
        put_group,
        router_pb2.Group,
        body=router_pb2.Group,
        needed=("pools",),
        current=get_group,
    ),
    changing(
        "DELETE",
        "/groups/{name}",
        "deleteGroup",
        "Deletes a group; keys in it can call nothing until they have another",
        delete_group,
        current=get_group,
    ),
    listing("/models", "listModels", "Models that can be called, by id", list_models, router_pb2.Model),
    reading("/models/{model:path}", "getModel", "One model that can be called", get_model, router_pb2.Model),
    changing(
        "PUT",
        "/models/{model:path}",
        "putModel",
        "Says how a model is shown, its family, and how long it may take",
        put_model,
        router_pb2.Model,
        body=router_pb2.Model,
        target="{model}",
        current=get_model,
    ),
)
