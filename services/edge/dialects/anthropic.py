"""Anthropic's Messages API: the request's fields that we read, errors, model lists.

Shapes: https://docs.anthropic.com/en/api/messages and .../errors.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import msgspec

from services.edge.brand import BUILT_IN
from services.edge.dialects import errors
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import auth_pb2, router_pb2, types_pb2

Headers = list[tuple[bytes, bytes]]

MESSAGES_PATH: Final = "/v1/messages"
MODEL_MAX_LENGTH: Final = 200
"""Names travel to auth and router: a long one would crowd out the questions of other requests."""
DEFAULT_VERSION: Final = b"2023-06-01"
"""What a request without anthropic-version means."""

_PASSED_ON_TYPES: Final = frozenset(
    ("api_error", "overloaded_error", "rate_limit_error", "timeout_error", "upstream_error")
)
_LIMIT_HEADERS: Final = {
    types_pb2.LIMIT_METRIC_REQUESTS: b"anthropic-ratelimit-requests-",
    types_pb2.LIMIT_METRIC_TOKENS: b"anthropic-ratelimit-tokens-",
    types_pb2.LIMIT_METRIC_INPUT_TOKENS: b"anthropic-ratelimit-input-tokens-",
    types_pb2.LIMIT_METRIC_OUTPUT_TOKENS: b"anthropic-ratelimit-output-tokens-",
}
PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'
"""What the API itself sends while nothing else is to be said."""
_OVERLOADED: Final = "overloaded_error"
_OUTCOMES_OF_TYPES: Final = {
    _OVERLOADED: router_pb2.OUTCOME_OVERLOADED,
    "rate_limit_error": router_pb2.OUTCOME_THROTTLED,
    "authentication_error": router_pb2.OUTCOME_REFUSED,
    "permission_error": router_pb2.OUTCOME_REFUSED,
    "billing_error": router_pb2.OUTCOME_OUT_OF_CREDIT,
    "invalid_request_error": router_pb2.OUTCOME_CLIENT_FAULT,
    "not_found_error": router_pb2.OUTCOME_CLIENT_FAULT,
    "request_too_large": router_pb2.OUTCOME_CLIENT_FAULT,
}
_OUTCOMES_OF_STATUS: Final = {
    401: router_pb2.OUTCOME_REFUSED,
    402: router_pb2.OUTCOME_OUT_OF_CREDIT,
    403: router_pb2.OUTCOME_REFUSED,
    **dict.fromkeys((400, 404, 405, 409, 413, 415, 422), router_pb2.OUTCOME_CLIENT_FAULT),
    429: router_pb2.OUTCOME_THROTTLED,
    529: router_pb2.OUTCOME_OVERLOADED,
}
_NO_CREDIT: Final = "credit balance is too low"
_NO_QUOTA: Final = "insufficient_quota"
_MAX_TOKENS_MAX: Final = (1 << 31) - 1


_NOTHING: Final = msgspec.Raw(b"")


class Thinking(msgspec.Struct):
    """The `thinking` object, as far as it is read."""

    type: str = ""
    budget_tokens: int = 0


class Messages(msgspec.Struct):
    """What is read of a Messages request; everything else passes through unread."""

    model: str
    max_tokens: int
    messages: list[msgspec.Raw]
    stream: bool = False
    thinking: Thinking | None = None
    system: msgspec.Raw = _NOTHING
    metadata: msgspec.Raw = _NOTHING

    def forget_content(self) -> None:
        """Lets go of the body, which what is unread is a part of."""
        self.messages, self.system, self.metadata = [], _NOTHING, _NOTHING

    @property
    def session(self) -> str:
        """The session that a coding agent names in `metadata.user_id`, with which user it is of; empty without one.
        A user's id alone is none: it may stand for everybody who uses an application."""
        if b"session" not in bytes(self.metadata):
            return ""
        try:
            return _decode_metadata(self.metadata).user_id
        except (ValueError, RecursionError):
            return ""  # the upstream will complain

    def thinking_tokens(self, unbounded: int) -> int:
        """What it may think before it writes: such tokens may not be seen while they are produced. `unbounded` is what
        to reckon with where the request sets no bound."""
        thinking = self.thinking
        if thinking is None or thinking.type == "disabled":
            return 0
        return min(self.max_tokens, max(0, thinking.budget_tokens) or unbounded)


class _Metadata(msgspec.Struct):
    user_id: str = ""


_decode_metadata: Final = msgspec.json.Decoder(_Metadata).decode
_decode_messages: Final = msgspec.json.Decoder(Messages).decode


class _UpstreamError(msgspec.Struct):
    type: str = ""
    message: str = ""
    code: str | int | None = None


class _Block(msgspec.Struct):
    type: str = ""


_decode_block: Final = msgspec.json.Decoder(_Block).decode
_NO_THOUGHT: Final = {"type": "text", "text": "(no text)"}


class _UpstreamErrorBody(msgspec.Struct):
    error: _UpstreamError


_decode_error: Final = msgspec.json.Decoder(_UpstreamErrorBody).decode


def read_messages(body: bytes) -> Messages:
    """Reads a Messages request. Raises Refusal that names the field."""
    try:
        request = _decode_messages(body)
    except msgspec.ValidationError as error:
        raise Refusal(Kind.INVALID_REQUEST, _complaint(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(Kind.INVALID_REQUEST, f"the body is not valid JSON: {error}") from None
    except RecursionError:
        raise Refusal(Kind.INVALID_REQUEST, "the body is nested too deeply") from None
    if not request.model or len(request.model) > MODEL_MAX_LENGTH:
        raise Refusal(Kind.INVALID_REQUEST, f"model: must be 1 to {MODEL_MAX_LENGTH} characters long")
    if request.max_tokens < 1:
        raise Refusal(Kind.INVALID_REQUEST, "max_tokens: must be at least 1")
    if request.max_tokens > _MAX_TOKENS_MAX:
        raise Refusal(Kind.INVALID_REQUEST, f"max_tokens: must be at most {_MAX_TOKENS_MAX}")
    if not request.messages:
        raise Refusal(Kind.INVALID_REQUEST, "messages: at least one message is required")
    return request


def _complaint(error: msgspec.ValidationError) -> str:
    """msgspec's sentence in the words of the API: "Object missing required field `messages`"."""
    text = str(error)
    if text.startswith("Object missing required field"):
        return f"{text.split('`')[1]}: field is required"
    if " - at `$." in text:
        sentence, _, path = text.partition(" - at `$.")
        return f"{path.rstrip('`')}: {sentence.lower()}"
    return "the body must be a JSON object" if text.startswith("Expected `object`") else text


def upstream_request(
    picked: router_pb2.PickResult, model: str, body: bytes, query: str, onward: Headers
) -> tuple[str, Headers, bytes]:
    """URL, headers and body of the request to an upstream account that speaks this API. The body goes on unchanged,
    but for the model's name where the upstream has another one (I5)."""
    url = picked.base_url + MESSAGES_PATH + ("?" + query if query else "")
    credential = picked.credential.encode("latin-1")
    headers = [
        *onward,
        (b"authorization", b"Bearer " + credential)
        if picked.kind == router_pb2.UPSTREAM_KIND_OPENROUTER
        else (b"x-api-key", credential),
        (b"content-type", b"application/json"),
        (b"accept-encoding", b"identity"),
    ]
    if picked.headers:
        own = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in picked.headers.items()]
        replaced = {name for name, _ in own}
        headers = [pair for pair in headers if pair[0] not in replaced] + own
    if not any(name == b"anthropic-version" for name, _ in onward):
        headers.append((b"anthropic-version", DEFAULT_VERSION))
    if picked.upstream_model != model:
        body = _with_model(body, picked.upstream_model)
    return url, headers, body


def _with_model(body: bytes, model: str) -> bytes:
    """The same request for another model name; every other field keeps its bytes. Raises Refusal."""
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except UnicodeDecodeError as error:  # in a field's name, which `read_messages` did not look at
        raise Refusal(Kind.INVALID_REQUEST, f"the body is not valid JSON: {error}") from None
    fields["model"] = msgspec.Raw(msgspec.json.encode(model))
    return msgspec.json.encode(fields)


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


class UpstreamError(NamedTuple):
    """What an upstream's error says."""

    outcome: router_pb2.Outcome.ValueType
    type: str
    """Its type, if it may be passed on; empty otherwise."""
    signature_invalid: bool = False
    """A thinking block of the request was signed by somebody else."""


def upstream_error(status: int, body: bytes) -> UpstreamError:
    """Reads an error of an upstream, whose fault it is included: some say with the status of a client's fault that our
    account has no credit."""
    try:
        error = _decode_error(body).error
    except (ValueError, RecursionError):
        error = _UpstreamError()
    outcome = _OUTCOMES_OF_STATUS.get(status)
    if outcome is None:
        overloaded = status == 503 and error.type == _OVERLOADED
        outcome = router_pb2.OUTCOME_OVERLOADED if overloaded else router_pb2.OUTCOME_UPSTREAM_FAULT
    if (status == 400 and _NO_CREDIT in error.message) or (status == 429 and _NO_QUOTA in (error.type, error.code)):
        outcome = router_pb2.OUTCOME_OUT_OF_CREDIT
    signature_invalid = status == 400 and "signature" in error.message and "thinking" in error.message
    return UpstreamError(outcome, error.type if error.type in _PASSED_ON_TYPES else "", signature_invalid)


def stream_error(data: bytes) -> UpstreamError:
    """Reads the data of an error event with which a stream begins."""
    try:
        type_ = _decode_error(data).error.type
    except (ValueError, RecursionError):
        type_ = ""
    outcome = _OUTCOMES_OF_TYPES.get(type_, router_pb2.OUTCOME_UPSTREAM_FAULT)
    return UpstreamError(outcome, type_ if type_ in _PASSED_ON_TYPES else "")


def without_thinking(body: bytes) -> bytes:
    """The same request without the thinking of earlier turns, which only whoever signed it can read; every other
    field and block keeps its bytes."""
    fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    messages = msgspec.json.decode(fields["messages"], type=list[dict[str, msgspec.Raw]])
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


def model_list(models: Sequence[router_pb2.Model]) -> dict[str, Any]:
    """GET /v1/models."""
    data = [model_object(model) for model in models]
    return {
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": False,
    }


def model_object(model: router_pb2.Model) -> dict[str, Any]:
    """GET /v1/models/{id}."""
    created_at = datetime.fromtimestamp(model.created_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": "model", "id": model.model, "display_name": model.display_name, "created_at": created_at}
