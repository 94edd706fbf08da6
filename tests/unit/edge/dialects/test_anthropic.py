"""Unit tests of services.edge.dialects.anthropic."""

import json

import pytest
from anthropic.types import ModelInfo
from hypothesis import given
from hypothesis import strategies as st

from services.edge.brand import BUILT_IN
from services.edge.dialects import anthropic, upstream_errors
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import router_pb2

# ---- errors ----

API_TYPES = {
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "billing_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "timeout_error",
    "api_error",
    "overloaded_error",
    "upstream_error",
    "not_implemented_error",
}


@pytest.mark.parametrize("kind", Kind)
def test_every_kind_of_the_catalogue_has_its_form(kind: Kind) -> None:
    status, headers, answer = anthropic.error_answer(Refusal(kind, "why not"), "req_1")
    assert status == kind.http_status
    assert (b"content-type", b"application/json") in headers
    error = json.loads(answer)
    assert error.keys() == {"type", "error", "request_id"}
    assert error["type"] == "error"
    assert error["error"]["type"] in API_TYPES
    assert error["error"]["message"] == "why not (request id: req_1)"
    assert error["request_id"] == "req_1"


@pytest.mark.parametrize("kind", Kind)
def test_what_no_retry_can_mend_says_so(kind: Kind) -> None:
    _, headers, _ = anthropic.error_answer(Refusal(kind, "why not"), "req_1")
    told = dict(headers).get(b"x-should-retry")
    assert told == (b"false" if kind.http_status in (401, 402, 403) else None)


@pytest.mark.parametrize("kind", Kind)
def test_what_may_be_retried_soon_says_when(kind: Kind) -> None:
    _, headers, _ = anthropic.error_answer(Refusal(kind, "why not"), "req_1")
    assert (b"retry-after" in dict(headers)) == (kind.http_status in (429, 503, 529))


def test_when_to_ask_again_is_told_exactly_and_in_whole_seconds() -> None:
    for said, told, exact in (("16001", b"17", b"16001"), ("17000", b"17", b"17000"), ("", b"5", None)):
        _, headers, _ = anthropic.error_answer(Refusal(Kind.UPSTREAM_THROTTLED, "slow", retry_after_ms=said), "req_1")
        assert dict(headers)[b"retry-after"] == told
        assert dict(headers).get(b"retry-after-ms") == exact


def test_an_error_type_of_the_upstream_goes_before_ours() -> None:
    refusal = Refusal(Kind.UPSTREAM_FAILED, "it failed", upstream_error_type="api_error")
    assert anthropic.error_object(refusal, "req_1")["error"]["type"] == "api_error"
    empty = Refusal(Kind.UPSTREAM_FAILED, "it failed", upstream_error_type="")
    assert anthropic.error_object(empty, "req_1")["error"]["type"] == "upstream_error"


def test_an_error_event_stands_apart_from_an_event_that_was_cut() -> None:
    refusal = Refusal(Kind.UPSTREAM_TIMEOUT, "line\nbreaks\u2028stay inside")
    for mid_event in (False, True):
        event = anthropic.error_event(refusal, "req_1", mid_event)
        assert event.startswith(b"\n\nevent: error\n" if mid_event else b"event: error\n")
        lines = event.strip(b"\n").split(b"\n")
        assert len(lines) == 2
        assert json.loads(lines[1].removeprefix(b"data: ")) == anthropic.error_object(refusal, "req_1")
        assert event.endswith(b"\n\n")


@pytest.mark.parametrize(
    ("answer", "type_"),
    [
        (b'{"type":"error","error":{"type":"overloaded_error","message":"x"}}', "overloaded_error"),
        (b'{"error":{"type":"api_error"}}', "api_error"),
        (b'{"error":{"type":"authentication_error"}}', ""),  # says something of our account
        (b'{"error":{"type":"billing_error"}}', ""),
        (b'{"error":{"type":7}}', ""),
        (b'{"error":{}}', ""),
        (b'{"error":"overloaded_error"}', ""),
        (b'{"error":{"type":"\xff"}}', ""),
        (b'{"error":' + b"[" * 100_000, ""),
        (b"<html>", ""),
        (b"", ""),
    ],
    ids=range(11),
)
def test_only_harmless_error_types_of_an_upstream_are_passed_on(answer: bytes, type_: str) -> None:
    assert upstream_errors.upstream_error(500, answer, router_pb2.UPSTREAM_KIND_ANTHROPIC).type == type_


@given(st.binary(max_size=100))
def test_no_error_of_an_upstream_makes_its_reader_raise(answer: bytes) -> None:
    assert upstream_errors.upstream_error(500, answer, router_pb2.UPSTREAM_KIND_ANTHROPIC).type in ("", *API_TYPES)


# ---- models ----

ALWAYS = {"created_at": "2021-07-20T00:00:00Z", "lifecycle": "active"}


def test_a_list_of_models_is_a_page_of_its_own() -> None:
    models = [
        router_pb2.Model(model="haiku", display_name="Haiku", created_ms=1_790_000_000_999),
        router_pb2.Model(model="openai/gpt-5.2", display_name="openai/gpt-5.2"),
    ]
    listed = anthropic.model_list(models, BUILT_IN)
    for model in listed["data"]:
        assert not ModelInfo.model_validate_json(json.dumps(model), strict=True).__pydantic_extra__
    assert listed == {
        "data": [
            {"type": "model", "id": "haiku", "display_name": "Haiku", **ALWAYS},
            {"type": "model", "id": "openai/gpt-5.2", "display_name": "openai/gpt-5.2", **ALWAYS},
        ],
        "first_id": "haiku",
        "last_id": "openai/gpt-5.2",
        "has_more": False,
    }


def test_a_list_without_models_has_no_first_and_no_last() -> None:
    assert anthropic.model_list([], BUILT_IN) == {"data": [], "first_id": None, "last_id": None, "has_more": False}
