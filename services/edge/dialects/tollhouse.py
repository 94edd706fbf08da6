"""Our own API: what no provider has."""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from services.shared.errors import Kind, Refusal
from services.shared.money import micro_from_nano
from tollhouse.v1 import events_pb2, types_pb2, usage_pb2

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_S: Final = 253_402_300_799  # the year 9999, where dates end
PAGE_MAX: Final = 1000
PAGE_USUAL: Final = 100
PLAIN_MAX_LENGTH: Final = 200
_STATUS: Final = {
    events_pb2.USAGE_STATUS_OK: "ok",
    events_pb2.USAGE_STATUS_CLIENT_FAULT: "client_fault",
    events_pb2.USAGE_STATUS_UPSTREAM_FAULT: "upstream_fault",
    events_pb2.USAGE_STATUS_INTERRUPTED: "interrupted",
    events_pb2.USAGE_STATUS_CLIENT_GONE: "client_gone",
    events_pb2.USAGE_STATUS_CREDIT_EXHAUSTED: "credit_exhausted",
    events_pb2.USAGE_STATUS_ORPHANED: "orphaned",
}
_UNKNOWN: Final = "unknown"
STATUSES: Final = (*_STATUS.values(), _UNKNOWN)
"""What a request's status may be; the last is one that a newer ledger knows."""
_STATUS_NUMBERS: Final = {name: number for number, name in _STATUS.items()}
PERIODS: Final = {"hour": usage_pb2.USAGE_PERIOD_HOUR, "day": usage_pb2.USAGE_PERIOD_DAY}
GROUPS: Final = {
    "none": [],
    "key": [usage_pb2.USAGE_GROUP_KEY],
    "model": [usage_pb2.USAGE_GROUP_MODEL],
    "key,model": [usage_pb2.USAGE_GROUP_KEY, usage_pb2.USAGE_GROUP_MODEL],
}
LIST_PARAMETERS: Final = ("limit", "cursor", "key_id", "model", "status", "from", "to", "idempotency_key")
SUMMARY_PARAMETERS: Final = ("by", "group", "from", "to")


def list_question(query: Mapping[str, str], tenant_id: str) -> usage_pb2.ListUsageRequest:
    """The query of GET /v1/usage. Raises Refusal, which names the parameter."""
    _only(query, LIST_PARAMETERS)
    status = query.get("status", "")
    if status and status not in _STATUS_NUMBERS:
        raise _wrong("status", f"is none of {', '.join(_STATUS_NUMBERS)}")
    return usage_pb2.ListUsageRequest(
        tenant_id=tenant_id,
        page_size=_limit(query.get("limit", str(PAGE_USUAL))),
        page_token=_plain(query, "cursor"),
        key_id=_plain(query, "key_id"),
        model=_plain(query, "model"),
        status=_STATUS_NUMBERS.get(status, events_pb2.USAGE_STATUS_UNSPECIFIED),
        from_ms=_instant_ms(query, "from"),
        to_ms=_instant_ms(query, "to"),
        idempotency_key=_plain(query, "idempotency_key"),
    )


def summary_question(query: Mapping[str, str], tenant_id: str) -> usage_pb2.SummarizeUsageRequest:
    """The query of GET /v1/usage/summary. Raises Refusal, which names the parameter."""
    _only(query, SUMMARY_PARAMETERS)
    by, group = query.get("by", "day"), query.get("group", "none")
    if by not in PERIODS:
        raise _wrong("by", "is neither hour nor day")
    if group not in GROUPS:
        raise _wrong("group", f"is none of {'; '.join(GROUPS)}")
    return usage_pb2.SummarizeUsageRequest(
        tenant_id=tenant_id,
        period=PERIODS[by],
        groups=GROUPS[group],
        from_ms=_instant_ms(query, "from"),
        to_ms=_instant_ms(query, "to"),
    )


def usage_object(usage: usage_pb2.Usage) -> dict[str, Any]:
    """A request's usage as the public API shows it; `cost_nano` is exact, `cost_micro` is rounded."""
    return {
        "request_id": usage.request_id,
        "key_id": usage.key_id,
        "model": usage.model,
        "status": _STATUS.get(usage.status, _UNKNOWN),
        **_tokens(usage.tokens),
        "cost_micro": micro_from_nano(usage.cost_nano),
        "cost_nano": usage.cost_nano,
        "price_version": usage.price_version,
        "multiplier_ppm": usage.multiplier_ppm,
        "estimated": usage.estimated,
        "attempts": usage.attempts,
        "attempts_detail": [_attempt_object(attempt) for attempt in usage.attempts_detail],
        "idempotency_key": usage.idempotency_key or None,
        "delivered_bytes": usage.delivered_bytes,
        "created_at": _rfc3339(usage.created_ms),
        "duration_ms": usage.duration_ms,
        "first_token_ms": usage.first_token_ms or None,
    }


def usage_list(page: usage_pb2.ListUsageResponse) -> dict[str, Any]:
    """GET /v1/usage."""
    return {
        "data": [usage_object(usage) for usage in page.usages],
        "has_more": bool(page.next_page_token),
        "next_cursor": page.next_page_token or None,
    }


def usage_summary(
    question: usage_pb2.SummarizeUsageRequest, summary: usage_pb2.SummarizeUsageResponse
) -> dict[str, Any]:
    """GET /v1/usage/summary. A bucket has `key_id` and `model` where they are told apart."""
    by = next(name for name, period in PERIODS.items() if period == question.period)
    return {"by": by, "data": [_bucket_object(bucket, question.groups) for bucket in summary.buckets]}


def balance_object(balance_nano: int, held_nano: int) -> dict[str, int]:
    """GET /v1/balance: what is there, what is held for requests under way, what a further request may use."""
    available_nano = max(0, balance_nano - held_nano)
    amounts = {"balance": balance_nano, "held": held_nano, "available": available_nano}
    return {f"{name}_nano": nano for name, nano in amounts.items()} | {
        f"{name}_micro": micro_from_nano(nano) for name, nano in amounts.items()
    }


def receipt_keys(keys: Sequence[usage_pb2.ReceiptKey]) -> dict[str, Any]:
    """The public keys of receipts as a JWKS document (RFC 7517, RFC 8037)."""
    return {
        "keys": [
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "alg": "EdDSA",
                "use": "sig",
                "kid": key.kid,
                "x": base64.urlsafe_b64encode(key.public_key).rstrip(b"=").decode(),
            }
            for key in keys
        ]
    }


def _attempt_object(attempt: usage_pb2.UsageAttempt) -> dict[str, Any]:
    return {
        "attempt": attempt.attempt,
        "status": _STATUS.get(attempt.status, _UNKNOWN),
        "upstream_model": attempt.upstream_model,
        "http_status": attempt.http_status or None,
        **_tokens(attempt.tokens),
        "cost_nano": attempt.cost_nano,
        "estimated": attempt.estimated,
        "duration_ms": attempt.duration_ms,
    }


def _bucket_object(bucket: usage_pb2.UsageBucket, groups: Sequence[int]) -> dict[str, Any]:
    told = {}
    if usage_pb2.USAGE_GROUP_KEY in groups:
        told["key_id"] = bucket.key_id
    if usage_pb2.USAGE_GROUP_MODEL in groups:
        told["model"] = bucket.model
    return {
        "start": _rfc3339(bucket.start_ms),
        **told,
        "requests": bucket.requests,
        "attempts": bucket.attempts,
        "estimated_attempts": bucket.estimated,
        **_tokens(bucket.tokens),
        "cost_micro": micro_from_nano(bucket.cost_nano),
        "cost_nano": bucket.cost_nano,
    }


def _tokens(tokens: types_pb2.TokenCounts) -> dict[str, Any]:
    return {
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write_5m,
            "ephemeral_1h_input_tokens": tokens.cache_write_1h,
        },
    }


def _rfc3339(unix_ms: int) -> str:
    at = _EPOCH + timedelta(milliseconds=unix_ms)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _only(query: Mapping[str, str], known: Sequence[str]) -> None:
    for name in query:
        if name not in known:
            raise _wrong(name[:50], f"is not a parameter; there are {', '.join(known)}")


def _limit(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 5 and 1 <= int(text) <= PAGE_MAX):
        raise _wrong("limit", f"is not a number from 1 to {PAGE_MAX}")
    return int(text)


def _plain(query: Mapping[str, str], name: str) -> str:
    text = query.get(name, "")
    if len(text) > PLAIN_MAX_LENGTH or not text.isprintable():
        raise _wrong(name, f"is longer than {PLAIN_MAX_LENGTH} characters or holds one that cannot be printed")
    return text


def _instant_ms(query: Mapping[str, str], name: str) -> int:
    """Unix milliseconds from RFC 3339 or Unix seconds; 0 when the parameter is absent."""
    text = query.get(name)
    if text is None:
        return 0
    if text.isascii() and text.isdecimal() and len(text) <= 12 and 0 < int(text) <= _LAST_S:
        return int(text) * 1000
    try:
        # A plus sign that was not percent-encoded arrives as a blank.
        at = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
    except ValueError:
        raise _wrong(name, "is neither RFC 3339, such as 2026-01-31T12:00:00Z, nor Unix seconds") from None
    if at.tzinfo is None:
        raise _wrong(name, "has no offset from UTC; end it with Z")
    milliseconds = (at - _EPOCH) // timedelta(milliseconds=1)
    if milliseconds <= 0:
        raise _wrong(name, "is before 1970")
    return milliseconds


def _wrong(name: str, fault: str) -> Refusal:
    return Refusal(Kind.INVALID_REQUEST, f"{name}: {fault}")
