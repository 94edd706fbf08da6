"""The management API: what people do with programs. One noun a file, each with its `operations`."""

from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from services.console.api import access_tokens, codes, keys, models, openapi, payments, sessions, usage, users
from services.console.api.admin import OPERATIONS as ADMIN_OPERATIONS
from services.console.api.key_forms import KeyObject
from services.console.api.operation import JSON, Operation
from services.console.api.users import UserObject
from services.console.guards import public

OPERATIONS: Final[tuple[Operation, ...]] = (
    *keys.operations,
    *users.operations,
    *sessions.operations,
    *codes.operations,
    *access_tokens.operations,
    *payments.operations,
    *usage.operations,
    *models.operations,
    *ADMIN_OPERATIONS,
)
"""All that can be called."""

NAMED: Final = (
    KeyObject,
    UserObject,
    *sessions.NAMED,
    *access_tokens.NAMED,
    *payments.NAMED,
    *usage.NAMED,
    *models.NAMED,
)
"""The objects that answers to customers refer to by name."""

_DOCUMENT: Final = msgspec.json.encode(openapi.document(OPERATIONS, NAMED))


async def document(request: Request) -> Response:
    """The OpenAPI document, open to everybody."""
    return Response(_DOCUMENT, media_type=JSON, headers={"cache-control": "public, max-age=300"})


def _unslashed(operation: Operation) -> tuple[BaseRoute, ...]:
    """Serves an operation whose path ends in a slash without it too: clients of New-API leave it out."""
    if not operation.path.endswith("/"):
        return (operation.route,)
    bare = operation.route
    return (operation.route, type(bare)(operation.path.rstrip("/"), bare.endpoint, methods=[operation.method]))


ROUTES: Final[list[BaseRoute]] = [
    public(openapi.PATH, document),
    *(route for operation in OPERATIONS for route in _unslashed(operation)),
]
