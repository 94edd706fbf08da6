"""One ASGI layer around every page: who comes, whether a change was really asked for from our own page, and the
headers that keep a browser from doing anything else.

A change (anything but GET, HEAD and OPTIONS) needs both: a browser that does not call it cross-site (Sec-Fetch-Site,
else Origin), and the token of the session, in the form or in the header `x-csrf-token`. Two kinds of caller are no
browsers with our cookie, and have no token: whoever sends `Authorization` is known by that alone, the cookie is not
looked at; and the paths under OPEN, which are called by other services and check a signature of their own.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, replace
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_to_bytes

from psycopg import OperationalError
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response

from services.console import cookies, sessions
from services.console.brands import Brands
from services.console.people import new_secret
from services.console.store import SignedIn, Store
from services.console.visit import Visit
from services.shared.telemetry import logger

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Refuse = Callable[[Request, int, str], Awaitable[Response]]
"""Makes the page for a request that is refused: its status, and a sentence."""

OPEN: Final = ("/webhooks/",)
"""Paths that take changes without a session's token."""
TOKEN_FIELD: Final = "csrf_token"  # noqa: S105
TOKEN_HEADER: Final = "x-csrf-token"  # noqa: S105
AWAY: Final = "Who is signed in cannot be looked up just now. Please try again in a moment."
BODY_MOST: Final = 1024 * 1024
"""Bytes of a request's body, at most."""
FIELDS_MOST: Final = 5000
"""Fields of a form, at most."""

_FILES: Final = ("/static/", "/brand.css", "/favicon.ico", "/api/openapi.json")
_log = logger("safety")
_SAFE: Final = frozenset(("GET", "HEAD", "OPTIONS"))
_HOST: Final = re.compile(r"([A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])?(:[0-9]{0,5})?")  # RFC 9110, 7.2
_FORM: Final = "application/x-www-form-urlencoded"


def policy(connect: str = "") -> str:
    """The content security policy of a page; `connect` is one more origin that its scripts may talk to."""
    return "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data:",
            "font-src 'self'",
            f"connect-src 'self' {connect}".rstrip(),
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    )


_HEADERS: Final[Mapping[str, str]] = {
    "content-security-policy": policy(),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
_HSTS: Final = "max-age=31536000"  # of this host alone: its subdomains are not ours to speak for


@dataclass(frozen=True, slots=True)
class _Refused(Exception):
    status: int
    why: str


class Safety:
    """The layer.

    Args:
        app: the pages.
        refuse: makes the page for a request that is refused here.
    """

    def __init__(self, app: App, store: Store, brands: Brands, refuse: Refuse) -> None:
        self._app = app
        self._store = store
        self._brands = brands
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        https = scope["scheme"] == "https"
        held = _cookie(headers, cookies.session_name(https))
        secret = held or new_secret()
        known_by_cookie = not _keeps_no_cookie(scope, headers)
        state = scope.setdefault("state", {})
        state["visit"] = visit = await self._visit(scope, headers, secret, https)
        send = _Sender(send, https, secret if known_by_cookie and not held else None).send
        try:
            if held and known_by_cookie:
                state["visit"] = replace(visit, person=await self._person(secret))
            body = await _body(headers, receive)
            _check_text(scope, headers, body)
            if _needs_token(scope, headers):
                _check_origin(scope, headers)
                _check_token(headers, secret, body)
        except _Refused as refused:
            request = Request(scope)
            await (await self._refuse(request, refused.status, refused.why))(scope, receive, send)
            return
        await self._app(scope, _replayed(body, receive), send)

    async def _person(self, secret: str) -> SignedIn | None:
        try:
            return await self._store.signed_in(sessions.secret_hash(secret))
        except OperationalError as error:
            _log.error("database_away", error=str(error))
            raise _Refused(503, AWAY) from None

    async def _visit(self, scope: Scope, headers: Headers, secret: str, https: bool) -> Visit:
        """Of nobody, as yet."""
        return Visit(
            brand=await self._brands.of(headers.get("host", "")),
            secret=secret,
            person=None,
            https=https,
            address=scope["client"][0] if scope.get("client") else "",
            user_agent=headers.get("user-agent", ""),
        )


def _cookie(headers: Headers, name: str) -> str:
    """The session's secret as the browser sent it; empty unless we may have made it."""
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(headers.get("cookie", ""))
    except CookieError:
        return ""
    value = jar[name].value if name in jar else ""
    return value if sessions.well_formed(value) else ""


def _keeps_no_cookie(scope: Scope, headers: Headers) -> bool:
    """Those who are no browsers with our pages get none; neither do files, so that they may be kept for good."""
    return "authorization" in headers or scope["path"].startswith((*OPEN, *_FILES))


def _needs_token(scope: Scope, headers: Headers) -> bool:
    return scope["method"] not in _SAFE and "authorization" not in headers and not scope["path"].startswith(OPEN)


def _check_text(scope: Scope, headers: Headers, body: bytes) -> None:
    """Raises _Refused for a host that is none, since pages and policies say it again; for a NUL, which no text of ours
    holds and Postgres keeps none of; and for a form of so many fields that reading them would take everybody's time."""
    if not _HOST.fullmatch(headers.get("host", "")):
        raise _Refused(400, "This cannot be read.")
    asked = scope["path"].encode() + unquote_to_bytes(scope.get("query_string", b""))
    if _is_form(headers):
        if body.count(b"&") > FIELDS_MOST:
            raise _Refused(413, "That is more than this page takes.")
        asked += unquote_to_bytes(body)
    if b"\0" in asked:
        raise _Refused(400, "This cannot be read.")


def _is_form(headers: Headers) -> bool:
    return headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM


def _check_origin(scope: Scope, headers: Headers) -> None:
    """Raises _Refused when a browser says that another site asks. One that says nothing is left to the token."""
    site = headers.get("sec-fetch-site")
    if site is not None:
        if site != "same-origin":
            raise _Refused(403, "This was asked for by another site.")
        return
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        raise _Refused(403, "This was asked for by another site.")


def _check_token(headers: Headers, secret: str, body: bytes) -> None:
    token = headers.get(TOKEN_HEADER, "")
    if not token and _is_form(headers):
        token = dict(parse_qsl(body.decode("latin-1"))).get(TOKEN_FIELD, "")
    if not sessions.same_token(secret, token):
        raise _Refused(
            403, "This page is too old, or you signed in or out meanwhile. Go back, reload it and try again."
        )


async def _body(headers: Headers, receive: Receive) -> bytes:
    """The whole body. Raises _Refused when it is too large."""
    if int(headers.get("content-length", "0")) > BODY_MOST:
        raise _Refused(413, "That is more than this page takes.")
    pieces, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            break
        piece = message.get("body", b"")
        pieces.append(piece)
        size += len(piece)
        more = message.get("more_body", False)
        if size > BODY_MOST:
            raise _Refused(413, "That is more than this page takes.")
    return b"".join(pieces)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives the body once, and then what comes after it: the browser's disconnect."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


class _Sender:
    """Adds our headers to a response, and the cookie that a browser does not have yet."""

    def __init__(self, send: Send, https: bool, new_secret: str | None) -> None:
        self._send = send
        self._https = https
        self._new_secret = new_secret

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
            if self._https:
                headers.setdefault("strict-transport-security", _HSTS)
            headers.setdefault("cache-control", "no-store")
            if self._new_secret is not None and not self._sets_session(headers):
                carrier = Response()
                cookies.set_session(carrier, self._new_secret, self._https)
                headers.append("set-cookie", carrier.headers["set-cookie"])
        await self._send(message)

    def _sets_session(self, headers: MutableHeaders) -> bool:
        name = f"{cookies.session_name(self._https)}="
        return any(cookie.startswith(name) for cookie in headers.getlist("set-cookie"))
