"""Pages of other origins that may call the API from a browser: the CORS protocol of the Fetch standard, section 3.2.

Requests without an Origin, which is all that programs send, pass untouched. Credentials are never allowed: the API
knows no cookies, a page must have a key of its own.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ANY: Final = "*"
_ORIGIN: Final = b"origin"
_ASKS_METHOD: Final = b"access-control-request-method"
_ASKS_HEADERS: Final = b"access-control-request-headers"
_PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, POST, DELETE"),
    (b"access-control-max-age", b"7200"),  # the most that browsers of Chromium's kind keep it
    (b"vary", b"origin, access-control-request-headers"),
    (b"content-length", b"0"),
)
_EXPOSED: Final = (
    b"access-control-expose-headers",
    b"x-request-id, request-id, retry-after, x-should-retry, anthropic-ratelimit-requests-remaining,"
    b" anthropic-ratelimit-tokens-remaining, x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens",
)


def parsed(origins: str) -> frozenset[bytes]:
    """Origins between commas. Raises ValueError for what is no origin."""
    named = [origin.strip() for origin in origins.split(",") if origin.strip()]
    for origin in named:
        scheme, separator, host = origin.partition("://")
        well_formed = separator and scheme in ("http", "https") and host and not set(host) & set("/?#@ ")
        if origin != ANY and not well_formed:
            raise ValueError(f"{origin!r} is no origin such as https://console.example, nor {ANY}")
    return frozenset(origin.lower().encode("ascii") for origin in named)


class Origins:
    """An ASGI layer that tells browsers which pages may read the API's answers.

    Args:
        origins: those whose pages may, or `*` for all.
    """

    def __init__(self, app: App, origins: frozenset[bytes]) -> None:
        self._app = app
        self._origins = origins
        self._any = ANY.encode() in origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        origin = next((value for name, value in scope["headers"] if name == _ORIGIN), None)
        if origin is None or not (self._any or origin.lower() in self._origins):
            return await self._app(scope, receive, send)
        allowed = (b"access-control-allow-origin", ANY.encode() if self._any else origin)
        if scope["method"] == "OPTIONS":
            asked = dict(scope["headers"])
            if _ASKS_METHOD in asked:
                return await _preflight(send, allowed, asked.get(_ASKS_HEADERS, b""))

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                told = [allowed, _EXPOSED] if self._any else [allowed, _EXPOSED, (b"vary", b"origin")]
                message = {**message, "headers": [*message.get("headers", ()), *told]}
            await send(message)

        return await self._app(scope, receive, answer)


async def _preflight(send: Send, allowed: tuple[bytes, bytes], headers: bytes) -> None:
    """Every header that is asked for may be sent: the relay passes on only those that the APIs know."""
    asked = ((b"access-control-allow-headers", headers),) if headers else ()
    await send({"type": "http.response.start", "status": 204, "headers": [allowed, *asked, *_PREFLIGHT]})
    await send({"type": "http.response.body", "body": b""})
