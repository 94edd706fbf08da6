"""OpenAI's error bodies. Pure.

https://platform.openai.com/docs/guides/error-codes
"""

from typing import Any, Final

import msgspec

from services.simulator.asked import Invalid
from services.simulator.script import STATUSES, Script

_KINDS: Final = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("permission_error", None),
    404: ("invalid_request_error", "model_not_found"),
    413: ("invalid_request_error", "request_too_large"),
    422: ("invalid_request_error", None),
    429: ("requests", "rate_limit_exceeded"),
}
_SERVER: Final = ("server_error", None)
_NO_CREDIT: Final = Invalid(
    "You exceeded your current quota, please check your plan and billing details. For more information on this error,"
    " read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
    code="insufficient_quota",
    status=429,
)


def error(status: int, message: str, param: str | None = None, code: str | None = None) -> bytes:
    """An error body for a status; `code` is what the status says unless it is given."""
    return msgspec.json.encode({"error": members(status, message, param, code)})


def members(status: int, message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    """What an error says."""
    type_, usual = _KINDS.get(status, _SERVER)
    if code == "insufficient_quota":
        type_ = code
    return {"message": message, "type": type_, "param": param, "code": code or usual}


def of_stream(script: Script) -> dict[str, Any]:
    """The error that a stream has first, or ends with: scripts name it by Anthropic's type."""
    status = next(status for status, type_ in STATUSES.items() if type_ == script.error_type)
    return members(status, script.message)


def refusal(asked_refused: Invalid | None, script: Script) -> Invalid | None:
    """Why the real API would refuse such a request although it is valid; None where it would not."""
    return _NO_CREDIT if script.error == "credit" else asked_refused
