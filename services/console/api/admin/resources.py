"""What the operators' operations have in common: their prefix, their scopes, and how one is found in a list."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar

from services.console.access_tokens import Scope
from services.console.api.messages import Schema
from services.console.api.operation import Body, Call, Handler, Operation
from services.console.api.pages import MOST, Page, limit_of
from services.console.problems import Problem

T = TypeVar("T")

PREFIX: Final = "/api/admin/v1"
STRING: Final[Schema] = {"type": "string"}
INTEGER: Final[Schema] = {"type": "integer"}
BOOLEAN: Final[Schema] = {"type": "string", "enum": ["true", "false"]}
PAGING: Final[Mapping[str, Schema]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST},
    "cursor": STRING,
}


def listing(
    path: str, name: str, summary: str, handle: Handler, answer: Body, query: Mapping[str, Schema] | None = None
) -> Operation:
    """Reads a page of a list."""
    return Operation(
        method="GET",
        path=PREFIX + path,
        name=name,
        summary=summary,
        scope=Scope.ADMIN_READ,
        handle=handle,
        answer=answer,
        listed=True,
        query={**PAGING, **(query or {})},
    )


def reading(path: str, name: str, summary: str, handle: Handler, answer: Any, **more: Any) -> Operation:
    """Reads one thing, which has an ETag."""
    return Operation(
        method="GET",
        path=PREFIX + path,
        name=name,
        summary=summary,
        scope=Scope.ADMIN_READ,
        handle=handle,
        answer=answer,
        **{"current": handle, **more},
    )


def changing(
    method: str,
    path: str,
    name: str,
    summary: str,
    handle: Handler,
    answer: Any = None,
    *,
    scope: Scope = Scope.ADMIN_WRITE,
    **more: Any,
) -> Operation:
    """Changes something; the pieces of the path are what the audit log calls it."""
    pieces = [piece for piece in path.split("/") if piece.startswith("{")]
    target = more.pop("target", " ".join(pieces))
    status = 200 if answer is not None else 204
    return Operation(
        method=method,
        path=PREFIX + path,
        name=name,
        summary=summary,
        scope=scope,
        handle=handle,
        answer=answer,
        **{"status": status, "target": target, **more},
    )


def passed_on(items: Iterable[Any], next_page_token: str) -> Page:
    """A page as a service cut it."""
    return Page(list(items), next_page_token)


def size_of(call: Call) -> int:
    """How many the caller wants on a page. Raises Problem."""
    return limit_of(call.query)


def flag(call: Call, name: str) -> bool:
    """A question's true or false. Raises Problem."""
    said = call.query.get(name, "false")
    if said not in ("true", "false"):
        raise Problem(400, f"{name}: true or false is needed.", param=name)
    return said == "true"


def whole(call: Call, name: str) -> int:
    """A question's number; 0 where it is not said. Raises Problem."""
    said = call.query.get(name, "0")
    if not said.isascii() or not said.isdigit() or len(said) > 15:
        raise Problem(400, f"{name}: a whole number is needed.", param=name)
    return int(said)


def the(items: Iterable[T], is_it: Callable[[T], bool], what: str) -> T:
    """The one of a list. Raises Problem."""
    for item in items:
        if is_it(item):
            return item
    raise Problem(404, f"There is no such {what}.")
