"""The OpenAPI 3.1 document of the management API, made of its table of operations (https://spec.openapis.org/oas/v3.1.1)."""

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec
from google.protobuf.message import Message

from services.console import problems
from services.console.access_tokens import Scope
from services.console.api import idempotency
from services.console.api.admin.resources import PREFIX
from services.console.api.messages import Schema, object_schema, schema
from services.console.api.operation import JSON, Body, Operation

PATH: Final = "/api/openapi.json"
_REF: Final = "#/components/schemas/{name}"
_PIECE: Final = re.compile(r"{(\w+)(:\w+)?}")
_FAILURE: Final[Schema] = {
    "type": "object",
    "properties": {"success": {"const": False}, "message": {"type": "string"}},
    "required": ["success", "message"],
}
_PROBLEM: Final[Schema] = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "description": "urn:tollhouse:problem: and the kind."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "param": {"type": "string", "description": "The field that is at fault."},
    },
    "required": ["type", "title", "status", "detail"],
}
_DESCRIPTION: Final = (
    "What people do in the console, for their programs. Send an access token, made under Settings, as"
    " `Authorization: Bearer tha_...`; an API key is not taken. `/api/token/` is in the shapes of New-API;"
    " `/api/admin/v1` is for operators: lists are pages with a cursor, changes take an Idempotency-Key, and what has an"
    " ETag takes If-Match."
)


def document(operations: Sequence[Operation], named: Sequence[Body]) -> dict[str, Any]:
    """The document; `named` are the objects that answers refer to by name. It names no server: it is meant for the host
    that it was read from."""
    components: dict[str, Schema] = {"Failure": _FAILURE, "Problem": _PROBLEM}
    for kind in named:
        _of(kind, components)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = _PIECE.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, components)
    scopes = "; ".join(f"`{scope.label}`: {scope.meaning}" for scope in Scope)
    return {
        "openapi": "3.1.1",
        "info": {"title": "Tollhouse management API", "version": "1", "description": _DESCRIPTION},
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {
                "accessToken": {"type": "http", "scheme": "bearer", "description": f"Scopes. {scopes}."},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "session",
                    "description": "Of the console; changes bring the page's token as `x-csrf-token` as well.",
                },
            },
        },
    }


def _operation(operation: Operation, components: dict[str, Schema]) -> dict[str, Any]:
    said: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": ["operators" if operation.path.startswith(PREFIX) else "customers"],
        "security": _security(operation),
        "responses": _responses(operation, components),
    }
    if parameters := _parameters(operation):
        said["parameters"] = parameters
    if operation.body is not None:
        said["requestBody"] = {"required": True, "content": {JSON: {"schema": _body(operation, components)}}}
    return said


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    token: dict[str, list[str]] = {"accessToken": [operation.scope.label]}
    return [{"session": []}] if operation.by_session else [token, {"session": []}]


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    found = [_parameter("path", name, {"type": "string"}, True) for name, _ in _PIECE.findall(operation.path)]
    found += [_parameter("query", name, of) for name, of in operation.query.items()]
    if operation.changes:
        key = {"type": "string", "maxLength": idempotency.MOST}
        found.append(_parameter("header", "Idempotency-Key", key))
    if operation.current is not None:
        found += [_parameter("header", name, {"type": "string"}) for name in _conditions(operation)]
    return found


def _conditions(operation: Operation) -> tuple[str, ...]:
    return ("If-Match", "If-None-Match") if operation.changes else ("If-None-Match",)


def _parameter(place: str, name: str, of: Schema, required: bool = False) -> dict[str, Any]:
    return {"in": place, "name": name, "required": required, "schema": of}


def _body(operation: Operation, components: dict[str, Schema]) -> Schema:
    body = operation.body
    assert body is not None
    if issubclass(body, msgspec.Struct):
        return _of(body, components)
    found = object_schema(body.DESCRIPTOR, components, operation.hidden)
    return found | ({"required": list(operation.needed)} if operation.needed else {})


def _of(kind: Body, components: dict[str, Schema]) -> Schema:
    """A reference to the schema of a message or a struct, which is added with all that it refers to."""
    if issubclass(kind, Message):
        return schema(kind.DESCRIPTOR, components)
    (reference,), needed = msgspec.json.schema_components([kind], ref_template=_REF)
    components.update(needed)
    return reference


def _answer(operation: Operation, components: dict[str, Schema]) -> Schema:
    answer = operation.answer
    if isinstance(answer, type):
        found = _of(answer, components)
        if not operation.listed:
            return found
        cursor = {"type": ["string", "null"], "description": "For the next page; null at the end."}
        properties = {"data": {"type": "array", "items": found}, "next_cursor": cursor}
        return {"type": "object", "properties": properties, "required": list(properties)}
    assert answer is not None
    return {"type": "object", "properties": dict(answer), "required": ["success", "message"]}


def _responses(operation: Operation, components: dict[str, Schema]) -> dict[str, Any]:
    said: dict[str, Any] = {"description": "Done."}
    if operation.answer is not None:
        said["content"] = {operation.media: {"schema": _answer(operation, components)}}
    if operation.current is not None and operation.answer is not None:
        said["headers"] = {"ETag": {"schema": {"type": "string"}}}
    ours = operation.path.startswith(PREFIX)
    media, name = (problems.MEDIA, "Problem") if ours else (JSON, "Failure")
    failure = {"content": {media: {"schema": {"$ref": _REF.format(name=name)}}}}
    found = {str(operation.status): said}
    if operation.current is not None and not operation.changes:
        found["304"] = {"description": "It is as If-None-Match says."}
    for status, why in _statuses(operation).items():
        found[status] = {"description": why, **failure}
    return found


def _statuses(operation: Operation) -> dict[str, str]:
    found = {
        "400": "Something does not fit; `param` names it.",
        "401": "No access token, or none that is good.",
        "403": "Not within the token's scopes, or not for this person.",
    }
    if "{" in operation.path or operation.changes:
        found["404"] = "What is named is not there, or is somebody else's."
    if operation.changes:
        found["409"] = "The first call under this Idempotency-Key is still under way, or the change does not fit."
        found["422"] = "The Idempotency-Key was used for another request."
    if operation.changes and operation.current is not None:
        found["412"] = "It was changed meanwhile."
    found["429"] = "Too many calls; Retry-After says for how long."
    found["503"] = "A part of the service is away."
    return found
