"""Errors for clients of OpenAI's APIs: of upstreams of any API, before and within a stream. Pure.

https://platform.openai.com/docs/guides/error-codes
"""

from typing import Final

import msgspec


class _Error(msgspec.Struct):
    message: str = ""
    param: str | None = None
    code: str | int | None = None


class _Body(msgspec.Struct):
    error: _Error


_decode_body: Final = msgspec.json.Decoder(_Body).decode
_MESSAGES: Final = {
    404: "The model or what the request names was not found.",
    413: "The request is too large.",
    422: "The request cannot be processed.",
}
_OVERLOADED: Final = frozenset(("overloaded_error", "overloaded", "server_overloaded"))
_THROTTLED: Final = frozenset(("rate_limit_error", "rate_limit_exceeded", "429"))


def client_error(status: int, body: bytes) -> bytes:
    """An upstream's error that is the client's own fault, in OpenAI's shape: Anthropic and OpenAI have the message at
    the same place. Never raises."""
    try:
        error = _decode_body(body).error
    except (ValueError, RecursionError):
        error = _Error()
    message = error.message or _MESSAGES.get(status, "The request was refused as invalid.")
    code = None if error.code is None else str(error.code)
    type_ = "not_found_error" if status == 404 else "invalid_request_error"
    return msgspec.json.encode({"error": {"message": message, "type": type_, "param": error.param, "code": code}})


def failure(*names: str) -> tuple[str, str]:
    """Code and message of the event that ends a stream in which the upstream failed, by its error's type or code. The
    upstream's own words may name an account, so they are not passed on; codes are those that the API's clients know."""
    if not _THROTTLED.isdisjoint(names):
        return "rate_limit_exceeded", "The upstream's rate limit was reached. Try again later."
    if not _OVERLOADED.isdisjoint(names):
        return "server_error", "The upstream is overloaded. Try again later."
    return "server_error", "The upstream failed while it answered."
