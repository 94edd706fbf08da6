"""One operation of the management API: what it is called, who may, what it takes and answers, and how a call goes.

The table of operations is all that there is: routes, the OpenAPI document and the tests of security are made of it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

import msgspec
from google.protobuf.message import Message
from psycopg import OperationalError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.console import deeds, problems
from services.console.access_tokens import Scope
from services.console.api import idempotency
from services.console.api.caller import Caller, caller_of
from services.console.api.messages import Schema, Unreadable, from_json, to_json
from services.console.api.pages import Page
from services.console.console import Console, console_of
from services.console.problems import Problem
from services.shared import ids
from services.shared.errors import Refusal
from services.shared.telemetry import logger

JSON: Final = "application/json"
_READS: Final = ("GET",)
_PIECE: Final = re.compile(r"{(\w+)}")
_WITHIN: Final = re.compile(r"(?<!^)([A-Z])")
"""A capital inside an operationId: the audit log writes words with underscores."""
_log = logger("api")

T = TypeVar("T")

Handler = Callable[["Call"], Awaitable[Any]]
Body = type[Message] | type[msgspec.Struct]


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as its handler sees it."""

    request: Request
    console: Console
    caller: Caller
    body: Any
    """What was sent, as the operation's `body`; None for operations without one."""
    idempotency_key: str
    """For the services: that of the caller, told apart from other callers', or one of this call alone."""

    def path(self, name: str) -> str:
        """A piece of the path."""
        return str(self.request.path_params[name])

    @property
    def query(self) -> Mapping[str, str]:
        """What stands behind the question mark."""
        return self.request.query_params


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    name: str
    """Its operationId and, for a change, what the audit log calls it: `put_plan` is `putPlan`."""
    summary: str
    scope: Scope
    handle: Handler
    body: Body | None = None
    hidden: tuple[str, ...] = ()
    """Fields of the body's message that callers cannot say: the path does, or we do."""
    needed: tuple[str, ...] = ()
    """Fields of the body without which nothing can be done."""
    answer: Body | Mapping[str, Schema] | None = None
    """A message, a struct, or what an object has; None for an answer without a body."""
    media: str = JSON
    """What its answer is; a stream of events has an `answer` in each."""
    listed: bool = False
    """Whether it answers a page of those."""
    query: Mapping[str, Schema] = field(default_factory=dict)
    current: Handler | None = None
    """What stands now, for ETag, If-Match and If-None-Match; raises Refusal or Problem of 404 where nothing does."""
    target: str = ""
    """What is changed, for the audit log: pieces of the path or fields of the body in braces; `{own_tenant}` is the
    caller's, `{own_email}` the caller."""
    by_session: bool = False
    """Whether it takes a session, and an access token of whatever scope is refused."""
    audited: bool = True
    """Whether the change is noted here; the ledger notes some of its own accord, in their transaction."""
    status: int = 200
    tag: str = ""

    @property
    def changes(self) -> bool:
        """Whether it is more than a question."""
        return self.method not in _READS

    @property
    def route(self) -> Route:
        """Serves it."""

        async def endpoint(request: Request) -> Response:
            return await answered(self, request)

        return Route(self.path, endpoint, methods=[self.method], name=self.name)


async def answered(operation: Operation, request: Request) -> Response:
    """A call's answer, or what was wrong with it in the form that its callers know."""
    try:
        caller = await caller_of(request)
        caller.check(operation.scope)
        if operation.by_session and caller.token_id:
            raise Problem(403, "This takes a session of the console, not an access token.", "session_needed")
        key = idempotency.key_of(request) if operation.changes else ""

        async def change() -> Response:
            return await _done(operation, request, caller, key)

        return await idempotency.once(request, caller, key, change) if key else await change()
    except Problem as problem:
        return problems.answer(request.url.path, problem)
    except Refusal as refusal:
        return problems.answer(request.url.path, problems.of_refusal(refusal))
    except OperationalError as error:
        _log.error("database_away", path=request.url.path, error=str(error))
        return problems.answer(request.url.path, Problem(503, "Please try again in a moment."))
    except Exception:
        _log.exception("api_call_failed", operation=operation.name)
        return problems.answer(request.url.path, Problem(500, "A defect of ours; it is in our log.", "internal"))


async def _done(operation: Operation, request: Request, caller: Caller, key: str) -> Response:
    console = console_of(request)
    made = idempotency.downstream(caller, key or ids.ulid())
    call = Call(request, console, caller, await _body(operation, request), made)
    if operation.changes:
        await _check_conditions(operation, call)
    if operation.changes and operation.audited:
        said = await noted(call, operation.name, _target(operation, call), partial(operation.handle, call))
    else:
        said = await operation.handle(call)
    return _response(operation, call, said)


async def noted(call: Call, name: str, target: str, change: Callable[[], Awaitable[T]]) -> T:
    """Notes a change under an operation's name, once for an idempotency key, then makes it: see `deeds.noted`."""
    caller, action = call.caller, _WITHIN.sub(r"_\1", name).lower()
    details = {"person_id": caller.person.person_id, "address": caller.address}
    if caller.token_id:
        details["token_id"] = caller.token_id
    key, reason = f"{call.idempotency_key}-{action}-{target}", getattr(call.body, "reason", "")
    deed = deeds.deed(key, caller.actor, action, target, reason, details)
    return await deeds.noted(call.console.clients.billing, deed, change)


def _target(operation: Operation, call: Call) -> str:
    said_by_body = {name: getattr(call.body, name, "") for name in _PIECE.findall(operation.target)}
    names = said_by_body | _own(call.caller) | call.request.path_params
    return operation.target.format_map(names) or operation.path


def _own(caller: Caller) -> dict[str, str]:
    return {"own_tenant": caller.tenant_id, "own_email": caller.person.email}


async def _body(operation: Operation, request: Request) -> Any:
    if operation.body is None:
        return None
    sent = await request.body()
    try:
        if issubclass(operation.body, msgspec.Struct):
            return msgspec.json.decode(sent or b"{}", type=operation.body)
        said = msgspec.json.decode(sent or b"{}")
        for name in operation.needed:
            if not isinstance(said, dict) or said.get(name) in (None, ""):
                raise Unreadable(name, "is needed")
        return from_json(operation.body, said, operation.hidden)
    except Unreadable as unreadable:
        raise Problem(400, f"{unreadable}.", param=unreadable.param) from None
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Problem(400, f"The body does not fit: {error}.") from None


async def _check_conditions(operation: Operation, call: Call) -> None:
    """Lets a change pass whose If-Match and If-None-Match fit what stands now. Raises Problem, Refusal."""
    if_match = call.request.headers.get("if-match")
    if_none_match = call.request.headers.get("if-none-match")
    if operation.current is None or (if_match is None and if_none_match is None):
        return
    try:
        tag = etag(await operation.current(call))
    except (Refusal, Problem) as missing:
        status = missing.kind.http_status if isinstance(missing, Refusal) else missing.status
        if status != 404:
            raise
        tag = ""
    if if_match is not None and not _names(if_match, tag):
        raise Problem(412, "It was changed meanwhile: read it again.")
    if if_none_match is not None and _names(if_none_match, tag):
        raise Problem(412, "It is there already.")


def _names(header: str, tag: str) -> bool:
    """Whether a list of entity tags names this one (RFC 9110, 13.1.1); nothing is named by an empty one."""
    named = [part.strip().removeprefix("W/") for part in header.split(",")]
    return bool(tag) and ("*" in named or tag in named)


def etag(said: Any) -> str:
    """The entity tag of what is answered: what changes by itself does not count."""
    body = to_json(said, live=False) if isinstance(said, Message) else msgspec.to_builtins(said)
    return f'"{hashlib.sha256(msgspec.json.encode(body, order="sorted")).hexdigest()[:32]}"'


def _response(operation: Operation, call: Call, said: Any) -> Response:
    if said is None:
        return Response(status_code=204)
    if isinstance(said, Response):
        return said
    headers = {}
    if operation.current is not None and not operation.listed:
        headers["etag"] = etag(said)
        wanted = call.request.headers.get("if-none-match")
        if not operation.changes and wanted is not None and _names(wanted, headers["etag"]):
            return Response(status_code=304, headers=headers)
    return Response(msgspec.json.encode(plain(said)), operation.status, headers, JSON)


def plain(said: Any) -> Any:
    """What a handler answers, as JSON has it."""
    if isinstance(said, Page):
        return {"data": [plain(item) for item in said.items], "next_cursor": said.next_cursor or None}
    if isinstance(said, Message):
        return to_json(said)
    return said
