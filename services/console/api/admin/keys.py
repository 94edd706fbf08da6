"""Keys of any tenant."""

from typing import Any, Final

from services.console.api.admin.resources import STRING, changing, listing, reading
from services.console.api.operation import Call
from services.console.api.pages import page_of
from tollhouse.v1 import auth_pb2


async def list_keys(call: Call) -> Any:
    """A page of keys, oldest first."""
    asked = auth_pb2.ListKeysRequest(tenant_id=call.query.get("tenant_id", ""))
    found = await call.console.clients.auth.ListKeys(asked)
    return page_of(found.keys, lambda key: (key.created_ms, key.key_id), call.query)


async def get_key(call: Call) -> auth_pb2.Key:
    """One key."""
    return (await call.console.clients.auth.GetKey(auth_pb2.GetKeyRequest(key_id=call.path("key_id")))).key


async def create_key(call: Call) -> auth_pb2.CreateKeyResponse:
    """Makes a key; its secret is in the answer."""
    asked: auth_pb2.CreateKeyRequest = call.body
    asked.idempotency_key = call.idempotency_key
    return await call.console.clients.auth.CreateKey(asked)


async def update_key(call: Call) -> auth_pb2.Key:
    """Replaces what may be changed of a key."""
    wanted: auth_pb2.Key = call.body
    wanted.key_id = (await get_key(call)).key_id
    return (await call.console.clients.auth.UpdateKey(auth_pb2.UpdateKeyRequest(key=wanted))).key


async def delete_key(call: Call) -> None:
    """Deletes a key for good."""
    await call.console.clients.auth.DeleteKey(auth_pb2.DeleteKeyRequest(key_id=call.path("key_id")))


_ONE: Final = "/keys/{key_id}"

operations = (
    listing("/keys", "listKeys", "Keys, oldest first, masked", list_keys, auth_pb2.Key, {"tenant_id": STRING}),
    changing(
        "POST",
        "/keys",
        "createKey",
        "Makes a key; the answer shows it whole",
        create_key,
        auth_pb2.CreateKeyResponse,
        body=auth_pb2.CreateKeyRequest,
        hidden=("idempotency_key",),
        needed=("tenant_id", "name"),
        status=201,
        target="{tenant_id}",
    ),
    reading(_ONE, "getKey", "One key, masked", get_key, auth_pb2.Key),
    changing(
        "PUT",
        _ONE,
        "updateKey",
        "Replaces all that may be changed of a key",
        update_key,
        auth_pb2.Key,
        body=auth_pb2.Key,
        needed=("name", "enabled"),
        current=get_key,
    ),
    changing("DELETE", _ONE, "deleteKey", "Deletes a key for good", delete_key, current=get_key),
)
