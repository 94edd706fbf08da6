"""Unit tests of services.ledger.settlement."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ledger.settlement import Poison, decode, instant, settle, unix_ms
from services.shared import ids
from services.shared.pricing import Rates
from tollhouse.v1 import events_pb2, types_pb2

CREATED_MS = 1_790_000_000_123
REQUEST_ID = ids.request_id(CREATED_MS)
CHEAP = Rates(1, input=1_000, output=2_000, cache_read=100, cache_write_5m=1_250, cache_write_1h=2_000)
DEAR = Rates(2, input=10_000, output=20_000, cache_read=1_000, cache_write_5m=12_500, cache_write_1h=20_000)
RATES = {1: CHEAP, 2: DEAR}


def event() -> events_pb2.UsageEvent:
    return events_pb2.UsageEvent(
        event_id=f"{REQUEST_ID}:1",
        request_id=REQUEST_ID,
        attempt=1,
        tenant_id="acme",
        key_id="key_1",
        model="opus",
        upstream_model="opus-upstream",
        upstream_account_id="acc_1",
        upstream_request_id="req_upstream",
        status=events_pb2.USAGE_STATUS_OK,
        http_status=200,
        tokens=types_pb2.TokenCounts(input=10, output=20, cache_read=30, cache_write_5m=40, cache_write_1h=50),
        price_version=1,
        grant_id="grant_1",
        created_ms=CREATED_MS,
        duration_ms=1234,
        first_token_ms=56,
        stream=True,
        final=True,
    )


def batch(*events: events_pb2.UsageEvent) -> bytes:
    return events_pb2.UsageEventBatch(events=events).SerializeToString()


def test_an_event_becomes_the_row_that_books_it() -> None:
    told = event()
    told.tokens.requests, told.multiplier_ppm = 1, 900_000
    told.key_grant_id, told.held_nano = "grant_2", 500
    told.request_sha256, told.response_sha256, told.delivered_bytes = b"q" * 32, b"a" * 32, 4096
    told.idempotency_key, told.client_retry = "once", 2
    row = settle(told, RATES)
    assert row._asdict() == {
        "created_at": datetime(2026, 9, 21, 14, 13, 20, 123_000, tzinfo=UTC),
        "request_id": REQUEST_ID,
        "attempt": 1,
        "final": True,
        "tenant_id": "acme",
        "key_id": "key_1",
        "model": "opus",
        "upstream_model": "opus-upstream",
        "upstream_account_id": "acc_1",
        "upstream_request_id": "req_upstream",
        "status": events_pb2.USAGE_STATUS_OK,
        "http_status": 200,
        "stream": True,
        "estimated": False,
        "input_tokens": 10,
        "output_tokens": 20,
        "cache_read_tokens": 30,
        "cache_write_5m_tokens": 40,
        "cache_write_1h_tokens": 50,
        "cost_nano": 183,  # nine tenths of 10 + 40 + 3 + 50 + 100, rounded once
        "price_version": 1,
        "grant_id": "grant_1",
        "duration_ms": 1234,
        "first_token_ms": 56,
        "requests": 1,
        "multiplier_ppm": 900_000,
        "key_grant_id": "grant_2",
        "held_nano": 500,
        "request_sha256": b"q" * 32,
        "response_sha256": b"a" * 32,
        "delivered_bytes": 4096,
        "idempotency_key": "once",
        "client_retry": 2,
        "upstream_cost_nano": 0,
        "cost_version": 0,
    }


def test_each_event_is_priced_by_the_version_fixed_at_its_admission() -> None:
    dear = event()
    dear.price_version = 2
    assert settle(dear, RATES).cost_nano == 10 * settle(event(), RATES).cost_nano


def test_an_attempt_that_used_nothing_costs_nothing() -> None:
    failed = event()
    failed.ClearField("tokens")
    failed.status = events_pb2.USAGE_STATUS_UPSTREAM_FAULT
    assert settle(failed, RATES).cost_nano == 0


def test_a_message_holds_its_events_in_order() -> None:
    second = event()
    second.attempt, second.event_id = 2, f"{REQUEST_ID}:2"
    assert decode(batch(event(), second)) == [event(), second]
    assert decode(b"") == []


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_poison(data: bytes) -> None:
    try:
        events = decode(data)
        rows = [settle(event, RATES) for event in events]
    except Poison:
        return
    assert len(rows) == len(events)


def test_what_is_no_message_is_poison() -> None:
    with pytest.raises(Poison, match="not a UsageEventBatch"):
        decode(b"\xff\xff\xff")


def set_to(name: str, value: object) -> Callable[[events_pb2.UsageEvent], None]:
    return lambda changed: setattr(changed, name, value)


def attempt(number: int) -> Callable[[events_pb2.UsageEvent], None]:
    def change(changed: events_pb2.UsageEvent) -> None:
        changed.attempt, changed.event_id = number, f"{REQUEST_ID}:{number}"

    return change


def tokens(**counts: int) -> Callable[[events_pb2.UsageEvent], None]:
    return lambda changed: changed.tokens.MergeFrom(types_pb2.TokenCounts(**counts))


def request(request_id: str, created_ms: int) -> Callable[[events_pb2.UsageEvent], None]:
    def change(changed: events_pb2.UsageEvent) -> None:
        changed.request_id, changed.event_id, changed.created_ms = request_id, f"{request_id}:1", created_ms

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (attempt(0), "attempt is out of range"),
        (attempt(1001), "attempt is out of range"),
        (set_to("event_id", ""), "event_id is not request_id:attempt"),
        (set_to("event_id", f"{REQUEST_ID}:2"), "event_id is not request_id:attempt"),
        (set_to("created_ms", CREATED_MS + 1), "created_ms is not the instant in request_id"),
        (request("req_1", CREATED_MS), "created_ms is not the instant in request_id"),
        (request("", 0), "created_ms is not the instant in request_id"),
        (request("req_7" + "z" * 25, (1 << 48) - 1), "created_ms is not the instant in request_id"),
        (set_to("tenant_id", ""), "no tenant_id"),
        (set_to("price_version", 0), "no price_version"),
        (set_to("price_version", 3), "there is no price version 3"),
        (set_to("status", 0), "status is unknown"),
        (set_to("status", 99), "status is unknown"),
        (tokens(input=(1 << 40) + 1), "a token count is out of range"),
        (tokens(output=(1 << 64) - 1), "a token count is out of range"),
        (tokens(cache_read=1 << 41), "a token count is out of range"),
        (tokens(cache_write_5m=1 << 41), "a token count is out of range"),
        (tokens(cache_write_1h=1 << 41), "a token count is out of range"),
        (set_to("http_status", 1000), "http_status is out of range"),
        (set_to("model", "a\0b"), "a text holds a NUL character"),
        (set_to("upstream_model", "\0"), "a text holds a NUL character"),
        (set_to("upstream_request_id", "\0"), "a text holds a NUL character"),
        (set_to("tenant_id", "acme\0"), "a text holds a NUL character"),
        (set_to("key_id", "\0"), "a text holds a NUL character"),
        (set_to("idempotency_key", "\0"), "a text holds a NUL character"),
        (set_to("key_grant_id", "\0"), "a text holds a NUL character"),
        (tokens(requests=2), "more than one request"),
        (set_to("multiplier_ppm", 1 << 31), "multiplier_ppm or held_nano is out of range"),
        (set_to("held_nano", -1), "multiplier_ppm or held_nano is out of range"),
        (set_to("request_sha256", b"short"), "a digest is not 32 bytes"),
        (set_to("response_sha256", b"x" * 33), "a digest is not 32 bytes"),
        (set_to("delivered_bytes", 1 << 63), "delivered_bytes is out of range"),
    ],
)
def test_a_poisoned_event_is_refused_with_the_reason(
    change: Callable[[events_pb2.UsageEvent], None], reason: str
) -> None:
    poisoned = event()
    change(poisoned)
    with pytest.raises(Poison) as refused:
        settle(poisoned, RATES)
    assert str(refused.value) == f"event {poisoned.event_id!r}: {reason}"


def test_a_cost_that_no_column_can_hold_is_poison() -> None:
    absurd = event()
    absurd.tokens.output = 1 << 40
    rates = {1: Rates(1, input=10**12, output=10**12, cache_read=10**12, cache_write_5m=10**12, cache_write_1h=10**12)}
    with pytest.raises(Poison, match="the cost is out of range"):
        settle(absurd, rates)


@pytest.mark.parametrize("change", [attempt(1000), tokens(input=1 << 40), set_to("http_status", 999)])
def test_limits_are_part_of_the_range(change: Callable[[events_pb2.UsageEvent], None]) -> None:
    largest = event()
    change(largest)
    settle(largest, RATES)


def test_durations_beyond_their_column_are_cut_to_it() -> None:
    endless = event()
    endless.duration_ms = endless.first_token_ms = (1 << 32) - 1
    row = settle(endless, RATES)
    assert row.duration_ms == row.first_token_ms == (1 << 31) - 1


@given(st.integers(0, 253_402_300_799_999))
def test_an_instant_is_exact_to_the_millisecond(at_ms: int) -> None:
    assert unix_ms(instant(at_ms)) == at_ms
    assert instant(at_ms) - instant(0) == timedelta(milliseconds=at_ms)
