"""OpenAI's APIs: errors, limits, model lists.

Shapes: https://platform.openai.com/docs/guides/error-codes and https://platform.openai.com/docs/api-reference.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from services.edge.apis import endpoint_types
from services.edge.brand import Brand
from services.edge.dialects import errors
from services.shared.errors import Refusal
from tollhouse.v1 import auth_pb2, router_pb2, types_pb2

Headers = list[tuple[bytes, bytes]]

PING: Final = b": ping\n\n"
"""A comment: these APIs have no event for it."""
_LIMITS: Final = {
    types_pb2.LIMIT_METRIC_REQUESTS: b"requests",
    types_pb2.LIMIT_METRIC_TOKENS: b"tokens",
    types_pb2.LIMIT_METRIC_INPUT_TOKENS: b"input-tokens",
    types_pb2.LIMIT_METRIC_OUTPUT_TOKENS: b"output-tokens",
}
LIMIT_HEADERS: Final = tuple(
    b"x-ratelimit-" + part + name for name in _LIMITS.values() for part in (b"limit-", b"remaining-", b"reset-")
)
"""All that `limit_headers` may say."""
_CREATED: Final = 1_626_777_600
"""What clients of such gateways are told of every model, in July 2021: when its maker made it nobody tells us."""
_MAKERS: Final = {
    "claude": "anthropic",
    "gpt": "openai",
    "o1": "openai",
    "o3": "openai",
    "o4": "openai",
    "gemini": "google",
}


def chat_event_of_error(body: bytes) -> bytes:
    """An upstream's error as the end of a streamed chat completion."""
    return b"data: " + _one_line(body) + b"\n\n"


def response_error_event(refusal: Refusal, brand: Brand, request_id: str, mid_event: bool) -> bytes:
    """The end of a streamed response that broke."""
    error = errors.error_object(refusal, "openai", brand, request_id)["error"]
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


def model_list(models: Sequence[router_pb2.Model], brand: Brand) -> dict[str, Any]:
    """GET /v1/models."""
    extras = {"success": True} if brand.model_list_extras else {}
    return {**extras, "object": "list", "data": [model_object(model, brand) for model in models]}


def model_object(model: router_pb2.Model, brand: Brand) -> dict[str, Any]:
    """GET /v1/models/{id}."""
    said = {"id": model.model, "object": "model", "created": _CREATED, "owned_by": maker(model.model)}
    return {**said, "supported_endpoint_types": endpoint_types(model.kinds)} if brand.model_list_extras else said


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
