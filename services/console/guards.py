"""Who may open a page. Every route is made by one of these three, so that none is open by oversight."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from services.console.visit import visit_of

Endpoint = Callable[[Request], Awaitable[Response]]

SIGN_IN: Final = "/sign-in"
_GET: Final = ("GET",)


def public(path: str, endpoint: Endpoint, methods: Sequence[str] = _GET) -> Route:
    """For everybody."""
    return Route(path, endpoint, methods=list(methods))


def customer(path: str, endpoint: Endpoint, methods: Sequence[str] = _GET) -> Route:
    """For people who are signed in. `person_of` and `tenant_of` say who they are."""

    async def guarded(request: Request) -> Response:
        if visit_of(request).person is None:
            return _to_sign_in(request)
        return await endpoint(request)

    return Route(path, guarded, methods=list(methods), name=endpoint.__name__)


def operator(path: str, endpoint: Endpoint, methods: Sequence[str] = _GET) -> Route:
    """For operators. Begins with /operator."""
    assert path.startswith("/operator"), f"{path} is an operator's page outside of /operator"

    async def guarded(request: Request) -> Response:
        person = visit_of(request).person
        if person is None:
            return _to_sign_in(request)
        if not person.is_operator:
            raise HTTPException(403, "This page is for operators.")
        return await endpoint(request)

    return Route(path, guarded, methods=list(methods), name=endpoint.__name__)


def _to_sign_in(request: Request) -> Response:
    """Signing in leads back to the page; to the one that held the form where a change was asked for."""
    if request.headers.get("hx-request"):
        return Response(status_code=401, headers={"hx-redirect": SIGN_IN})
    if request.method not in ("GET", "HEAD"):
        return RedirectResponse(SIGN_IN, 303)
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"{SIGN_IN}?{urlencode({'next': path})}", 303)
