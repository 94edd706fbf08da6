"""One tenant's key, as an operator may change it: its group, plan and limits, and whether it is accepted."""

import asyncio
from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from services.console import deeds
from services.console.console import console_of
from services.console.forms import Form
from services.console.guards import operator
from services.console.pages.operators import fields
from services.console.rendering import redirect
from services.shared.errors import Refusal
from tollhouse.v1 import auth_pb2, router_pb2

_TENANT = "/operator/tenants/{tenant_id}"
_ONE = f"{_TENANT}/keys/{{key_id}}"


async def one(request: Request) -> Response:
    """The key and its form."""
    key = await _key(request)
    form = Form({"group": key.group, "plan": key.plan, "limits": fields.limit_lines(key.limits)})
    return await _page(request, key, form)


async def set_policy(request: Request) -> Response:
    """Sets the key's group, plan and its own limits."""
    key, form = await _key(request), await Form.read(request, "group", "plan", "limits")
    asked = auth_pb2.SetKeyPolicyRequest(key_id=key.key_id, group=form["group"], plan=form["plan"])
    try:
        asked.limits.extend(fields.limits(form["limits"]))
    except ValueError as error:
        return await _page(request, key, form.wrong("limits", str(error)), 422)
    try:
        change = partial(console_of(request).clients.auth.SetKeyPolicy, asked)
        await deeds.done(request, "set_key_policy", key.key_id, change, tenant=key.tenant_id, **form.values)
    except Refusal as refusal:
        words = {"group": "group", "plan": "plan", "limits": "limit"}
        return await _page(request, key, deeds.beside(form, refusal, **words), 422)
    return redirect(request, request.url.path, "saved")


async def enable(request: Request) -> Response:
    """Accepts the key."""
    return await _set_enabled(request, enabled=True)


async def disable(request: Request) -> Response:
    """Refuses the key."""
    return await _set_enabled(request, enabled=False)


async def _set_enabled(request: Request, *, enabled: bool) -> Response:
    key = await _key(request)
    asked = auth_pb2.SetKeyEnabledRequest(key_id=key.key_id, enabled=enabled)
    change = partial(console_of(request).clients.auth.SetKeyEnabled, asked)
    await deeds.done(request, "enable_key" if enabled else "disable_key", key.key_id, change, tenant=key.tenant_id)
    onward = f"/operator/tenants/{key.tenant_id}/keys/{key.key_id}"
    return redirect(request, onward, "enabled" if enabled else "disabled")


async def _key(request: Request) -> auth_pb2.Key:
    """The tenant's key that the path names."""
    asked = auth_pb2.ListKeysRequest(tenant_id=request.path_params["tenant_id"])
    listed = await console_of(request).clients.auth.ListKeys(asked)
    for key in listed.keys:
        if key.key_id == request.path_params["key_id"]:
            return key
    raise HTTPException(404)


async def _page(request: Request, key: auth_pb2.Key, form: Form, status: int = 200) -> Response:
    console = console_of(request)
    groups, plans = await asyncio.gather(
        console.clients.router.ListGroups(router_pb2.ListGroupsRequest()),
        console.clients.auth.ListPlans(auth_pb2.ListPlansRequest()),
    )
    return console.renderer.page(
        request,
        "operators/tenant_key.html",
        status,
        key=key,
        form=form,
        groups=[group.name for group in groups.groups],
        plans=[plan.name for plan in plans.plans],
    )


routes = [
    operator(_ONE, one),
    operator(_ONE, set_policy, ["POST"]),
    operator(f"{_ONE}/enable", enable, ["POST"]),
    operator(f"{_ONE}/disable", disable, ["POST"]),
]
