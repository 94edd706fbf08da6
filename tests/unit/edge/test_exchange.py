"""Unit tests of services.edge.exchange."""

import hashlib
from collections.abc import Callable
from typing import cast

import pytest

from services.edge.apis import Api
from services.edge.dialects.asked import Asked
from services.edge.exchange import NO_TOKENS, Attempt, Delivered, Exchange
from services.edge.head import RequestHead
from services.edge.hold import Hold
from services.edge.metering import StreamMeter
from services.edge.principals import Principal
from services.edge.replicas import Replica
from services.edge.routes import Times
from services.edge.upstream import Failure, UpstreamFailed
from services.shared.pricing import Tokens
from tollhouse.v1 import events_pb2, router_pb2, types_pb2

HOLD = Hold(
    auth=cast(Replica, None),
    hold_id="req_1",
    tenant_id="acme",
    input_tokens=25,
    output_tokens=10,
    max_output_tokens=10,
    stretch=10,
    patience_s=1.0,
    grant_id="grant_1",
    key_grant_id="grant_2",
    price_version=7,
    multiplier_ppm=500_000,
    held_nano=99,
)
ANSWER = b"the answer"
DELIVERED = Delivered(100.25, len(ANSWER), hashlib.sha256(ANSWER).digest())
NOT_DELIVERED = Delivered()
USED = Tokens(input=1, output=2, cache_read=3, cache_write_5m=4, cache_write_1h=5)


def exchange(forgotten: Callable[[], None] = lambda: None) -> Exchange:
    return Exchange(
        request_id="req_1",
        created_ms=1_790_000_000_123,
        began_s=100.0,
        principal=Principal("acme", "key_1", "default", b"policy"),
        head=RequestHead(idempotency_key="order 7", client_retry=2),
        api=Api.MESSAGES,
        request=Asked("opus", 10, stream=True),
        body=b"x" * 50,
        forgotten=forgotten,
        query="",
        hold=HOLD,
        pools=["main"],
        times=Times(120, 60, 300, 660, 3600),
    )


def begun(made_for: Exchange, account_id: str = "acc_1") -> Attempt:
    attempt = made_for.next_attempt()
    attempt.picked = router_pb2.PickResult(upstream_account_id=account_id, upstream_model="opus-upstream")
    attempt.begin()
    attempt.ended_s = 101.5
    return attempt


def test_attempts_are_counted_from_one_and_named_after_their_request() -> None:
    made_for = exchange()
    attempts = [made_for.next_attempt() for _ in range(3)]
    assert [attempt.number for attempt in attempts] == [1, 2, 3]
    assert [attempt.lease_id for attempt in attempts] == ["req_1:1", "req_1:2", "req_1:3"]


def test_an_attempt_that_did_not_get_to_an_upstream_has_no_usage_and_no_fault() -> None:
    made_for = exchange()
    attempt = made_for.next_attempt()
    assert made_for.usage_events(NOT_DELIVERED) == []
    assert attempt.outcome == router_pb2.OUTCOME_UNUSED


def test_an_attempt_under_way_is_one_that_the_client_gave_up() -> None:
    attempt = begun(exchange())
    assert (attempt.status, attempt.outcome) == (
        events_pb2.USAGE_STATUS_CLIENT_GONE,
        router_pb2.OUTCOME_CLIENT_GONE,
    )
    assert attempt.estimated


def test_an_event_says_all_that_the_ledger_needs() -> None:
    made_for = exchange()
    attempt = begun(made_for)
    attempt.http_status, attempt.upstream_request_id = 200, "req_upstream"
    attempt.answered(USED, False)
    assert made_for.usage_events(DELIVERED) == [
        events_pb2.UsageEvent(
            event_id="req_1:1",
            request_id="req_1",
            attempt=1,
            tenant_id="acme",
            key_id="key_1",
            model="opus",
            upstream_model="opus-upstream",
            upstream_account_id="acc_1",
            upstream_request_id="req_upstream",
            status=events_pb2.USAGE_STATUS_OK,
            http_status=200,
            tokens=types_pb2.TokenCounts(
                input=1, output=2, cache_read=3, cache_write_5m=4, cache_write_1h=5, requests=1
            ),
            estimated=False,
            price_version=7,
            grant_id="grant_1",
            created_ms=1_790_000_000_123,
            duration_ms=1500,
            first_token_ms=250,
            stream=True,
            final=True,
            multiplier_ppm=500_000,
            key_grant_id="grant_2",
            held_nano=99,
            request_sha256=hashlib.sha256(b"x" * 50).digest(),
            response_sha256=hashlib.sha256(ANSWER).digest(),
            delivered_bytes=len(ANSWER),
            idempotency_key="order 7",
            client_retry=2,
        )
    ]


def test_every_attempt_that_reached_an_upstream_has_one_event_and_the_last_of_them_is_final() -> None:
    made_for = exchange()
    begun(made_for, "acc_1").upstream_fault()
    begun(made_for, "acc_2").failed(UpstreamFailed(Failure.CONNECT, reached=False))
    begun(made_for, "acc_3").answered(USED, True)
    made_for.next_attempt()  # nobody took it
    events = made_for.usage_events(Delivered(101.0))
    assert [(event.event_id, event.final) for event in events] == [("req_1:1", False), ("req_1:3", True)]
    assert [event.first_token_ms for event in events] == [0, 1000]
    assert [event.estimated for event in events] == [False, True]


def test_a_first_byte_within_the_first_millisecond_still_counts() -> None:
    for delivered, first_token_ms in ((Delivered(100.0), 1), (NOT_DELIVERED, 0)):
        made_for = exchange()
        begun(made_for).answered(USED, False)
        assert made_for.usage_events(delivered)[0].first_token_ms == first_token_ms


@pytest.mark.parametrize("fault", ["client_fault", "upstream_fault"])
def test_a_fault_is_not_charged(fault: str) -> None:
    made_for = exchange()
    attempt = begun(made_for)
    attempt.tokens = USED
    getattr(attempt, fault)()
    assert (attempt.tokens, attempt.estimated) == (NO_TOKENS, False)
    assert list(made_for.settlement().charged) == []
    assert len(made_for.usage_events(NOT_DELIVERED)) == 1


def test_faults_are_told_apart() -> None:
    attempt = begun(exchange())
    attempt.client_fault()
    assert (attempt.status, attempt.outcome) == (
        events_pb2.USAGE_STATUS_CLIENT_FAULT,
        router_pb2.OUTCOME_CLIENT_FAULT,
    )
    attempt.upstream_fault(router_pb2.OUTCOME_THROTTLED)
    assert (attempt.status, attempt.outcome) == (
        events_pb2.USAGE_STATUS_UPSTREAM_FAULT,
        router_pb2.OUTCOME_THROTTLED,
    )
    attempt.interrupted()
    assert (attempt.status, attempt.outcome) == (events_pb2.USAGE_STATUS_INTERRUPTED, router_pb2.OUTCOME_CUT)


def test_the_hold_is_settled_with_what_each_charged_attempt_used() -> None:
    made_for = exchange()
    begun(made_for).upstream_fault()
    interrupted = begun(made_for)
    interrupted.interrupted()
    interrupted.tokens = Tokens(output=9)
    begun(made_for).answered(USED, False)
    settlement = made_for.settlement()
    assert (settlement.hold_id, settlement.tenant_id) == ("req_1", "acme")
    assert [counts.output for counts in settlement.charged] == [9, 2]


@pytest.mark.parametrize("failure", Failure)
@pytest.mark.parametrize("number", [1, 2])
def test_only_a_first_connection_that_was_dropped_lets_the_same_account_be_tried_again(
    failure: Failure, number: int
) -> None:
    made_for = exchange()
    for _ in range(number - 1):
        begun(made_for, "acc_0").upstream_fault()
    begun(made_for, "acc_1").failed(UpstreamFailed(failure, reached=True))
    made_for.next_attempt()
    again = failure is Failure.DROPPED and number == 1
    assert ("acc_1" in made_for.tried()) is not again


def test_accounts_that_failed_are_not_tried_again() -> None:
    made_for = exchange()
    assert made_for.next_attempt().number == 1
    assert made_for.tried() == []
    made_for.attempts.clear()
    begun(made_for, "acc_1").upstream_fault()
    begun(made_for, "acc_2").upstream_fault()
    made_for.next_attempt()
    assert made_for.tried() == ["acc_1", "acc_2"]


def test_the_guess_of_the_input_outlives_the_body() -> None:
    told: list[str] = []
    made_for = exchange(lambda: told.append("forgotten"))
    guess = made_for.likely_input_tokens
    made_for.forget_body()
    assert (made_for.body, made_for.likely_input_tokens) == (b"", guess)
    assert told == ["forgotten"]


def test_an_answered_request_is_charged_as_one_even_if_it_used_no_tokens() -> None:
    made_for = exchange()
    begun(made_for).answered(NO_TOKENS, False)
    (counts,) = made_for.settlement().charged
    assert counts.requests == 1
    assert made_for.usage_events(DELIVERED)[0].tokens.requests == 1


def test_a_stream_that_we_end_for_want_of_credit_is_nobodys_fault() -> None:
    attempt = begun(exchange())
    attempt.ended_by_us(credit_is_out=True)
    assert (attempt.status, attempt.outcome) == (events_pb2.USAGE_STATUS_CREDIT_EXHAUSTED, router_pb2.OUTCOME_OK)


def test_should_we_be_lost_the_prompt_is_charged_of_an_attempt_under_way() -> None:
    made_for = exchange()
    assert made_for.so_far() == []
    begun(made_for).upstream_fault()
    begun(made_for)
    failed, under_way = made_for.so_far()
    assert (failed.status, failed.final) == (events_pb2.USAGE_STATUS_UPSTREAM_FAULT, False)
    assert (under_way.status, under_way.final, under_way.estimated) == (events_pb2.USAGE_STATUS_INTERRUPTED, True, True)
    assert under_way.tokens == types_pb2.TokenCounts(input=50 // 4 + 1)
    assert made_for.attempts[-1].status == events_pb2.USAGE_STATUS_CLIENT_GONE  # saying so changes nothing


def test_should_we_be_lost_what_was_seen_of_a_stream_is_charged() -> None:
    made_for = exchange()
    begun(made_for)
    made_for.meter = StreamMeter()
    made_for.meter.feed(
        b'event: message_start\ndata: {"type":"message_start","message":{"usage":{"input_tokens":7}}}\n\n'
    )
    delta = b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%s"}}\n\n'
    made_for.meter.feed(delta % (b"x" * 400) + delta % b"y")
    (event,) = made_for.so_far()
    assert event.tokens.input == 7
    assert 60 <= event.tokens.output <= 110


def test_nothing_of_what_was_said_in_between_stays_in_what_is_said_at_the_end() -> None:
    made_for = exchange()
    attempt = begun(made_for)
    attempt.tokens, attempt.status = USED, events_pb2.USAGE_STATUS_OK
    assert [event.tokens for event in made_for.so_far()] == [
        types_pb2.TokenCounts(input=1, output=2, cache_read=3, cache_write_5m=4, cache_write_1h=5, requests=1)
    ]
    attempt.upstream_fault()
    begun(made_for).answered(Tokens(output=6), False)
    failed, answered = made_for.usage_events(DELIVERED)
    assert (failed.tokens, failed.final) == (types_pb2.TokenCounts(), False)
    assert (answered.tokens, answered.final) == (types_pb2.TokenCounts(output=6, requests=1), True)


def test_a_renewal_says_what_the_hold_is_for_and_what_to_book() -> None:
    made_for = exchange()
    made_for.principal = Principal("acme", "key_1", "default", spend_cap_nano=5)
    assert list(made_for.renewal().so_far) == []
    begun(made_for)
    renewal = made_for.renewal()
    assert (renewal.hold_id, renewal.tenant_id, renewal.key_id, renewal.model) == ("req_1", "acme", "key_1", "opus")
    assert (renewal.input_tokens, renewal.output_tokens, renewal.key_cap_nano) == (25, 10, 5)
    assert list(renewal.so_far) == made_for.so_far()
    assert not exchange().renewal().HasField("key_cap_nano")


def test_a_request_that_was_answered_in_part_is_charged_as_one_when_its_client_left() -> None:
    for tokens, requests in ((Tokens(input=5, output=1), 1), (Tokens(input=5), 0)):
        made_for = exchange()
        attempt = begun(made_for)
        attempt.tokens = tokens
        assert made_for.usage_events(NOT_DELIVERED)[0].tokens.requests == requests


def test_a_stream_that_ended_because_nobody_could_be_asked_did_not_exhaust_any_credit() -> None:
    for out, status in (
        (True, events_pb2.USAGE_STATUS_CREDIT_EXHAUSTED),
        (False, events_pb2.USAGE_STATUS_INTERRUPTED),
    ):
        attempt = begun(exchange())
        attempt.ended_by_us(credit_is_out=out)
        assert attempt.status == status
