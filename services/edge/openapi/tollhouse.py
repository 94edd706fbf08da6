"""Schemas and parameters of our own API: usage, sums, balance, keys of receipts."""

from typing import Any, Final

from services.edge.dialects import tollhouse
from services.edge.openapi.schema import (
    BOOLEAN,
    COUNT,
    INSTANT,
    INTEGER,
    STRING,
    Schema,
    array,
    closed,
    described,
    of,
    one_of_words,
    or_null,
    record,
)

_TOKENS: Final[dict[str, Schema]] = {
    "input_tokens": COUNT,
    "output_tokens": COUNT,
    "cache_read_input_tokens": COUNT,
    "cache_creation": closed({"ephemeral_5m_input_tokens": COUNT, "ephemeral_1h_input_tokens": COUNT}),
}
_STATUS: Final = one_of_words(tollhouse.STATUSES)
_COST_NANO: Final = described(COUNT, "Nano-dollars, exact.")
_COST_MICRO: Final = described(COUNT, "Micro-dollars, rounded half up.")
_MOMENT: Final = described(STRING, "RFC 3339 with an offset, or Unix seconds.") | {
    "examples": ["2026-01-31T12:00:00Z", "1769860800"]
}
_NAME: Final[Schema] = {"type": "string", "maxLength": tollhouse.PLAIN_MAX_LENGTH}
_AMOUNTS: Final = ("balance", "held", "available")

LIST_PARAMETERS: Final[dict[str, Schema]] = {
    "limit": {"type": "integer", "minimum": 1, "maximum": tollhouse.PAGE_MAX, "default": tollhouse.PAGE_USUAL},
    "cursor": described(_NAME, "`next_cursor` of the page before."),
    "key_id": _NAME,
    "model": _NAME,
    "status": one_of_words(tollhouse.STATUSES[:-1]),
    "from": described(_MOMENT, "Requests that came in then or later."),
    "to": described(_MOMENT, "Requests that came in before."),
    "idempotency_key": _NAME,
}
"""The query of GET /v1/usage."""
SUMMARY_PARAMETERS: Final[dict[str, Schema]] = {
    "by": one_of_words(tuple(tollhouse.PERIODS)) | {"default": "day"},
    "group": one_of_words(tuple(tollhouse.GROUPS)) | {"default": "none"},
    "from": _MOMENT,
    "to": _MOMENT,
}
"""The query of GET /v1/usage/summary."""


def _balance() -> dict[str, Schema]:
    exact = {f"{name}_nano": described(INTEGER, "Nano-dollars, exact.") for name in _AMOUNTS}
    return exact | {f"{name}_micro": described(INTEGER, "Micro-dollars, rounded half up.") for name in _AMOUNTS}


_ATTEMPT: Final = closed(
    {
        "attempt": COUNT,
        "status": _STATUS,
        "upstream_model": STRING,
        "http_status": or_null(INTEGER),
        **_TOKENS,
        "cost_nano": _COST_NANO,
        "estimated": BOOLEAN,
        "duration_ms": COUNT,
    }
)
_BUCKET: Final[Schema] = closed(
    {
        "start": INSTANT,
        "requests": COUNT,
        "attempts": COUNT,
        "estimated_attempts": COUNT,
        **_TOKENS,
        "cost_micro": _COST_MICRO,
        "cost_nano": _COST_NANO,
    }
)
_BUCKET["properties"] |= {"key_id": STRING, "model": STRING}
_JWK: Final[dict[str, Any]] = {
    "kty": {"const": "OKP"},
    "crv": {"const": "Ed25519"},
    "alg": {"const": "EdDSA"},
    "use": {"const": "sig"},
    "kid": STRING,
    "x": STRING,
}

SCHEMAS: Final[dict[str, Schema]] = {
    "Usage": closed(
        {
            "request_id": STRING,
            "key_id": STRING,
            "model": STRING,
            "status": _STATUS,
            **_TOKENS,
            "cost_micro": _COST_MICRO,
            "cost_nano": _COST_NANO,
            "price_version": COUNT,
            "multiplier_ppm": COUNT,
            "estimated": described(BOOLEAN, "Whether some count is ours: the upstream did not get to say it."),
            "attempts": COUNT,
            "attempts_detail": array(_ATTEMPT),
            "idempotency_key": or_null(STRING),
            "delivered_bytes": COUNT,
            "created_at": INSTANT,
            "duration_ms": COUNT,
            "first_token_ms": or_null(COUNT),
        }
    ),
    "UsageList": closed({"data": array(of("Usage")), "has_more": BOOLEAN, "next_cursor": or_null(STRING)}),
    "UsageSummary": closed({"by": one_of_words(tuple(tollhouse.PERIODS)), "data": array(_BUCKET)}),
    "Balance": closed(_balance()),
    "Receipt": described(STRING, "A JWS in compact form, signed with Ed25519.")
    | {"pattern": r"^[\w-]+\.[\w-]+\.[\w-]+$"},
    "ReceiptKeys": closed({"keys": array(closed(_JWK))}),
    "Home": closed({"name": {"const": "tollhouse"}}),
    "Document": record({"openapi": STRING, "info": {"type": "object"}, "paths": {"type": "object"}}),
}
"""What clients get, by name."""
