"""Unit tests of services.edge.attempts and of how upstreams' errors are read."""

import json

import pytest

from services.edge import attempts
from services.edge.dialects import anthropic, upstream_errors
from services.edge.exchange import Attempt
from services.edge.openai_metering import ResponsesMeter
from services.edge.upstream import Failure, UpstreamFailed
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import router_pb2

KIND = router_pb2.UPSTREAM_KIND_ANTHROPIC


def error(type_: str, message: str = "no", code: str | None = None) -> bytes:
    return json.dumps({"type": "error", "error": {"type": type_, "message": message, "code": code}}).encode()


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (401, error("authentication_error"), router_pb2.OUTCOME_REFUSED),
        (403, error("permission_error"), router_pb2.OUTCOME_FORBIDDEN),
        (402, error("billing_error"), router_pb2.OUTCOME_OUT_OF_CREDIT),
        (429, error("rate_limit_error"), router_pb2.OUTCOME_THROTTLED),
        (429, error("requests", code="insufficient_quota"), router_pb2.OUTCOME_OUT_OF_CREDIT),
        (529, error("overloaded_error"), router_pb2.OUTCOME_OVERLOADED),
        (503, error("overloaded_error"), router_pb2.OUTCOME_OVERLOADED),
        (503, error("api_error"), router_pb2.OUTCOME_UPSTREAM_FAULT),
        (500, b"<html>", router_pb2.OUTCOME_UPSTREAM_FAULT),
        (302, b"", router_pb2.OUTCOME_UPSTREAM_FAULT),
        (451, b"", router_pb2.OUTCOME_CLIENT_FAULT),
        (406, b"", router_pb2.OUTCOME_CLIENT_FAULT),
        (408, b"", router_pb2.OUTCOME_UPSTREAM_FAULT),
        (400, error("invalid_request_error"), router_pb2.OUTCOME_CLIENT_FAULT),
        (404, error("not_found_error"), router_pb2.OUTCOME_CLIENT_FAULT),
        (413, error("request_too_large"), router_pb2.OUTCOME_CLIENT_FAULT),
        (422, b"", router_pb2.OUTCOME_CLIENT_FAULT),
        (
            400,
            error("invalid_request_error", "Your credit balance is too low to access the Anthropic API."),
            router_pb2.OUTCOME_OUT_OF_CREDIT,
        ),
        (
            400,
            error("invalid_request_error", "Unexpected value(s) `Your credit balance is too low` for the header"),
            router_pb2.OUTCOME_CLIENT_FAULT,
        ),
        (
            400,
            error("invalid_request_error", "You have reached your specified API usage limits. You will regain access"),
            router_pb2.OUTCOME_OUT_OF_CREDIT,
        ),
        (
            400,
            error("invalid_request_error", "This organization has been disabled."),
            router_pb2.OUTCOME_REFUSED,
        ),
    ],
)
def test_whose_fault_an_error_is(status: int, body: bytes, outcome: router_pb2.Outcome.ValueType) -> None:
    assert upstream_errors.upstream_error(status, body, KIND).outcome == outcome


def test_a_signature_of_somebody_else_is_told_from_other_faults_of_the_client() -> None:
    said = "messages.1.content.0: Invalid `signature` in `thinking` block"
    assert upstream_errors.upstream_error(400, error("invalid_request_error", said), KIND).signature_invalid
    assert not upstream_errors.upstream_error(
        400, error("invalid_request_error", "max_tokens: too many"), KIND
    ).signature_invalid


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (error("overloaded_error"), Kind.UPSTREAM_OVERLOADED),
        (error("rate_limit_error"), Kind.UPSTREAM_THROTTLED),
        (error("api_error"), Kind.UPSTREAM_FAILED),
        (error("authentication_error"), Kind.UPSTREAM_FAILED),
        (b'{"type": "message_start"}', Kind.UPSTREAM_FAILED),
        (b"", Kind.UPSTREAM_FAILED),
    ],
)
def test_a_stream_that_breaks_before_its_content_can_be_tried_elsewhere(data: bytes, kind: Kind) -> None:
    refusal = attempts.broken(Attempt(1, "r:1"), data)
    assert refusal is not None
    assert refusal.kind is kind


def test_a_stream_that_begins_with_an_error_of_the_clients_goes_on_to_it() -> None:
    attempt = Attempt(1, "r:1")
    assert attempts.broken(attempt, error("invalid_request_error")) is None
    assert attempt.outcome == router_pb2.OUTCOME_CLIENT_FAULT


def in_response(code: str) -> bytes:
    return json.dumps({"type": "response.failed", "response": {"error": {"code": code, "message": "no"}}}).encode()


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        (in_response("invalid_prompt"), router_pb2.OUTCOME_CLIENT_FAULT),
        (in_response("failed_to_download_image"), router_pb2.OUTCOME_CLIENT_FAULT),
        (in_response("rate_limit_exceeded"), router_pb2.OUTCOME_THROTTLED),
        (in_response("server_error"), router_pb2.OUTCOME_UPSTREAM_FAULT),
        (
            b'{"type": "error", "code": "invalid_prompt", "message": "no", "param": null}',
            router_pb2.OUTCOME_CLIENT_FAULT,
        ),
        (b'{"error": {"type": null, "code": "context_length_exceeded"}}', router_pb2.OUTCOME_CLIENT_FAULT),
        (b'{"error": {"message": "no", "code": 400}, "choices": []}', router_pb2.OUTCOME_CLIENT_FAULT),
        (b'{"error": {"message": "no", "code": 429}, "choices": []}', router_pb2.OUTCOME_THROTTLED),
        (b'{"error": {"message": "no", "code": 502}, "choices": []}', router_pb2.OUTCOME_UPSTREAM_FAULT),
    ],
)
def test_whose_fault_an_error_within_a_stream_is(data: bytes, outcome: router_pb2.Outcome.ValueType) -> None:
    assert upstream_errors.stream_error(data).outcome == outcome


@pytest.mark.parametrize(
    ("code", "outcome"),
    [("invalid_prompt", router_pb2.OUTCOME_CLIENT_FAULT), ("server_error", router_pb2.OUTCOME_CUT)],
)
def test_a_stream_that_ends_for_what_its_client_asked_does_not_tell_against_the_account(
    code: str, outcome: router_pb2.Outcome.ValueType
) -> None:
    meter = ResponsesMeter()
    meter.feed(b'event: response.output_text.delta\ndata: {"type": "response.output_text.delta", "delta": "a"}\n\n')
    meter.feed(b"event: response.failed\ndata: " + in_response(code) + b"\n\n")
    attempt = Attempt(1, "r:1")
    attempts.cut(attempt, meter)
    assert attempt.outcome == outcome


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ("API key not valid. Please pass a valid API key.", router_pb2.OUTCOME_REFUSED),
        ("User location is not supported for the API use.", router_pb2.OUTCOME_FORBIDDEN),
        ("Unknown name `API key not valid`", router_pb2.OUTCOME_CLIENT_FAULT),
    ],
)
def test_google_says_with_the_status_of_a_clients_fault_that_our_key_is_not_valid(
    said: str, outcome: router_pb2.Outcome.ValueType
) -> None:
    body = json.dumps([{"error": {"code": 400, "message": said, "status": "INVALID_ARGUMENT"}}]).encode()
    assert upstream_errors.upstream_error(400, body, router_pb2.UPSTREAM_KIND_GEMINI_OPENAI).outcome == outcome


def test_an_error_of_no_type_is_read_all_the_same() -> None:
    body = b'{"error": {"message": "no", "type": null, "code": "insufficient_quota"}}'
    assert upstream_errors.upstream_error(429, body, KIND).outcome == router_pb2.OUTCOME_OUT_OF_CREDIT


def test_an_error_that_is_passed_on_does_not_name_our_account() -> None:
    body = b'{"error": {"message": "no such model", "code": 400},  "user_id": "user_2abc"}'
    assert upstream_errors.without_account(body) == b'{"error":{"message": "no such model", "code": 400}}'
    assert upstream_errors.without_account(error("invalid_request_error")) == error("invalid_request_error")


@pytest.mark.parametrize("body", [b"", b"<html>Apache at relay.example", b'["a"]', b"\xff", b"[" * 100_000])
def test_what_no_api_said_is_not_passed_on(body: bytes) -> None:
    assert upstream_errors.without_account(body) == b""


def test_silence_is_told_as_a_timeout() -> None:
    silent = attempts.failed(Attempt(1, "r:1"), UpstreamFailed(Failure.SILENT, reached=True))
    assert silent.kind is Kind.UPSTREAM_TIMEOUT


THROTTLED_5 = Refusal(Kind.UPSTREAM_THROTTLED, "", retry_after_ms="5000")
THROTTLED_2 = Refusal(Kind.UPSTREAM_THROTTLED, "", retry_after_ms="2000")
OVERLOADED = Refusal(Kind.UPSTREAM_OVERLOADED, "")
FAILED = Refusal(Kind.UPSTREAM_FAILED, "")
NONE_LEFT = Refusal(Kind.NO_HEALTHY_ACCOUNT, "", retry_after_ms="1000")


@pytest.mark.parametrize(
    ("failures", "none_left", "kind", "after_ms"),
    [
        ([THROTTLED_5, THROTTLED_2], None, Kind.UPSTREAM_THROTTLED, "2000"),
        ([THROTTLED_5], THROTTLED_2, Kind.UPSTREAM_THROTTLED, "2000"),
        ([OVERLOADED], OVERLOADED, Kind.UPSTREAM_OVERLOADED, None),
        ([THROTTLED_5], NONE_LEFT, Kind.UPSTREAM_THROTTLED, "1000"),
        ([THROTTLED_5, FAILED], None, Kind.UPSTREAM_FAILED, None),
        ([FAILED, OVERLOADED], NONE_LEFT, Kind.UPSTREAM_FAILED, None),
        ([], NONE_LEFT, Kind.NO_HEALTHY_ACCOUNT, "1000"),
    ],
)
def test_the_client_is_told_what_is_true_of_all(
    failures: list[Refusal], none_left: Refusal | None, kind: Kind, after_ms: str | None
) -> None:
    told = attempts.summary(failures, none_left)
    assert (told.kind, told.details.get("retry_after_ms")) == (kind, after_ms)


def test_thinking_is_taken_out_and_everything_else_keeps_its_bytes() -> None:
    body = (
        b'{"model":"opus","x":1.50,"messages":[{"role":"user","content":"hi thinking"},'
        b'{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"},'
        b'{"type":"redacted_thinking","data":"d"},{"type":"text","text":"\\u00e9"}]},'
        b'{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":"s"}]}]}'
    )
    assert anthropic.without_thinking(body) == (
        b'{"model":"opus","x":1.50,"messages":[{"role":"user","content":"hi thinking"},'
        b'{"role":"assistant","content":[{"type":"text","text":"\\u00e9"}]},'
        b'{"role":"assistant","content":[{"type":"text","text":"(no text)"}]}]}'
    )


def test_openrouters_moderation_blames_the_prompt_and_not_the_account() -> None:
    refused = upstream_errors.upstream_error(403, error("permission_error"), router_pb2.UPSTREAM_KIND_OPENROUTER)
    assert refused.outcome == router_pb2.OUTCOME_CLIENT_FAULT


@pytest.mark.parametrize("messages", ['["thinking"]', "[[]]", '[{"content": 1}, 2]'])
def test_messages_of_another_shape_are_left_for_the_upstream_to_refuse(messages: str) -> None:
    body = f'{{"model": "opus", "messages": {messages}}}'.encode()
    assert anthropic.without_thinking(body) == body


@pytest.mark.parametrize(
    ("status", "body", "unknown"),
    [
        (404, b'{"detail":"Not Found"}', True),
        (404, b"<html>Not Found</html>", True),
        (405, b"", True),
        (404, b'{"error":{"message":"Invalid URL (POST /v1/responses)","param":null,"code":null}}', True),
        (404, b'{"error":{"message":"Item with id \'rs_1\' not found.","param":"input","code":null}}', False),
        (404, b'{"error":{"message":"The model `x` does not exist","param":null,"code":"model_not_found"}}', False),
        (400, b'{"detail":"Not Found"}', False),
    ],
)
def test_an_upstream_without_an_endpoint_is_told_from_one_that_does_not_find_what_a_request_names(
    status: int, body: bytes, unknown: bool
) -> None:
    assert upstream_errors.upstream_error(status, body, router_pb2.UPSTREAM_KIND_OPENAI).route_unknown is unknown
