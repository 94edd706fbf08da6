"""Anthropic's Messages API: the request's fields that we read, errors, model lists.

Shapes: https://docs.anthropic.com/en/api/messages and .../errors.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from services.shared.errors import Kind, Refusal
from tollhouse.v1 import router_pb2

Headers = list[tuple[bytes, bytes]]

MESSAGES_PATH: Final = "/v1/messages"
DEFAULT_VERSION: Final = b"2023-06-01"
"""What a request without anthropic-version means."""

_ERROR_TYPES: Final[Mapping[Kind, str]] = {
    Kind.INVALID_REQUEST: "invalid_request_error",
    Kind.KEY_MISSING: "authentication_error",
    Kind.KEY_CONFLICT: "authentication_error",
    Kind.KEY_UNKNOWN: "authentication_error",
    Kind.KEY_EXPIRED: "authentication_error",
    Kind.KEY_DISABLED: "permission_error",
    Kind.TENANT_DISABLED: "permission_error",
    Kind.TOKEN_MISSING: "authentication_error",
    Kind.TOKEN_UNKNOWN: "authentication_error",
    Kind.TOKEN_SCOPE: "permission_error",
    Kind.BALANCE_EXHAUSTED: "billing_error",
    Kind.KEY_CAP_EXHAUSTED: "billing_error",
    Kind.ROUTE_UNKNOWN: "not_found_error",
    Kind.METHOD_NOT_ALLOWED: "invalid_request_error",
    Kind.MODEL_UNKNOWN: "not_found_error",
    Kind.USAGE_UNKNOWN: "not_found_error",
    Kind.NOT_FOUND: "not_found_error",
    Kind.VOUCHER_UNKNOWN: "not_found_error",
    Kind.VOUCHER_SPENT: "invalid_request_error",
    Kind.REQUEST_TIMEOUT: "timeout_error",
    Kind.REQUEST_TOO_LARGE: "request_too_large",
    Kind.RATE_LIMITED: "rate_limit_error",
    Kind.WATCHERS_FULL: "rate_limit_error",
    Kind.UPSTREAM_THROTTLED: "rate_limit_error",
    Kind.INTERNAL: "api_error",
    Kind.UPSTREAM_FAILED: "upstream_error",
    Kind.NO_HEALTHY_ACCOUNT: "overloaded_error",
    Kind.MODEL_UNPRICED: "api_error",
    Kind.AUTH_UNAVAILABLE: "api_error",
    Kind.ROUTER_UNAVAILABLE: "api_error",
    Kind.LEDGER_UNAVAILABLE: "api_error",
    Kind.CREDIT_RECOVERING: "api_error",
    Kind.RECORDING_UNAVAILABLE: "api_error",
    Kind.UPSTREAM_TIMEOUT: "timeout_error",
    Kind.UPSTREAM_OVERLOADED: "overloaded_error",
}
_PASSED_ON_TYPES: Final = frozenset(
    ("api_error", "overloaded_error", "rate_limit_error", "timeout_error", "upstream_error")
)
_NOT_TO_BE_RETRIED: Final = frozenset((401, 402, 403))
_RETRY_AFTER_S: Final[Mapping[int, bytes]] = {429: b"5", 503: b"2", 529: b"5"}
_MAX_TOKENS_MAX: Final = (1 << 31) - 1


class Thinking(msgspec.Struct):
    """The `thinking` object, as far as it is read."""

    budget_tokens: int = 0


class Messages(msgspec.Struct):
    """What is read of a Messages request; everything else passes through unread."""

    model: str
    max_tokens: int
    messages: msgspec.Raw
    stream: bool = False
    thinking: Thinking | None = None

    @property
    def thinking_tokens(self) -> int:
        """What it may think at most before it writes; such tokens are not seen while they are produced."""
        return max(0, self.thinking.budget_tokens) if self.thinking else 0


_decode_messages: Final = msgspec.json.Decoder(Messages).decode


class _UpstreamError(msgspec.Struct):
    type: str = ""


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
    if not request.model:
        raise Refusal(Kind.INVALID_REQUEST, "model: is empty")
    if request.max_tokens < 1:
        raise Refusal(Kind.INVALID_REQUEST, "max_tokens: must be at least 1")
    if request.max_tokens > _MAX_TOKENS_MAX:
        raise Refusal(Kind.INVALID_REQUEST, f"max_tokens: must be at most {_MAX_TOKENS_MAX}")
    listed = bytes(request.messages)
    if not listed.startswith(b"["):
        raise Refusal(Kind.INVALID_REQUEST, "messages: must be an array")
    if not listed[1:-1].strip():
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
    headers = [
        *onward,
        (b"x-api-key", picked.credential.encode("latin-1")),
        (b"content-type", b"application/json"),
        (b"accept-encoding", b"identity"),
    ]
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
    """Status, headers and body of an error of ours."""
    status = refusal.kind.http_status
    body = msgspec.json.encode(error_object(refusal, request_id))
    headers = [(b"content-type", b"application/json")]
    if status in _NOT_TO_BE_RETRIED:
        headers.append((b"x-should-retry", b"false"))
    if status in _RETRY_AFTER_S:
        headers.append((b"retry-after", refusal.details.get("retry_after_s", "").encode() or _RETRY_AFTER_S[status]))
    return status, headers, body


def error_event(refusal: Refusal, request_id: str, mid_event: bool) -> bytes:
    """The event that ends a stream which broke after its first byte; a blank line first where an event was cut."""
    data = msgspec.json.encode(error_object(refusal, request_id))
    return (b"\n\n" if mid_event else b"") + b"event: error\ndata: " + data + b"\n\n"


def error_object(refusal: Refusal, request_id: str) -> dict[str, Any]:
    """An error of ours as Anthropic writes errors."""
    type_ = refusal.details.get("upstream_error_type") or _ERROR_TYPES[refusal.kind]
    message = f"{refusal.message} (request id: {request_id})"
    return {"type": "error", "error": {"type": type_, "message": message}, "request_id": request_id}


def upstream_error_type(body: bytes) -> str:
    """The error type that an upstream said, if it is one that may be passed on; empty otherwise."""
    try:
        type_ = _decode_error(body).error.type
    except (ValueError, RecursionError):
        return ""
    return type_ if type_ in _PASSED_ON_TYPES else ""


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
