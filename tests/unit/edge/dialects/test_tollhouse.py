"""Unit tests of services.edge.dialects.tollhouse."""

import pytest

from services.edge.dialects import tollhouse
from tollhouse.v1 import events_pb2, types_pb2, usage_pb2


def usage(**fields: int) -> usage_pb2.Usage:
    return usage_pb2.Usage(
        request_id="req_1",
        model="opus",
        tokens=types_pb2.TokenCounts(input=1, output=2, cache_read=3, cache_write_5m=4, cache_write_1h=5),
        cost_nano=1_500,
        price_version=7,
        attempts=1,
        created_ms=1_790_000_000_120,
        duration_ms=900,
        **fields,  # type: ignore[arg-type]
    )


def test_a_requests_usage_is_shown_with_its_exact_and_its_rounded_cost() -> None:
    assert tollhouse.usage_object(usage(status=events_pb2.USAGE_STATUS_OK, first_token_ms=40)) == {
        "request_id": "req_1",
        "model": "opus",
        "status": "ok",
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_read_input_tokens": 3,
        "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 5},
        "cost_micro": 2,
        "cost_nano": 1_500,
        "price_version": 7,
        "estimated": False,
        "attempts": 1,
        "created_at": "2026-09-21T14:13:20.120Z",
        "duration_ms": 900,
        "first_token_ms": 40,
    }


def test_a_request_without_a_first_byte_has_no_time_of_it() -> None:
    assert tollhouse.usage_object(usage())["first_token_ms"] is None


@pytest.mark.parametrize("status", [number for number in events_pb2.UsageStatus.values() if number])
def test_every_status_has_its_word(status: int) -> None:
    name = events_pb2.UsageStatus.Name(status)  # type: ignore[arg-type]
    assert tollhouse.usage_object(usage(status=status))["status"] == name.removeprefix("USAGE_STATUS_").lower()
