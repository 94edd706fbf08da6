"""Our own API: what no provider has."""

from datetime import UTC, datetime
from typing import Any, Final

from services.shared.money import micro_from_nano
from tollhouse.v1 import events_pb2, usage_pb2

_STATUS: Final = {
    events_pb2.USAGE_STATUS_OK: "ok",
    events_pb2.USAGE_STATUS_CLIENT_FAULT: "client_fault",
    events_pb2.USAGE_STATUS_UPSTREAM_FAULT: "upstream_fault",
    events_pb2.USAGE_STATUS_INTERRUPTED: "interrupted",
    events_pb2.USAGE_STATUS_CLIENT_GONE: "client_gone",
}


def usage_object(usage: usage_pb2.Usage) -> dict[str, Any]:
    """A request's usage as the public API shows it; `cost_nano` is exact, `cost_micro` is rounded."""
    tokens = usage.tokens
    created_at = datetime.fromtimestamp(usage.created_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return {
        "request_id": usage.request_id,
        "model": usage.model,
        "status": _STATUS.get(usage.status, "unknown"),
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write_5m,
            "ephemeral_1h_input_tokens": tokens.cache_write_1h,
        },
        "cost_micro": micro_from_nano(usage.cost_nano),
        "cost_nano": usage.cost_nano,
        "price_version": usage.price_version,
        "estimated": usage.estimated,
        "attempts": usage.attempts,
        "created_at": created_at.replace("+00:00", "Z"),
        "duration_ms": usage.duration_ms,
        "first_token_ms": usage.first_token_ms or None,
    }
