"""Errors for clients of Anthropic's Messages API on upstreams of another API, before and within a stream. Pure.

https://docs.anthropic.com/en/api/errors
"""

from typing import Final

import msgspec

from services.edge.dialects.openai_errors import client_error, failure

_TYPES: Final = {404: "not_found_error", 413: "request_too_large"}


class _Told(msgspec.Struct):
    message: str


class _Body(msgspec.Struct):
    error: _Told


def messages_error(status: int, body: bytes) -> bytes:
    """An upstream's error that is the client's own fault, in Anthropic's shape. Never raises."""
    message = msgspec.json.decode(client_error(status, body), type=_Body).error.message
    return msgspec.json.encode(_error(_TYPES.get(status, "invalid_request_error"), message))


def messages_failure(*names: str) -> dict[str, object]:
    """The error event of a stream in which the upstream failed, by its error's type or code."""
    code, message = failure(*names)
    if code == "rate_limit_exceeded":
        return _error("rate_limit_error", message)
    return _error("overloaded_error" if "overloaded" in message else "api_error", message)


def _error(type_: str, message: str) -> dict[str, object]:
    return {"type": "error", "error": {"type": type_, "message": message}}
