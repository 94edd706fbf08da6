"""What the console measures."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from starlette.routing import Route

from services.shared import clock
from services.shared.metrics import OTHER, Histogram, histogram

REQUESTS: Final = histogram(
    "http_server_request_duration_seconds",
    "how long requests of the console took; `http_route` is the route's pattern, `other` where none was found",
    *("http_request_method", "http_route", "http_response_status_code"),
)
"""OpenTelemetry's name and attributes: https://opentelemetry.io/docs/specs/semconv/http/http-metrics/"""

_METHODS: Final = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

Scope = MutableMapping[str, Any]


class Measured:
    """An ASGI application whose requests are noted in a histogram."""

    def __init__(self, app: Any, requests: Histogram) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        began_s, status = clock.monotonic_s(), 0

        async def noting(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = scope.get("route")
            path = route.path if isinstance(route, Route) else OTHER
            method = scope.get("method", "")
            labels = (method if method in _METHODS else OTHER, path, str(status))
            self._requests[labels].observe(clock.monotonic_s() - began_s)
