"""A customer's keys, as New-API has them, which calls them tokens: POST /api/token/ and what goes with it."""

import asyncio
from functools import partial
from typing import Any, Final

from services.console.access_tokens import Scope
from services.console.api.key_forms import KeyForm, KeyIds, apply, key_object, of_data, success, text
from services.console.api.messages import Schema
from services.console.api.operation import Call, Operation, noted
from services.console.brands import BUILT_IN
from services.console.key_form import creation, listed
from services.console.problems import Problem
from services.console.visit import visit_of
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import auth_pb2, usage_pb2

_SIZE: Final = 10
_SIZE_MOST: Final = 100
_BATCH_MOST: Final = 100

# ---- reading ----


async def list_keys(call: Call) -> Any:
    """A page of the caller's keys, newest first."""
    return await _page(call, await _own_keys(call))


async def search_keys(call: Call) -> Any:
    """Those in whose name `keyword` stands, and whose masked form `token` fits."""
    word, shown = call.query.get("keyword", "").casefold(), call.query.get("token", "")
    keys = await _own_keys(call)
    return await _page(call, [key for key in keys if word in key.name.casefold() and _recognised(key, shown)])


async def get_key(call: Call) -> Any:
    """One of the caller's keys."""
    key = await own_key(call, call.path("key_id"))
    return success(key_object(key, (await _spent(call, [key])).get(key.key_id, 0)))


def _recognised(key: auth_pb2.Key, shown: str) -> bool:
    """Whether a whole key may be the one that a list shows so."""
    return not shown or shown in key.hint or (shown[:4] == key.hint[:4] and shown[-4:] == key.hint[-4:])


async def own_key(call: Call, key_id: str) -> auth_pb2.Key:
    """A key of the caller's tenant. Raises Refusal: another tenant's is not there."""
    asked = auth_pb2.GetKeyRequest(key_id=key_id, tenant_id=call.caller.tenant_id)
    return (await call.console.clients.auth.GetKey(asked)).key


async def _own_keys(call: Call) -> list[auth_pb2.Key]:
    asked = auth_pb2.ListKeysRequest(tenant_id=call.caller.tenant_id)
    return list(reversed((await call.console.clients.auth.ListKeys(asked)).keys))


async def _page(call: Call, keys: list[auth_pb2.Key]) -> Any:
    page, size = _whole(call, "p", 1), min(_SIZE_MOST, _whole(call, "page_size", _whole(call, "size", _SIZE)) or _SIZE)
    page = max(page, 1)  # older clients begin with 0
    shown = keys[(page - 1) * size : page * size]
    spent = await _spent(call, shown)
    items = [key_object(key, spent.get(key.key_id, 0)) for key in shown]
    return success({"page": page, "page_size": size, "total": len(keys), "items": items})


def _whole(call: Call, name: str, otherwise: int) -> int:
    said = call.query.get(name, "")
    if not said:
        return otherwise
    if not said.isascii() or not said.isdigit() or len(said) > 9:
        raise Problem(400, f"{name}: a whole number is needed.", param=name)
    return int(said)


async def _spent(call: Call, keys: list[auth_pb2.Key]) -> dict[str, int]:
    asked = usage_pb2.GetKeySpendRequest(tenant_id=call.caller.tenant_id, key_ids=[key.key_id for key in keys])
    return dict((await call.console.clients.usage.GetKeySpend(asked)).spent_nano)


# ---- changing ----


async def create_key(call: Call) -> Any:
    """Makes a key. It is not echoed where it can be revealed; where it cannot, this is the only time it is shown."""
    wanted = auth_pb2.Key()
    apply(wanted, call.body, spent_nano=0)
    wanted.group = wanted.group or (listed(call.console.settings.key_groups) or ["default"])[0]
    _check_choice(call, wanted)
    brand = visit_of(call.request).brand
    asked = creation(wanted, call.caller.tenant_id, "" if brand is BUILT_IN else brand.name, call.idempotency_key)
    await call.console.people.with_tenant(call.caller.person)
    made = await call.console.clients.auth.CreateKey(asked)
    return success() if made.key.revealable else success({"id": made.key.key_id, "key": made.secret})


async def update_key(call: Call) -> Any:
    """Changes a key, named by the path or, as New-API has it, by the body."""
    key_id = str(call.request.path_params.get("key_id") or text(call.body.id))
    key = await own_key(call, key_id)
    if "key_id" in call.request.path_params:
        return await _update(call, key)
    return await noted(call, "updateOwnKey", key_id, partial(_update, call, key))


async def _update(call: Call, key: auth_pb2.Key) -> Any:
    spent_nano = (await _spent(call, [key])).get(key.key_id, 0)
    form: KeyForm = call.body
    if "status_only" in call.query:
        form = KeyForm(status=form.status)
    group, plan = key.group, key.plan
    apply(key, form, spent_nano)
    _check_choice(call, key, group, plan)
    updated = await call.console.clients.auth.UpdateKey(auth_pb2.UpdateKeyRequest(key=key))
    return success(key_object(updated.key, spent_nano))


def _check_choice(call: Call, key: auth_pb2.Key, group: str = "", plan: str = "") -> None:
    """Lets customers choose the groups and plans that the settings name, and keep those that the key has. Raises
    Problem."""
    settings = call.console.settings
    if key.group not in (*(listed(settings.key_groups) or ["default"]), group):
        raise Problem(400, "group: this one is not yours to choose.", param="group")
    if key.plan not in (*listed(settings.key_plans), "", plan):
        raise Problem(400, "plan: this one is not yours to choose.", param="plan")


async def delete_key(call: Call) -> Any:
    """Deletes a key for good."""
    key = await own_key(call, call.path("key_id"))
    await call.console.clients.auth.DeleteKey(auth_pb2.DeleteKeyRequest(key_id=key.key_id))
    return success()


async def reveal_key(call: Call) -> Any:
    """Shows a key whole, where its brand keeps it."""
    key = await own_key(call, call.path("key_id"))
    return success({"key": await _secret(call, key.key_id)})


async def delete_keys(call: Call) -> Any:
    """Deletes several; answers how many were there."""
    keys = await _named(call)
    for key in keys:
        change = partial(call.console.clients.auth.DeleteKey, auth_pb2.DeleteKeyRequest(key_id=key.key_id))
        await noted(call, "deleteOwnKey", key.key_id, change)
    return success(len(keys))


async def reveal_keys(call: Call) -> Any:
    """Shows several whole, by their ids; those that are not kept, or not the caller's, are left out."""
    found = {}
    for key in await _named(call):
        if key.revealable:
            found[key.key_id] = await noted(call, "revealOwnKey", key.key_id, partial(_secret, call, key.key_id))
    return success({"keys": found})


async def _secret(call: Call, key_id: str) -> str:
    return (await call.console.clients.auth.RevealKey(auth_pb2.RevealKeyRequest(key_id=key_id))).secret


async def _named(call: Call) -> list[auth_pb2.Key]:
    """The caller's keys among those that the body names."""
    if not 0 < len(call.body.ids) <= _BATCH_MOST:
        raise Problem(400, f"ids: 1 to {_BATCH_MOST} are needed.", param="ids")
    found = await asyncio.gather(*(_own_or_none(call, key_id) for key_id in dict.fromkeys(call.body.ids)))
    return [key for key in found if key is not None]


async def _own_or_none(call: Call, key_id: str) -> auth_pb2.Key | None:
    try:
        return await own_key(call, key_id)
    except Refusal as refusal:
        if refusal.kind is Kind.NOT_FOUND:
            return None
        raise


# ---- the operations ----

_KEY: Final[Schema] = {"$ref": "#/components/schemas/KeyObject"}
_PAGING: Final[dict[str, Schema]] = {
    "p": {"type": "integer", "minimum": 0},
    "page_size": {"type": "integer", "minimum": 0, "maximum": _SIZE_MOST},
    "size": {"type": "integer", "minimum": 0, "maximum": _SIZE_MOST},
}
_PAGE: Final[Schema] = {
    "type": "object",
    "properties": {
        "page": {"type": "integer"},
        "page_size": {"type": "integer"},
        "total": {"type": "integer"},
        "items": {"type": "array", "items": _KEY},
    },
}
_REVEALED: Final[Schema] = {"type": "object", "properties": {"key": {"type": "string"}}}
_ALL_REVEALED: Final[Schema] = {
    "type": "object",
    "properties": {"keys": {"type": "object", "additionalProperties": {"type": "string"}}},
}
_CREATED: Final[Schema] = {"type": "object", "properties": {"id": {"type": "string"}, "key": {"type": "string"}}}

PATH: Final = "/api/token"
_ONE: Final = PATH + "/{key_id}"

operations = (
    Operation(
        method="GET",
        path=PATH + "/",
        name="listOwnKeys",
        summary="The caller's keys, masked, newest first",
        scope=Scope.KEYS_READ,
        handle=list_keys,
        query=_PAGING,
        answer=of_data(_PAGE),
    ),
    Operation(
        method="GET",
        path=PATH + "/search",
        name="searchOwnKeys",
        summary="Those of the caller's keys that a word or a masked key fits",
        scope=Scope.KEYS_READ,
        handle=search_keys,
        query=_PAGING | {"keyword": {"type": "string"}, "token": {"type": "string"}},
        answer=of_data(_PAGE),
    ),
    Operation(
        method="POST",
        path=PATH + "/",
        name="createOwnKey",
        summary="Makes a key; it is not echoed where it can be revealed",
        scope=Scope.KEYS_WRITE,
        handle=create_key,
        body=KeyForm,
        answer=of_data(_CREATED),
        target="{own_tenant}",
    ),
    Operation(
        method="PUT",
        path=PATH + "/",
        name="updateOwnKeyOfBody",
        summary="Changes the key that the body names",
        scope=Scope.KEYS_WRITE,
        handle=update_key,
        body=KeyForm,
        query={"status_only": {"type": "string"}},
        answer=of_data(_KEY),
        audited=False,
    ),
    Operation(
        method="POST",
        path=PATH + "/batch",
        name="deleteOwnKeys",
        summary="Deletes several keys; answers how many",
        scope=Scope.KEYS_WRITE,
        handle=delete_keys,
        body=KeyIds,
        answer=of_data({"type": "integer"}),
        audited=False,
    ),
    Operation(
        method="POST",
        path=PATH + "/batch/keys",
        name="revealOwnKeys",
        summary="Shows several keys whole, by their ids",
        scope=Scope.KEYS_REVEAL,
        handle=reveal_keys,
        body=KeyIds,
        answer=of_data(_ALL_REVEALED),
        audited=False,
    ),
    Operation(
        method="GET",
        path=_ONE,
        name="getOwnKey",
        summary="One key, masked",
        scope=Scope.KEYS_READ,
        handle=get_key,
        answer=of_data(_KEY),
    ),
    Operation(
        method="PUT",
        path=_ONE,
        name="updateOwnKey",
        summary="Changes a key; what is left out stays",
        scope=Scope.KEYS_WRITE,
        handle=update_key,
        body=KeyForm,
        query={"status_only": {"type": "string"}},
        answer=of_data(_KEY),
        target="{key_id}",
    ),
    Operation(
        method="DELETE",
        path=_ONE,
        name="deleteOwnKey",
        summary="Deletes a key for good",
        scope=Scope.KEYS_WRITE,
        handle=delete_key,
        answer=of_data(None),
        target="{key_id}",
    ),
    Operation(
        method="POST",
        path=_ONE + "/key",
        name="revealOwnKey",
        summary="Shows a key whole, where its brand keeps it",
        scope=Scope.KEYS_REVEAL,
        handle=reveal_key,
        answer=of_data(_REVEALED),
        target="{key_id}",
    ),
)
