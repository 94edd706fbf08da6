"""A request's headers: whom it speaks to, which key it brings, and which of them go on to the upstream. One pass."""

from collections.abc import Sequence
from typing import Final

import msgspec

from services.shared import principal
from services.shared.errors import Kind, Refusal

Headers = list[tuple[bytes, bytes]]

_KEY: Final = 1
_LENGTH: Final = 2
_NOTE: Final = 3
_PASS: Final = 4
_CONNECTION: Final = 5
_HOST: Final = 6
_ORIGIN: Final = 7
_ENCODING: Final = 8
_TRACE: Final = 9
_ACTIONS: Final = {
    b"authorization": _KEY,
    b"x-api-key": _KEY,
    b"content-length": _LENGTH,
    b"connection": _CONNECTION,
    b"host": _HOST,
    b"origin": _ORIGIN,
    b"content-encoding": _ENCODING,
    b"traceparent": _TRACE,
    # Noted, and passed on.
    b"idempotency-key": _NOTE,
    b"x-stainless-retry-count": _NOTE,
    # Passed on: what the APIs know and what tells which application asks.
    b"user-agent": _PASS,
    b"x-app": _PASS,
    b"openai-beta": _PASS,
    b"http-referer": _PASS,
    b"x-title": _PASS,
    b"x-openrouter-title": _PASS,
    b"x-simulator": _PASS,
}
"""All other headers stay behind, but for those of `_PREFIXES`: an upstream that refuses a request for one of them (as
Anthropic does for an Origin, with the status of a bad credential) would have its account blamed for it."""
_PREFIXES: Final = (b"anthropic-", b"x-stainless-", b"x-claude-")
_OURS: Final = frozenset(
    (b"anthropic-dangerous-direct-browser-access", b"anthropic-organization-id", b"anthropic-workspace-id")
)
"""Of whom the account is, and what a browser says."""
_QUERY: Final = "beta"
"""The parameter that the APIs know."""
_IDEMPOTENCY_KEY_LENGTH: Final = 200
_MAX_RETRY: Final = 1000
_ENCODING_LENGTH: Final = 40


class RequestHead(msgspec.Struct):
    """A request's headers, sorted: what authenticates, what goes on, how long the body says it is, and what tells that
    the client has asked before."""

    onward: Headers = []
    keys: list[bytes] = []
    host: bytes = b""
    from_browser: bool = False
    """A page of another origin asks: only browsers say so (https://fetch.spec.whatwg.org/#origin-header)."""
    length: bytes | None = None
    """The content-length as it was said."""
    encoding: bytes = b""
    """How the body is compressed."""
    idempotency_key: str = ""
    client_retry: int = 0
    traceparent: bytes = b""
    """The client's span, as it said: https://www.w3.org/TR/trace-context/#traceparent-header"""

    @property
    def content_length(self) -> int | None:
        """How long the body says it is; None where it does not say. Raises Refusal."""
        if self.length is None:
            return None
        if not self.length.isdigit():
            raise Refusal(Kind.INVALID_REQUEST, "content-length is not a number")
        return int(self.length)

    def check_encoding(self) -> None:
        """Raises Refusal where the body is compressed. No client of these APIs does that; and what a few bytes may grow
        into is nothing to find out here."""
        if self.encoding:
            raise Refusal(
                Kind.ENCODING_UNKNOWN,
                f"content-encoding is {self.encoding.decode('latin-1')[:_ENCODING_LENGTH]!r}: send the body as it is",
            )

    def key(self, prefixes: Sequence[str] = principal.KNOWN_PREFIXES) -> str:
        """The client key; `prefixes` is what keys may begin with, longest first. Raises Refusal when there is none,
        more than one, or none that could be one."""
        if not self.keys:
            raise Refusal(Kind.KEY_MISSING, "no key: send it as `Authorization: Bearer KEY` or as `x-api-key: KEY`")
        key = self.keys[0].decode("latin-1")
        for other in self.keys[1:]:
            if principal.body_of(other.decode("latin-1"), prefixes) != principal.body_of(key, prefixes):
                raise Refusal(Kind.KEY_CONFLICT, "two headers hold different keys")
        if len(key) > principal.MAX_KEY_LENGTH or not key.isascii():
            raise Refusal(Kind.KEY_UNKNOWN, "the key is malformed")
        return key


def read_head(headers: Headers) -> RequestHead:
    """Sorts a request's headers, whose names are in lower case as ASGI has them."""
    head = RequestHead()
    onward = head.onward
    connection = b""
    for name, value in headers:
        action = _ACTIONS.get(name)
        if action is None:
            if name.startswith(_PREFIXES) and name not in _OURS:
                onward.append((name, value))
        elif action == _PASS:
            onward.append((name, value))
        elif action == _KEY:
            key = _bearer(value) if name == b"authorization" else value.strip()
            if key:
                head.keys.append(key)
        elif action == _LENGTH:
            head.length = value
        elif action == _NOTE:
            onward.append((name, value))
            if name == b"idempotency-key":
                head.idempotency_key = value.decode("latin-1").strip()[:_IDEMPOTENCY_KEY_LENGTH]
            elif value.isdigit():
                head.client_retry = min(int(value[:6]), _MAX_RETRY)
        elif action == _HOST:
            head.host = value
        elif action == _ORIGIN:
            head.from_browser = True
        elif action == _ENCODING:
            if value.lower() != b"identity":
                head.encoding = value
        elif action == _TRACE:
            head.traceparent = value
        else:
            connection = connection + b"," + value.lower() if connection else value.lower()
    if connection and connection not in (b"keep-alive", b"close"):  # it may name further hop-by-hop headers
        named = {token.strip() for token in connection.split(b",")}
        head.onward = [(name, value) for name, value in onward if name not in named]
    return head


def onward_query(query: bytes) -> str:
    """Of a query, what goes on to the upstream. Raises Refusal."""
    if not query:
        return ""
    if not query.isascii() or b" " in query:
        raise Refusal(Kind.INVALID_REQUEST, "the query string has characters that must be percent-encoded")
    return "&".join(part for part in query.decode("latin-1").split("&") if part.partition("=")[0] == _QUERY)


def _bearer(value: bytes) -> bytes:
    """The token of an Authorization header; another scheme's credentials are no key of ours, but are no silence."""
    scheme, _, token = value.strip().partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else value.strip()
