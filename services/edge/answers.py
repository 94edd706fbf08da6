"""What answers a request that is no relay's: its endpoint, or a refusal in the words of the brand and the shape that it
was asked in; every answer with our request id and, for browsers, what lets a page read it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route

from services.edge import browsers, shapes
from services.edge.brand import Brand
from services.edge.brands import Brands
from services.edge.dialects import errors
from services.edge.head import RequestHead, read_head
from services.edge.incoming import Receive, Scope
from services.edge.reply import Send
from services.shared import ids
from services.shared.errors import Kind, Refusal
from services.shared.telemetry import logger

_log = logger("answers")

_CONTEXT: Final = "tollhouse.context"
_GOOGLE_KEY: Final = "key"
"""The parameter of a query in which Google's clients may send their key:
https://cloud.google.com/docs/authentication/api-keys-use"""

Endpoint = Callable[[Request], Awaitable[dict[str, Any] | Response]]


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of a request before its endpoint sees it."""

    request_id: str
    brand: Brand
    head: RequestHead
    """With every key that is honoured on this path."""
    shape: errors.Api


def context_of(request: Request) -> Context:
    """What is known of a request that came through `Answers`."""
    context: Context = request.scope[_CONTEXT]
    return context


class Answers:
    """The routes beside the relay, as an ASGI application."""

    def __init__(self, routes: Starlette, brands: Brands) -> None:
        self._routes = routes
        self._brands = brands

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = self._context(Request(scope))
        marks = context.brand.request_id_headers(context.request_id)
        if context.head.from_browser:
            if scope["method"] == "OPTIONS":
                headers = [*browsers.preflight_headers(), *marks]
                await send({"type": "http.response.start", "status": 204, "headers": headers})
                await send({"type": "http.response.body", "body": b""})
                return
            marks += browsers.answer_headers(context.brand)
        scope[_CONTEXT] = context

        async def send_marked(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *marks]
            await send(message)

        await self._routes(scope, receive, send_marked)  # type: ignore[arg-type]

    def _context(self, request: Request) -> Context:
        path, head = request.scope["path"], read_head(request.headers.raw)
        brand = self._brands.of_host(head.host)
        google_keys = _google_keys(request) if shapes.honours_google_keys(path, brand) else []
        head.keys += google_keys
        anthropic_version = "anthropic-version" in request.headers
        shape = shapes.shape(path, anthropic_version=anthropic_version, google_key=bool(google_keys))
        return Context(ids.request_id(), brand, head, shape)


def answered(endpoint: Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """An endpoint's object as JSON, its response as it is, or its refusal."""

    async def answer(request: Request) -> Response:
        try:
            said = await endpoint(request)
        except Refusal as refusal:
            return _refused(request, refusal)
        except Exception:
            _log.exception("answer_failed", request_id=context_of(request).request_id)
            return _refused(request, Refusal(Kind.INTERNAL, Kind.INTERNAL.meaning))
        if isinstance(said, Response):
            return said
        return Response(msgspec.json.encode(said), media_type="application/json")

    return answer


async def no_route(request: Request, error: Exception) -> Response:
    """The answer where no route takes a request, or not with its method."""
    if isinstance(error, HTTPException) and error.status_code == 405:
        allow = ", ".join(sorted(_methods(request)))
        refusal = Refusal(Kind.METHOD_NOT_ALLOWED, f"{request.scope['path']} takes {allow}, not {request.method}")
        response = _refused(request, refusal)
        response.headers["allow"] = allow
        return response
    return _refused(
        request, Refusal(Kind.ROUTE_UNKNOWN, f"there is no endpoint {request.method} {request.scope['path']}")
    )


def _methods(request: Request) -> set[str]:
    """With which methods the path can be asked; a route knows its own alone."""
    routes = (route for route in request.app.routes if isinstance(route, Route))
    return {
        method
        for route in routes
        if route.matches(request.scope)[0] is not Match.NONE
        for method in route.methods or ()
    }


def _refused(request: Request, refusal: Refusal) -> Response:
    context = context_of(request)
    status, headers, body = errors.answer(refusal, context.shape, context.brand, context.request_id)
    return Response(body, status, {name.decode(): value.decode("latin-1") for name, value in headers})


def _google_keys(request: Request) -> list[bytes]:
    keys = [*request.headers.getlist("x-goog-api-key"), *request.query_params.getlist(_GOOGLE_KEY)]
    return [key.strip().encode() for key in keys if key.strip()]
