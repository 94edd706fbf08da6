"""A customer's keys: the list, and what makes, changes and deletes them."""

import asyncio
from functools import partial
from typing import Final
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from services.console import deeds, key_form
from services.console.catalogue import Catalogue
from services.console.console import Console, console_of
from services.console.failures import sentence
from services.console.forms import Form
from services.console.guards import customer
from services.console.key_form import Choices, listed
from services.console.rendering import redirect
from services.console.visit import tenant_of, visit_of
from services.shared import clock, ids
from services.shared.errors import Refusal
from tollhouse.v1 import auth_pb2, router_pb2, usage_pb2

PATH: Final = "/dashboard/keys"
_SPENT_DAYS: Final = 30
_DAY_MS: Final = 24 * 3600 * clock.MS_PER_S
_QUERY_MOST: Final = 100
_PAGE: Final = 50
_DIGITS_MOST: Final = 6


async def keys(request: Request) -> Response:
    """Every key, or those that a search finds, with what each spent in 30 days."""
    console, tenant_id = console_of(request), tenant_of(request)
    wanted = request.query_params.get("q", "").strip()[:_QUERY_MOST]
    every, spent = await asyncio.gather(keys_of(console, tenant_id), _spent(console, tenant_id))
    found = [key for key in reversed(every) if matches(key, wanted)]
    number = _page_number(request)
    return console.renderer.page(
        request,
        "keys.html",
        keys=found[number * _PAGE : (number + 1) * _PAGE],
        found=len(found),
        any=bool(every),
        q=wanted,
        spent=spent,
        now_ms=clock.now_ms(),
        newer=_list_address(wanted, number - 1) if number else "",
        older=_list_address(wanted, number + 1) if len(found) > (number + 1) * _PAGE else "",
    )


async def new(request: Request) -> Response:
    """The empty form."""
    return await _form_page(request, Form({"group": "default", "idempotency_key": ids.ulid()}))


async def make(request: Request) -> Response:
    """Makes a key and shows its secret: once, or for the first time."""
    console = console_of(request)
    form = await _read(request)
    choices = await _choices(console)
    key = key_form.key_of(form, auth_pb2.Key(group="default", enabled=True), choices, clock.now_ms())
    if form.errors:
        return await _form_page(request, form, status=422)
    once = f"console:{form['idempotency_key']}"[:200]
    asked = key_form.creation(key, tenant_of(request), await _brand(request), once)
    try:
        change = partial(console.clients.auth.CreateKey, asked)
        made = await deeds.done(request, "create_own_key", asked.tenant_id, change, name=asked.name)
    except Refusal as refusal:
        return await _form_page(request, form.wrong(*_said(refusal)), status=422)
    if made.repeated:
        return redirect(request, f"{PATH}/{made.key.key_id}", "key_made_before")
    return console.renderer.page(request, "key_secret.html", key=made.key, secret=made.secret, fresh=True)


async def show(request: Request) -> Response:
    """One key: what it may, and the form that changes it."""
    key = await key_of_path(request)
    return await _form_page(request, key_form.shown(key), key)


async def change(request: Request) -> Response:
    """Replaces what may be changed of a key."""
    console, key = console_of(request), await key_of_path(request)
    form = await _read(request)
    choices = (await _choices(console)).with_those_of(key)
    wanted = key_form.key_of(form, key, choices, clock.now_ms())
    if form.errors:
        return await _form_page(request, form, key, 422)
    try:
        change = partial(console.clients.auth.UpdateKey, auth_pb2.UpdateKeyRequest(key=wanted))
        await deeds.done(request, "update_own_key", key.key_id, change, name=wanted.name)
    except Refusal as refusal:
        return await _form_page(request, form.wrong(*_said(refusal)), key, 422)
    return redirect(request, f"{PATH}/{key.key_id}", "key_changed")


async def enable(request: Request) -> Response:
    """Lets a key be used again."""
    return await _set_enabled(request, True)


async def disable(request: Request) -> Response:
    """Lets a key be used no more, until it is enabled again."""
    return await _set_enabled(request, False)


async def reveal(request: Request) -> Response:
    """Shows a key's secret again, where its brand keeps a copy. The audit log has each time."""
    console, key = console_of(request), await key_of_path(request)
    change = partial(console.clients.auth.RevealKey, auth_pb2.RevealKeyRequest(key_id=key.key_id))
    shown = await deeds.done(request, "reveal_own_key", key.key_id, change, name=key.name)
    return console.renderer.page(request, "key_secret.html", key=key, secret=shown.secret, fresh=False)


async def delete(request: Request) -> Response:
    """Deletes one key."""
    key = await key_of_path(request)
    await _delete(request, key)
    return redirect(request, PATH, "key_deleted")


async def confirm_delete(request: Request) -> Response:
    """Asks before several keys are deleted."""
    chosen = frozenset(request.query_params.getlist("key"))
    found = [key for key in await keys_of(console_of(request), tenant_of(request)) if key.key_id in chosen]
    if not found:
        return redirect(request, PATH, "keys_not_chosen")
    return console_of(request).renderer.page(request, "keys_delete.html", keys=found)


async def delete_several(request: Request) -> Response:
    """Deletes the keys that a form names, as far as they are the tenant's."""
    console = console_of(request)
    chosen = frozenset(str(name) for name in (await request.form()).getlist("key"))
    for key in await keys_of(console, tenant_of(request)):
        if key.key_id in chosen:
            await _delete(request, key)
    return redirect(request, PATH, "keys_deleted")


async def _delete(request: Request, key: auth_pb2.Key) -> None:
    change = partial(console_of(request).clients.auth.DeleteKey, auth_pb2.DeleteKeyRequest(key_id=key.key_id))
    await deeds.done(request, "delete_own_key", key.key_id, change, name=key.name)


async def keys_of(console: Console, tenant_id: str) -> list[auth_pb2.Key]:
    """A tenant's keys, oldest first."""
    assert tenant_id, "an empty tenant would be every tenant"
    listed = await console.clients.auth.ListKeys(auth_pb2.ListKeysRequest(tenant_id=tenant_id))
    return list(listed.keys)


async def key_of_path(request: Request) -> auth_pb2.Key:
    """The key that the path names, of the tenant of who is signed in. Another tenant's does not exist."""
    wanted = request.path_params["key_id"]
    for key in await keys_of(console_of(request), tenant_of(request)):
        if key.key_id == wanted:
            return key
    raise HTTPException(404)


def matches(key: auth_pb2.Key, wanted: str) -> bool:
    """Whether a search for `wanted` finds a key: by its name, what lists show of it, its id, group or plan."""
    texts = (key.name, key.hint, key.key_id, key.group, key.plan)
    return any(wanted.casefold() in text.casefold() for text in texts)


def _page_number(request: Request) -> int:
    """Which page of the list, from 0."""
    asked = request.query_params.get("page", "")
    return int(asked) if asked.isascii() and asked.isdecimal() and len(asked) <= _DIGITS_MOST else 0


def _list_address(wanted: str, number: int) -> str:
    said = urlencode({name: value for name, value in (("q", wanted), ("page", number)) if value})
    return f"{PATH}?{said}" if said else PATH


async def _set_enabled(request: Request, enabled: bool) -> Response:
    key = await key_of_path(request)
    asked = auth_pb2.SetKeyEnabledRequest(key_id=key.key_id, enabled=enabled)
    change = partial(console_of(request).clients.auth.SetKeyEnabled, asked)
    action = "enable_own_key" if enabled else "disable_own_key"
    await deeds.done(request, action, key.key_id, change, name=key.name)
    return redirect(request, f"{PATH}/{key.key_id}", "key_enabled" if enabled else "key_disabled")


async def _spent(console: Console, tenant_id: str) -> dict[str, int]:
    """What each key spent in 30 days, today among them, in nano-dollars."""
    tomorrow_ms = clock.now_ms() + -clock.now_ms() % _DAY_MS
    summary = await console.clients.usage.SummarizeUsage(
        usage_pb2.SummarizeUsageRequest(
            tenant_id=tenant_id,
            period=usage_pb2.USAGE_PERIOD_WHOLE,
            groups=[usage_pb2.USAGE_GROUP_KEY],
            from_ms=tomorrow_ms - _SPENT_DAYS * _DAY_MS,
            to_ms=tomorrow_ms,
        )
    )
    return {bucket.key_id: bucket.cost_nano for bucket in summary.buckets}


async def _choices(console: Console) -> Choices:
    """What every customer may give a key."""
    catalogue = Catalogue(await console.clients.router.GetRoutes(router_pb2.GetRoutesRequest()))
    groups = listed(console.settings.key_groups) or ["default"]
    models = {model.model for group in groups for model in catalogue.models(group)}
    return Choices(groups, listed(console.settings.key_plans), sorted(models))


async def _brand(request: Request) -> str:
    """The brand of the page; none where it is the built-in one, which auth does not have."""
    name = visit_of(request).brand.name
    brands = await console_of(request).clients.auth.ListBrands(auth_pb2.ListBrandsRequest())
    return name if any(brand.name == name for brand in brands.brands) else ""


async def _read(request: Request) -> Form:
    """The form as it was sent; the models that were ticked become lines of one field."""
    form = await Form.read(request, *key_form.FIELDS, "idempotency_key")
    ticked = [str(model) for model in (await request.form()).getlist("models")]
    return Form(form.values | {"models": "\n".join(ticked)})


async def _form_page(request: Request, form: Form, key: auth_pb2.Key | None = None, status: int = 200) -> Response:
    console = console_of(request)
    choices = await _choices(console)
    if key is not None:
        choices = choices.with_those_of(key)
    ticked = form["models"].split("\n") if form["models"] else []
    return console.renderer.page(
        request, "key.html", status, form=form, key=key, choices=choices, ticked=ticked, now_ms=clock.now_ms()
    )


def _said(refusal: Refusal) -> tuple[str, str]:
    """The field that a refusal is about, and what it says. What is not the person's to change stays a refusal."""
    if refusal.kind.http_status >= 500:
        raise refusal
    return key_form.field_of(refusal.details.get("param", "")), sentence(refusal)


routes = [
    customer(PATH, keys),
    customer(PATH, make, ["POST"]),
    customer(f"{PATH}/new", new),
    customer(f"{PATH}/delete", confirm_delete),
    customer(f"{PATH}/delete", delete_several, ["POST"]),
    customer(f"{PATH}/{{key_id}}", show),
    customer(f"{PATH}/{{key_id}}", change, ["POST"]),
    customer(f"{PATH}/{{key_id}}/enable", enable, ["POST"]),
    customer(f"{PATH}/{{key_id}}/disable", disable, ["POST"]),
    customer(f"{PATH}/{{key_id}}/reveal", reveal, ["POST"]),
    customer(f"{PATH}/{{key_id}}/delete", delete, ["POST"]),
]
