"""What browsers want to hear before they let a page of another origin ask us, and read the answer. Pure.

Every origin may: a key comes in a header that the page itself has to know, and there are no cookies or other
credentials that a browser would add of its own accord, so that a page can do nothing that its author could not do
without a browser.
https://fetch.spec.whatwg.org/#http-cors-protocol
"""

from typing import Final

from services.edge.brand import Brand
from services.edge.dialects import anthropic, openai

Headers = list[tuple[bytes, bytes]]

_EVERYBODY: Final = (b"access-control-allow-origin", b"*")
_METHODS: Final = b"GET, HEAD, POST, DELETE, OPTIONS"
_STAINLESS: Final = (
    "lang",
    "package-version",
    "os",
    "arch",
    "runtime",
    "runtime-version",
    "retry-count",
    "timeout",
    "helper",
    "helper-method",
)
ASKED_WITH: Final = (
    "authorization",
    "content-type",
    "x-api-key",
    "x-goog-api-key",
    "x-goog-api-client",
    "anthropic-version",
    "anthropic-beta",
    "anthropic-dangerous-direct-browser-access",
    "openai-beta",
    "openai-organization",
    "openai-project",
    "http-referer",
    "x-title",
    "x-openrouter-title",
    "x-app",
    "user-agent",
    "idempotency-key",
    "traceparent",
    *(f"x-stainless-{name}" for name in _STAINLESS),
    # All others; `authorization` is the one that it does not stand for, and older browsers do not know it.
    "*",
)
"""Request headers that a page may send: what the providers' SDKs send from browsers."""
_MAX_AGE: Final = b"86400"
"""Seconds for which a browser need not ask again; none remembers it for longer than a day."""
_EXPOSED: Final = (
    b"request-id",
    b"x-request-id",
    b"retry-after",
    b"retry-after-ms",
    b"x-should-retry",
    b"x-tollhouse-estimated",
    *anthropic.LIMIT_HEADERS,
    *openai.LIMIT_HEADERS,
)


def preflight_headers() -> Headers:
    """What a browser is told that asks whether its page may ask."""
    return [
        _EVERYBODY,
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", ", ".join(ASKED_WITH).encode()),
        (b"access-control-max-age", _MAX_AGE),
    ]


def answer_headers(brand: Brand) -> Headers:
    """What lets a page read an answer: its body, and those headers that tell it something."""
    of_brand = (brand.request_id_header, brand.upstream_account_id_header)
    exposed = [*_EXPOSED, *(name.lower().encode() for name in of_brand if name)]
    return [_EVERYBODY, (b"access-control-expose-headers", b", ".join(exposed))]
