"""OpenAI's APIs: errors, limits, model lists.

Shapes: https://platform.openai.com/docs/guides/error-codes and https://platform.openai.com/docs/api-reference.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from services.edge.dialects.retrying import retry_headers
from services.shared.errors import Blame, Kind, Refusal
from tollhouse.v1 import auth_pb2, router_pb2, types_pb2

Headers = list[tuple[bytes, bytes]]

PING: Final = b": ping\n\n"
"""A comment: these APIs have no event for it."""
_INVALID: Final = "invalid_request_error"
_TYPES: Final[Mapping[int, str]] = {
    402: "insufficient_quota",
    403: "permission_error",
    429: "rate_limit_error",
    408: "timeout_error",
    504: "timeout_error",
}
_CODES: Final[Mapping[Kind, str]] = {
    Kind.KEY_MISSING: "invalid_api_key",
    Kind.KEY_CONFLICT: "invalid_api_key",
    Kind.KEY_UNKNOWN: "invalid_api_key",
    Kind.KEY_EXPIRED: "invalid_api_key",
    Kind.BALANCE_EXHAUSTED: "insufficient_quota",
    Kind.KEY_CAP_EXHAUSTED: "insufficient_quota",
    Kind.MODEL_UNKNOWN: "model_not_found",
    Kind.RATE_LIMITED: "rate_limit_exceeded",
    Kind.UPSTREAM_THROTTLED: "rate_limit_exceeded",
}
_LIMITS: Final = {
    types_pb2.LIMIT_METRIC_REQUESTS: b"requests",
    types_pb2.LIMIT_METRIC_TOKENS: b"tokens",
    types_pb2.LIMIT_METRIC_INPUT_TOKENS: b"input-tokens",
    types_pb2.LIMIT_METRIC_OUTPUT_TOKENS: b"output-tokens",
}
_MAKERS: Final = {
    "claude": "anthropic",
    "gpt": "openai",
    "o1": "openai",
    "o3": "openai",
    "o4": "openai",
    "gemini": "google",
}


def error_answer(refusal: Refusal, request_id: str) -> tuple[int, Headers, bytes]:
    """Status, headers and body of an error of ours."""
    status = refusal.kind.http_status
    headers = [(b"content-type", b"application/json"), *retry_headers(refusal)]
    return status, headers, msgspec.json.encode({"error": error_object(refusal, request_id)})


def error_object(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """An error of ours as OpenAI writes errors."""
    kind = refusal.kind
    type_ = _TYPES.get(kind.http_status, _INVALID if kind.blame is Blame.CLIENT else "server_error")
    return {
        "message": f"{refusal.message} (request id: {request_id})",
        "type": type_,
        "param": refusal.details.get("param") or None,
        "code": _CODES.get(kind, kind.label),
    }


def chat_error_event(refusal: Refusal, request_id: str, mid_event: bool) -> bytes:
    """The end of a streamed chat completion that broke: no [DONE] follows, for it is not done."""
    data = msgspec.json.encode({"error": error_object(refusal, request_id)})
    return (b"\n\n" if mid_event else b"") + b"data: " + data + b"\n\n"


def chat_event_of_error(body: bytes) -> bytes:
    """An upstream's error as the end of a streamed chat completion."""
    return b"data: " + _one_line(body) + b"\n\n"


def response_error_event(refusal: Refusal, request_id: str, mid_event: bool) -> bytes:
    """The end of a streamed response that broke."""
    error = error_object(refusal, request_id)
    return (b"\n\n" if mid_event else b"") + _response_error(error["code"], error["message"])


def response_event_of_error(body: bytes) -> bytes:
    """An upstream's error as the end of a streamed response."""
    try:
        error = msgspec.json.decode(_one_line(body))["error"]
        return _response_error(error.get("code") or error.get("type"), error.get("message"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return _response_error("server_error", "the upstream failed")


def limit_headers(states: Iterable[auth_pb2.LimitState], now_ms: int) -> Headers:
    """How the caller's limits stand: https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers."""
    headers: Headers = []
    for state in states:
        name = _LIMITS[state.metric]
        headers += (
            (b"x-ratelimit-limit-" + name, b"%d" % state.limit),
            (b"x-ratelimit-remaining-" + name, b"%d" % state.remaining),
            (b"x-ratelimit-reset-" + name, b"%dms" % state.reset_ms),
        )
    return headers


def model_list(models: Sequence[router_pb2.Model]) -> dict[str, Any]:
    """GET /v1/models."""
    return {"object": "list", "data": [model_object(model) for model in models]}


def model_object(model: router_pb2.Model) -> dict[str, Any]:
    """GET /v1/models/{id}."""
    return {"id": model.model, "object": "model", "created": model.created_ms // 1000, "owned_by": maker(model.model)}


def maker(model: str) -> str:
    """Who makes a model, by its id: "openai/gpt-5.2" says it, "claude-haiku-4-5" begins like nobody else's."""
    provider, slash, _ = model.partition("/")
    if slash:
        return provider
    return next((name for prefix, name in _MAKERS.items() if model.startswith(prefix)), "custom")


def _response_error(code: object, message: object) -> bytes:
    event = {"type": "error", "code": code, "message": message, "param": None, "sequence_number": 0}
    return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"


def _one_line(body: bytes) -> bytes:
    """JSON as an event's data must be."""
    try:
        return msgspec.json.format(body, indent=-1)
    except (ValueError, RecursionError):
        error = {"message": "the upstream failed", "type": "server_error", "param": None, "code": None}
        return msgspec.json.encode({"error": error})
