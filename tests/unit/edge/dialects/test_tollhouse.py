"""Unit tests of services.edge.dialects.tollhouse."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.dialects import tollhouse
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import events_pb2, types_pb2, usage_pb2


def usage(**fields: int) -> usage_pb2.Usage:
    return usage_pb2.Usage(
        request_id="req_1",
        key_id="key_1",
        multiplier_ppm=900_000,
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
        "key_id": "key_1",
        "model": "opus",
        "status": "ok",
        "input_tokens": 1,
        "output_tokens": 2,
        "cache_read_input_tokens": 3,
        "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 5},
        "cost_micro": 2,
        "cost_nano": 1_500,
        "price_version": 7,
        "multiplier_ppm": 900_000,
        "estimated": False,
        "attempts": 1,
        "attempts_detail": [],
        "idempotency_key": None,
        "delivered_bytes": 0,
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


@pytest.mark.parametrize(
    ("text", "unix_ms"),
    [
        ("1767225600", 1_767_225_600_000),
        ("2026-01-01T00:00:00Z", 1_767_225_600_000),
        ("2026-01-01T01:00:00+01:00", 1_767_225_600_000),
        ("2026-01-01T01:00:00 01:00", 1_767_225_600_000),  # a plus sign that nobody encoded
        ("2026-01-01T00:00:00.120Z", 1_767_225_600_120),
    ],
)
def test_an_instant_is_rfc_3339_or_unix_seconds(text: str, unix_ms: int) -> None:
    assert tollhouse.list_question({"from": text}, "acme").from_ms == unix_ms
    assert tollhouse.summary_question({"to": text}, "acme").to_ms == unix_ms


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "1e9", "tomorrow", "2026-01-01T00:00:00", "9" * 12, "1900-01-01T00:00:00Z", "²"]
)
def test_what_is_no_instant_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(Refusal, match="from: ") as caught:
        tollhouse.list_question({"from": text}, "acme")
    assert caught.value.kind is Kind.INVALID_REQUEST


@given(
    st.dictionaries(st.sampled_from(["limit", "cursor", "key_id", "status", "from", "to", "by", "group"]), st.text())
)
def test_no_query_does_worse_than_to_be_refused(query: dict[str, str]) -> None:
    for question in (tollhouse.list_question, tollhouse.summary_question):
        with contextlib.suppress(Refusal):
            assert question(query, "acme").tenant_id == "acme"


def test_a_query_asks_for_the_callers_own_tenant_whatever_it_says() -> None:
    with pytest.raises(Refusal, match="tenant_id: is not a parameter"):
        tollhouse.list_question({"tenant_id": "other"}, "acme")


def test_the_available_balance_is_never_below_zero() -> None:
    assert tollhouse.balance_object(1_500, 4_000) == {
        "balance_nano": 1_500,
        "held_nano": 4_000,
        "available_nano": 0,
        "balance_micro": 2,
        "held_micro": 4,
        "available_micro": 0,
    }


def test_receipt_keys_are_a_jwks_document() -> None:
    [key] = tollhouse.receipt_keys([usage_pb2.ReceiptKey(kid="k", public_key=b"\x00" * 32)])["keys"]
    assert key == {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "k", "x": "A" * 43}


def test_a_summary_shows_what_is_told_apart() -> None:
    question = tollhouse.summary_question({"by": "hour", "group": "key,model"}, "acme")
    bucket = usage_pb2.UsageBucket(start_ms=0, key_id="k", model="m", requests=1, cost_nano=1_500)
    summary = tollhouse.usage_summary(question, usage_pb2.SummarizeUsageResponse(buckets=[bucket]))
    assert summary["by"] == "hour"
    [shown] = summary["data"]
    assert (shown["start"], shown["key_id"], shown["model"], shown["cost_micro"]) == (
        "1970-01-01T00:00:00.000Z",
        "k",
        "m",
        2,
    )
    plain = tollhouse.usage_summary(
        tollhouse.summary_question({}, "acme"), usage_pb2.SummarizeUsageResponse(buckets=[bucket])
    )
    assert not {"key_id", "model"} & plain["data"][0].keys()
