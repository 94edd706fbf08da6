"""Unit tests of services.ledger.records."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ledger.records import BookedAttempt, Position, attempt_message, requests, usage_of
from tollhouse.v1 import events_pb2

ATTEMPT = BookedAttempt(
    request_id="req_1",
    attempt=1,
    final=True,
    tenant_id="acme",
    key_id="key_1",
    model="opus",
    upstream_model="opus-1",
    upstream_account_id="acc_1",
    upstream_request_id="up_1",
    status=events_pb2.USAGE_STATUS_OK,
    http_status=200,
    stream=False,
    estimated=False,
    requests=1,
    input_tokens=1,
    output_tokens=2,
    cache_read_tokens=3,
    cache_write_5m_tokens=4,
    cache_write_1h_tokens=5,
    cost_nano=100,
    upstream_cost_nano=40,
    price_version=7,
    multiplier_ppm=900_000,
    created_at=datetime(2026, 3, 1, tzinfo=UTC),
    duration_ms=10,
    first_token_ms=3,
    request_sha256=b"q" * 32,
    response_sha256=b"r" * 32,
    delivered_bytes=50,
    idempotency_key="once",
    client_retry=0,
    transaction_id=9,
)
FAILED = replace(
    ATTEMPT,
    final=False,
    status=events_pb2.USAGE_STATUS_UPSTREAM_FAULT,
    estimated=True,
    cost_nano=0,
    output_tokens=0,
    duration_ms=4,
    first_token_ms=0,
    delivered_bytes=0,
    response_sha256=b"",
)


def test_a_request_is_the_sum_of_its_attempts_and_ends_as_the_last_did() -> None:
    usage = usage_of([FAILED, replace(ATTEMPT, attempt=2)], reads_all=True)
    assert (usage.attempts, usage.status, usage.first_token_ms) == (2, events_pb2.USAGE_STATUS_OK, 3)
    assert (usage.tokens.input, usage.tokens.output, usage.tokens.requests, usage.cost_nano) == (2, 2, 2, 100)
    assert usage.estimated
    assert usage.duration_ms == 10
    assert usage.delivered_bytes == 50
    assert usage.response_sha256 == b"r" * 32
    assert [detail.attempt for detail in usage.attempts_detail] == [1, 2]


def test_attempts_that_stand_together_become_requests() -> None:
    other = replace(ATTEMPT, request_id="req_2")
    found = list(requests([FAILED, replace(ATTEMPT, attempt=2), other], reads_all=False))
    assert [(usage.request_id, usage.attempts) for usage in found] == [("req_1", 2), ("req_2", 1)]


def test_what_an_attempt_cost_us_and_who_served_it_is_not_for_tenants() -> None:
    for_all, for_tenant = attempt_message(ATTEMPT, True), attempt_message(ATTEMPT, False)
    assert (for_all.upstream_cost_nano, for_all.upstream_account_id) == (40, "acc_1")
    assert not for_tenant.HasField("upstream_cost_nano")
    assert for_tenant.upstream_account_id == ""


POSITIONS = st.builds(
    Position,
    st.integers(0, (1 << 63) - 2),
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=40),
    st.integers(0, 1000),
)


@given(POSITIONS)
def test_a_position_comes_back_from_its_token(position: Position) -> None:
    assert Position.from_token(position.token()) == position


@given(st.text())
def test_no_text_is_more_than_refused(token: str) -> None:
    try:
        position = Position.from_token(token)
    except ValueError:
        return
    assert Position.from_token(position.token()) == position


def test_behind_a_transaction_is_behind_all_that_it_booked_and_before_the_next() -> None:
    assert Position.of(ATTEMPT) < Position.behind(9) < Position.of(replace(ATTEMPT, transaction_id=10))


@pytest.mark.parametrize("token", ["", "1.2", "2.1.1.", "1.x.1.", f"1.{1 << 63}.1.", "1.1.1001.", "1.1.1.\0"])
def test_what_is_no_resume_token_is_refused(token: str) -> None:
    with pytest.raises(ValueError):
        Position.from_token(token)
