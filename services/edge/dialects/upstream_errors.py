"""Errors of upstreams, whichever API they speak: whose fault they are, and what of them may be passed on.

Shapes: https://docs.anthropic.com/en/api/errors and https://platform.openai.com/docs/guides/error-codes.
"""

from typing import Final, NamedTuple

import msgspec

from tollhouse.v1 import router_pb2

_PASSED_ON_TYPES: Final = frozenset(
    ("api_error", "overloaded_error", "rate_limit_error", "timeout_error", "upstream_error")
)
_OVERLOADED: Final = "overloaded_error"
_OUTCOMES_OF_TYPES: Final = {
    _OVERLOADED: router_pb2.OUTCOME_OVERLOADED,
    "rate_limit_error": router_pb2.OUTCOME_THROTTLED,
    "authentication_error": router_pb2.OUTCOME_REFUSED,
    "permission_error": router_pb2.OUTCOME_FORBIDDEN,
    "billing_error": router_pb2.OUTCOME_OUT_OF_CREDIT,
    "invalid_request_error": router_pb2.OUTCOME_CLIENT_FAULT,
    "not_found_error": router_pb2.OUTCOME_CLIENT_FAULT,
    "request_too_large": router_pb2.OUTCOME_CLIENT_FAULT,
    "rate_limit_exceeded": router_pb2.OUTCOME_THROTTLED,
    "insufficient_quota": router_pb2.OUTCOME_OUT_OF_CREDIT,
    "invalid_api_key": router_pb2.OUTCOME_REFUSED,
    "invalid_prompt": router_pb2.OUTCOME_CLIENT_FAULT,
}
_OUTCOMES_OF_STATUS: Final = {
    401: router_pb2.OUTCOME_REFUSED,
    402: router_pb2.OUTCOME_OUT_OF_CREDIT,
    403: router_pb2.OUTCOME_FORBIDDEN,
    408: router_pb2.OUTCOME_UPSTREAM_FAULT,
    425: router_pb2.OUTCOME_UPSTREAM_FAULT,
    429: router_pb2.OUTCOME_THROTTLED,
    529: router_pb2.OUTCOME_OVERLOADED,
}
_NO_CREDIT: Final = ("Your credit balance is too low", "You have reached your specified API usage limits")
_DISABLED: Final = "This organization has been disabled"
"""How messages of status 400 begin that are about our account. What a client wrote may be quoted further on."""
_NO_QUOTA: Final = "insufficient_quota"


class _UpstreamError(msgspec.Struct):
    type: str = ""
    message: str = ""
    code: str | int | None = None


class _UpstreamErrorBody(msgspec.Struct):
    error: _UpstreamError


_decode_error: Final = msgspec.json.Decoder(_UpstreamErrorBody).decode


class UpstreamError(NamedTuple):
    """What an upstream's error says."""

    outcome: router_pb2.Outcome.ValueType
    type: str
    """Its type, if it may be passed on; empty otherwise."""
    signature_invalid: bool = False
    """A thinking block of the request was signed by somebody else."""


def upstream_error(status: int, body: bytes, kind: router_pb2.UpstreamKind.ValueType) -> UpstreamError:
    """Reads an error of an upstream, whose fault it is included: some say with the status of a client's fault that our
    account has no credit. What is refused for no reason of ours is the client's fault."""
    try:
        error = _decode_error(body).error
    except (ValueError, RecursionError):
        error = _UpstreamError()
    outcome = _OUTCOMES_OF_STATUS.get(status)
    if outcome is None:
        overloaded = status == 503 and error.type == _OVERLOADED
        outcome = router_pb2.OUTCOME_OVERLOADED if overloaded else router_pb2.OUTCOME_UPSTREAM_FAULT
        if 400 <= status < 500:
            outcome = router_pb2.OUTCOME_CLIENT_FAULT
    if status == 400 and error.message.startswith(_NO_CREDIT):
        outcome = router_pb2.OUTCOME_OUT_OF_CREDIT
    elif status == 400 and error.message.startswith(_DISABLED):
        outcome = router_pb2.OUTCOME_REFUSED
    elif status == 429 and _NO_QUOTA in (error.type, error.code):
        outcome = router_pb2.OUTCOME_OUT_OF_CREDIT
    elif status == 403 and kind == router_pb2.UPSTREAM_KIND_OPENROUTER:  # its moderation flagged the prompt
        outcome = router_pb2.OUTCOME_CLIENT_FAULT
    signature_invalid = status == 400 and "signature" in error.message and "thinking" in error.message
    return UpstreamError(outcome, error.type if error.type in _PASSED_ON_TYPES else "", signature_invalid)


def stream_error(data: bytes) -> UpstreamError:
    """Reads the data of an error event with which a stream begins."""
    try:
        error = _decode_error(data).error
    except (ValueError, RecursionError):
        error = _UpstreamError()
    by_code = _OUTCOMES_OF_TYPES.get(str(error.code), router_pb2.OUTCOME_UPSTREAM_FAULT)
    outcome = _OUTCOMES_OF_TYPES.get(error.type, by_code)
    return UpstreamError(outcome, error.type if error.type in _PASSED_ON_TYPES else "")
