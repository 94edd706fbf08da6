"""Pools of upstream accounts, and groups: which pools a key may use, in which order."""

import asyncio
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from services.console import deeds
from services.console.console import console_of
from services.console.forms import Form
from services.console.guards import operator
from services.console.pages.operators import fields
from services.console.rendering import redirect
from services.shared.errors import Refusal
from tollhouse.v1 import router_pb2

_PATH = "/operator/pools"
_GROUPS = "/operator/groups"


async def show(request: Request) -> Response:
    """Both lists."""
    return await _page(request)


async def add(request: Request) -> Response:
    """Adds a pool."""
    form = await Form.read(request, "pool")
    asked = router_pb2.PutPoolRequest(name=form["pool"].strip())
    try:
        change = partial(console_of(request).clients.router.PutPool, asked)
        await deeds.done(request, "put_pool", asked.name, change)
    except Refusal as refusal:
        return await _page(request, pool_form=deeds.beside(form, refusal, pool="pool"))
    return redirect(request, _PATH, "added")


async def delete(request: Request) -> Response:
    """Deletes a pool that holds nothing and stands in no group."""
    asked = router_pb2.DeletePoolRequest(name=request.path_params["pool"])
    try:
        change = partial(console_of(request).clients.router.DeletePool, asked)
        await deeds.done(request, "delete_pool", asked.name, change)
    except Refusal as refusal:
        return await _page(request, pool_form=deeds.beside(Form(), refusal))
    return redirect(request, _PATH, "deleted")


async def put_group(request: Request) -> Response:
    """Makes a group, or gives one other pools."""
    form = await Form.read(request, "group", "pools")
    asked = router_pb2.PutGroupRequest(
        group=router_pb2.Group(name=form["group"].strip(), pools=fields.lines(form["pools"]))
    )
    try:
        change = partial(console_of(request).clients.router.PutGroup, asked)
        await deeds.done(request, "put_group", asked.group.name, change, pools=", ".join(asked.group.pools))
    except Refusal as refusal:
        return await _page(request, group_form=deeds.beside(form, refusal, pools="pool", group="group"))
    return redirect(request, _PATH, "saved")


async def delete_group(request: Request) -> Response:
    """Deletes a group. Its keys can call nothing until they are given another."""
    asked = router_pb2.DeleteGroupRequest(name=request.path_params["group"])
    try:
        change = partial(console_of(request).clients.router.DeleteGroup, asked)
        await deeds.done(request, "delete_group", asked.name, change)
    except Refusal as refusal:
        return await _page(request, group_form=deeds.beside(Form(), refusal))
    return redirect(request, _PATH, "deleted")


async def _page(request: Request, pool_form: Form | None = None, group_form: Form | None = None) -> Response:
    console = console_of(request)
    pools, groups = await asyncio.gather(
        console.clients.router.ListPools(router_pb2.ListPoolsRequest()),
        console.clients.router.ListGroups(router_pb2.ListGroupsRequest()),
    )
    chosen = next((group for group in groups.groups if group.name == request.query_params.get("group")), None)
    if group_form is None and chosen is not None:
        group_form = Form({"group": chosen.name, "pools": "\n".join(chosen.pools)})
    wrong = any(form is not None and form.errors for form in (pool_form, group_form))
    return console.renderer.page(
        request,
        "operators/pools.html",
        422 if wrong else 200,
        pools=pools.pools,
        groups=groups.groups,
        pool_form=pool_form or Form(),
        group_form=group_form or Form(),
    )


routes = [
    operator(_PATH, show),
    operator(_PATH, add, ["POST"]),
    operator(f"{_PATH}/{{pool}}/delete", delete, ["POST"]),
    operator(_GROUPS, put_group, ["POST"]),
    operator(f"{_GROUPS}/{{group}}/delete", delete_group, ["POST"]),
]
