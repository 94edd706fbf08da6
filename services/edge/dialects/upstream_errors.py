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
    "context_length_exceeded": router_pb2.OUTCOME_CLIENT_FAULT,
    "bio_policy": router_pb2.OUTCOME_CLIENT_FAULT,
}
_OF_AN_IMAGE: Final = "image"
"""Stands in every code by which a response fails for an image that the client sent, or had fetched:
https://platform.openai.com/docs/api-reference/responses/object#responses/object-error"""
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
_NO_MODEL: Final = "model_not_found"
_NULL: Final = msgspec.Raw(b"null")


_KEY_NOT_VALID: Final = ("API key not valid", "API key expired", "API Key not found")
"""How Google begins to say that our key is not, with status 400: https://ai.google.dev/gemini-api/docs/troubleshooting"""
_NOT_FROM_HERE: Final = "User location is not supported"
_OF_OUR_ACCOUNT: Final = "user_id"
"""Beside the error OpenRouter says whose key it was: https://openrouter.ai/docs/api-reference/errors"""


class _Error(msgspec.Struct):
    type: str | None = None
    param: msgspec.Raw = _NULL
    message: str | None = None
    code: str | int | float | None = None


class _Response(msgspec.Struct):
    error: _Error | None = None


class _Said(msgspec.Struct):
    """Where errors stand: in `error`; in the `response` that failed; or, of an event of the Responses API that is one,
    beside its type."""

    type: str | None = None
    error: _Error | None = None
    response: _Response | None = None
    message: str | None = None
    code: str | int | float | None = None


_decode_said: Final = msgspec.json.Decoder(_Said).decode
_decode_listed: Final = msgspec.json.Decoder(list[_Said]).decode
_decode_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def _error(data: bytes) -> _Error:
    """The error that was told; one that says nothing where it cannot be read. Google puts it into a list."""
    try:
        listed = _decode_listed(data) if data.lstrip()[:1] == b"[" else [_decode_said(data)]
    except (ValueError, RecursionError):
        listed = []
    said = listed[0] if listed else _Said()
    in_response = said.response.error if said.response else None
    return said.error or in_response or _Error(message=said.message, code=said.code)


class UpstreamError(NamedTuple):
    """What an upstream's error says."""

    outcome: router_pb2.Outcome.ValueType
    type: str
    """Its type, if it may be passed on; empty otherwise."""
    signature_invalid: bool = False
    """A thinking block of the request was signed by somebody else."""
    route_unknown: bool = False
    """The upstream has no such endpoint, as far as can be told: what it does not find, it names no part of the request
    for."""


def upstream_error(status: int, body: bytes, kind: router_pb2.UpstreamKind.ValueType) -> UpstreamError:
    """Reads an error of an upstream, whose fault it is included: some say with the status of a client's fault that our
    account has no credit. What is refused for no reason of ours is the client's fault."""
    error = _error(body)
    message = error.message or ""
    outcome = _outcome_of_status(status, error.type)
    if status == 400 and message.startswith(_NO_CREDIT):
        outcome = router_pb2.OUTCOME_OUT_OF_CREDIT
    elif status == 400 and message.startswith((_DISABLED, *_KEY_NOT_VALID)):
        outcome = router_pb2.OUTCOME_REFUSED
    elif status == 400 and message.startswith(_NOT_FROM_HERE):
        outcome = router_pb2.OUTCOME_FORBIDDEN
    elif status == 429 and _NO_QUOTA in (error.type, error.code):
        outcome = router_pb2.OUTCOME_OUT_OF_CREDIT
    elif status == 403 and kind == router_pb2.UPSTREAM_KIND_OPENROUTER:  # its moderation flagged the prompt
        outcome = router_pb2.OUTCOME_CLIENT_FAULT
    signature_invalid = status == 400 and "signature" in message and "thinking" in message
    route_unknown = status in (404, 405) and error.code != _NO_MODEL and error.param == _NULL
    return UpstreamError(outcome, _passed_on(error), signature_invalid, route_unknown)


def stream_error(data: bytes) -> UpstreamError:
    """Reads the data of an error event of a stream. Where its code is a number, that is a status of HTTP."""
    error = _error(data)
    if isinstance(error.code, int):
        by_code = _outcome_of_status(error.code, error.type)
    else:
        code = str(error.code)
        of_image = router_pb2.OUTCOME_CLIENT_FAULT if _OF_AN_IMAGE in code else router_pb2.OUTCOME_UPSTREAM_FAULT
        by_code = _OUTCOMES_OF_TYPES.get(code, of_image)
    return UpstreamError(_OUTCOMES_OF_TYPES.get(error.type or "", by_code), _passed_on(error))


def without_account(body: bytes) -> bytes:
    """The body of an error that is the client's own fault, without what names our account; other bytes stay. Empty
    where it is no JSON object: the page of a server that never was the API tells where it is (I6)."""
    try:
        fields = _decode_fields(body)
    except (ValueError, RecursionError):
        return b""
    if _OF_OUR_ACCOUNT not in fields:
        return body
    return msgspec.json.encode({name: value for name, value in fields.items() if name != _OF_OUR_ACCOUNT})


def _outcome_of_status(status: int, type_: str | None) -> router_pb2.Outcome.ValueType:
    outcome = _OUTCOMES_OF_STATUS.get(status)
    if outcome is not None:
        return outcome
    if status == 503 and type_ == _OVERLOADED:
        return router_pb2.OUTCOME_OVERLOADED
    return router_pb2.OUTCOME_CLIENT_FAULT if 400 <= status < 500 else router_pb2.OUTCOME_UPSTREAM_FAULT


def _passed_on(error: _Error) -> str:
    return error.type if error.type in _PASSED_ON_TYPES else ""
