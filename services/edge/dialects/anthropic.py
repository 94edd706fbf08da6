"""Anthropic's Messages API: errors, limits, model lists.

Shapes: https://docs.anthropic.com/en/api/messages and .../errors.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from services.edge.brand import BUILT_IN, Brand
from services.edge.dialects import errors
from services.shared.errors import Refusal
from tollhouse.v1 import auth_pb2, router_pb2, types_pb2

Headers = list[tuple[bytes, bytes]]

DEFAULT_VERSION: Final = b"2023-06-01"
"""What a request without anthropic-version means."""

_LIMIT_HEADERS: Final = {
    types_pb2.LIMIT_METRIC_REQUESTS: b"anthropic-ratelimit-requests-",
    types_pb2.LIMIT_METRIC_TOKENS: b"anthropic-ratelimit-tokens-",
    types_pb2.LIMIT_METRIC_INPUT_TOKENS: b"anthropic-ratelimit-input-tokens-",
    types_pb2.LIMIT_METRIC_OUTPUT_TOKENS: b"anthropic-ratelimit-output-tokens-",
}
LIMIT_HEADERS: Final = tuple(
    prefix + part for prefix in _LIMIT_HEADERS.values() for part in (b"limit", b"remaining", b"reset")
)
"""All that `limit_headers` may say."""
PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'
"""What the API itself sends while nothing else is to be said."""


class _Block(msgspec.Struct):
    type: str = ""


_decode_block: Final = msgspec.json.Decoder(_Block).decode
_CREATED_AT: Final = "2021-07-20T00:00:00Z"
"""What clients of such gateways are told of every model: when its maker released it nobody tells us."""
_NO_THOUGHT: Final = {"type": "text", "text": "(no text)"}


def error_answer(refusal: Refusal, request_id: str) -> tuple[int, Headers, bytes]:
    """Status, headers and body of an error of ours, of no brand."""
    return errors.answer(refusal, "anthropic", BUILT_IN, request_id)


def limit_headers(states: Iterable[auth_pb2.LimitState], now_ms: int) -> Headers:
    """How the caller's limits stand: https://docs.anthropic.com/en/api/rate-limits#response-headers."""
    headers: Headers = []
    for state in states:
        prefix = _LIMIT_HEADERS[state.metric]
        reset = datetime.fromtimestamp((now_ms + state.reset_ms) / 1000, UTC).isoformat(timespec="milliseconds")
        headers += (
            (prefix + b"limit", b"%d" % state.limit),
            (prefix + b"remaining", b"%d" % state.remaining),
            (prefix + b"reset", reset.replace("+00:00", "Z").encode()),
        )
    return headers


def error_event(refusal: Refusal, request_id: str, mid_event: bool) -> bytes:
    """The event that ends a stream which broke after its first byte; a blank line first where an event was cut."""
    return errors.event(refusal, "anthropic", BUILT_IN, request_id, mid_event)


def event_of_error(body: bytes) -> bytes:
    """An upstream's error as the event that ends a stream."""
    try:
        data = msgspec.json.format(body, indent=-1)  # of one line, as an event's data must be
    except (ValueError, RecursionError):
        data = msgspec.json.encode({"type": "error", "error": {"type": "api_error", "message": "the upstream failed"}})
    return b"event: error\ndata: " + data + b"\n\n"


def error_object(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """An error of ours as Anthropic writes errors."""
    return errors.error_object(refusal, "anthropic", BUILT_IN, request_id)


def estimated_count(tokens: int) -> tuple[Headers, bytes]:
    """Headers and body of a count of tokens that no upstream made."""
    headers = [(b"content-type", b"application/json"), (b"x-tollhouse-estimated", b"true")]
    return headers, msgspec.json.encode({"input_tokens": tokens})


def without_thinking(body: bytes) -> bytes:
    """The same request without the thinking of earlier turns, which only whoever signed it can read; every other
    field and block keeps its bytes. Messages of no such shape stay, for the upstream to refuse."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    try:
        messages = msgspec.json.decode(fields["messages"], type=list[dict[str, msgspec.Raw]])
    except (ValueError, RecursionError):
        return body
    for message in messages:
        content = bytes(message.get("content", b""))
        if content.lstrip()[:1] == b"[" and b"thinking" in content:
            blocks = msgspec.json.decode(content, type=list[msgspec.Raw])
            kept = [block for block in blocks if not _is_thinking(block)]
            # A turn that was nothing but thought cannot be empty.
            message["content"] = msgspec.Raw(msgspec.json.encode(kept or [_NO_THOUGHT]))
    fields["messages"] = msgspec.Raw(msgspec.json.encode(messages))
    return msgspec.json.encode(fields)


def _is_thinking(block: msgspec.Raw) -> bool:
    try:
        return _decode_block(block).type in ("thinking", "redacted_thinking")
    except ValueError:
        return False


def model_list(models: Sequence[router_pb2.Model], brand: Brand) -> dict[str, Any]:
    """GET /v1/models: https://docs.anthropic.com/en/api/models-list. What is listed can be called, so that it is all in
    the one stage of life that the SDKs' types want to be told."""
    data = [model_object(model, brand) for model in models]
    return {
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": False,
    }


def model_object(model: router_pb2.Model, brand: Brand) -> dict[str, Any]:
    """GET /v1/models/{id}."""
    return {
        "type": "model",
        "id": model.model,
        "display_name": model.display_name,
        "created_at": _CREATED_AT,
        "lifecycle": "active",
    }
