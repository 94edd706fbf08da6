"""Errors of ours in the words of the client's API and brand: the one place where a refusal becomes status, headers and
body.

Shapes: https://docs.anthropic.com/en/api/errors, https://platform.openai.com/docs/guides/error-codes and
https://cloud.google.com/apis/design/errors#error_model.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec

from services.edge.brand import Brand
from services.shared.errors import Blame, Kind, Refusal

Api = Literal["anthropic", "openai", "gemini"]
"""Whose shape an error has."""
APIS: Final[tuple[Api, ...]] = ("anthropic", "openai", "gemini")
Headers = list[tuple[bytes, bytes]]
Body = dict[str, Any]

_ANTHROPIC_TYPES: Final[Mapping[Kind, str]] = {
    Kind.INVALID_REQUEST: "invalid_request_error",
    Kind.KEY_MISSING: "authentication_error",
    Kind.KEY_CONFLICT: "authentication_error",
    Kind.KEY_UNKNOWN: "authentication_error",
    Kind.KEY_EXPIRED: "authentication_error",
    Kind.KEY_DISABLED: "permission_error",
    Kind.TENANT_DISABLED: "permission_error",
    Kind.MODEL_NOT_ALLOWED: "permission_error",
    Kind.ADDRESS_NOT_ALLOWED: "permission_error",
    Kind.TOKEN_MISSING: "authentication_error",
    Kind.TOKEN_UNKNOWN: "authentication_error",
    Kind.TOKEN_SCOPE: "permission_error",
    Kind.CALLER_FORBIDDEN: "permission_error",
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
    Kind.ENCODING_UNKNOWN: "invalid_request_error",
    Kind.RATE_LIMITED: "rate_limit_error",
    Kind.WATCHERS_FULL: "rate_limit_error",
    Kind.UPSTREAM_THROTTLED: "rate_limit_error",
    Kind.INTERNAL: "api_error",
    Kind.NOT_IMPLEMENTED: "not_implemented_error",
    Kind.UPSTREAM_FAILED: "upstream_error",
    Kind.NO_HEALTHY_ACCOUNT: "overloaded_error",
    Kind.MODEL_UNPRICED: "api_error",
    Kind.AUTH_UNAVAILABLE: "api_error",
    Kind.ROUTER_UNAVAILABLE: "api_error",
    Kind.LEDGER_UNAVAILABLE: "api_error",
    Kind.CREDIT_RECOVERING: "api_error",
    Kind.RECORDING_UNAVAILABLE: "api_error",
    Kind.BODIES_FULL: "overloaded_error",
    Kind.UPSTREAM_TIMEOUT: "timeout_error",
    Kind.UPSTREAM_OVERLOADED: "overloaded_error",
}
_OPENAI_TYPES: Final[Mapping[int, str]] = {
    402: "insufficient_quota",
    403: "permission_error",
    408: "timeout_error",
    429: "rate_limit_error",
    501: "not_implemented_error",
    504: "timeout_error",
}
"""By status; elsewhere it is the client's fault or the server's."""
_OPENAI_CODES: Final[Mapping[Kind, str]] = {
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
"""Elsewhere it is the kind's own name."""
_GEMINI_STATUSES: Final[Mapping[int, str]] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "INVALID_ARGUMENT",
    408: "DEADLINE_EXCEEDED",
    409: "FAILED_PRECONDITION",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    501: "UNIMPLEMENTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
    529: "UNAVAILABLE",
}
"""google.rpc.Code by HTTP status. No money left is no exhausted resource: clients wait for those."""
_NOT_TO_BE_RETRIED: Final = frozenset((401, 402, 403))
_RETRY_AFTER_S: Final[Mapping[int, bytes]] = {429: b"5", 503: b"2", 529: b"5"}


def answer(refusal: Refusal, api: Api, brand: Brand, request_id: str) -> tuple[int, Headers, bytes]:
    """Status, headers and body of an error of ours."""
    body = msgspec.json.encode(error_object(refusal, api, brand, request_id))
    return status_of(refusal, brand), [(b"content-type", b"application/json"), *retry_headers(refusal, brand)], body


def event(refusal: Refusal, api: Api, brand: Brand, request_id: str, mid_event: bool) -> bytes:
    """The event that ends a stream which broke after its first byte; a blank line first where an event was cut. Only
    Anthropic's API names its events."""
    data = msgspec.json.encode(error_object(refusal, api, brand, request_id))
    name = b"event: error\n" if api == "anthropic" else b""
    return (b"\n\n" if mid_event else b"") + name + b"data: " + data + b"\n\n"


def error_object(refusal: Refusal, api: Api, brand: Brand, request_id: str) -> Body:
    """The whole body."""
    return _SHAPES[api](refusal, brand, request_id)


def status_of(refusal: Refusal, brand: Brand) -> int:
    """The HTTP status: the kind's, but for a model that the brand's clients expect another one of."""
    return brand.unknown_model_status if refusal.kind is Kind.MODEL_UNKNOWN else refusal.kind.http_status


def retry_headers(refusal: Refusal, brand: Brand) -> Headers:
    """Whether and when to ask again: in whole seconds, as the standard has it, and in milliseconds for the SDKs that
    read them."""
    status = status_of(refusal, brand)
    if status in _NOT_TO_BE_RETRIED:
        return [(b"x-should-retry", b"false")]
    usual_s = _RETRY_AFTER_S.get(status)
    if usual_s is None:
        return []
    exact_ms = refusal.details.get("retry_after_ms", "")
    if not exact_ms.isdecimal():
        return [(b"retry-after", usual_s)]
    return [(b"retry-after", b"%d" % -(-int(exact_ms) // 1000)), (b"retry-after-ms", exact_ms.encode())]


def _anthropic(refusal: Refusal, brand: Brand, request_id: str) -> Body:
    label = refusal.kind.label
    passed_on = refusal.details.get("upstream_error_type")  # Anthropic's own word, where it sent one
    error: Body = {"type": passed_on or brand.error_types.get(label) or _ANTHROPIC_TYPES[refusal.kind]}
    if label in brand.error_codes:
        error["code"] = brand.error_codes[label]
    error["message"] = _message(refusal, request_id)
    if "error_code" in refusal.details:
        error["details"] = {"error_code": refusal.details["error_code"]}
    return {"error": error} if brand.bare_errors else {"type": "error", "error": error, "request_id": request_id}


def _openai(refusal: Refusal, brand: Brand, request_id: str) -> Body:
    kind = refusal.kind
    fault = "invalid_request_error" if kind.blame is Blame.CLIENT else "server_error"
    usual = _OPENAI_TYPES.get(kind.http_status, fault)
    return {
        "error": {
            "message": _message(refusal, request_id),
            "type": brand.openai_error_types.get(kind.label, usual),
            "param": refusal.details.get("param") or None,
            "code": brand.error_codes.get(kind.label) or _OPENAI_CODES.get(kind, kind.label),
        }
    }


def _gemini(refusal: Refusal, brand: Brand, request_id: str) -> Body:
    status = status_of(refusal, brand)
    return {
        "error": {"code": status, "message": _message(refusal, request_id), "status": _GEMINI_STATUSES[status]},
    }


def _message(refusal: Refusal, request_id: str) -> str:
    """What people read: the reason, and what to quote to support."""
    return f"{refusal.message} (request id: {request_id})"


_SHAPES: Final[Mapping[Api, Callable[[Refusal, Brand, str], Body]]] = {
    "anthropic": _anthropic,
    "openai": _openai,
    "gemini": _gemini,
}
