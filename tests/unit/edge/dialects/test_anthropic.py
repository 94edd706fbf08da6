"""Unit tests of services.edge.dialects.anthropic."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.dialects import anthropic
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import auth_pb2, router_pb2

PICKED = router_pb2.PickResult(base_url="https://api.example", credential="sk-upstream", upstream_model="opus")
BODY = b'{"model":"opus","max_tokens":10,"messages":[{"role":"user","content":"hi"}]}'


def body(**fields: Any) -> bytes:
    whole = {"model": "opus", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}], **fields}
    return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()


def complaint(request: bytes) -> str:
    with pytest.raises(Refusal) as refused:
        anthropic.read_messages(request)
    assert refused.value.kind is Kind.INVALID_REQUEST
    return refused.value.message


# ---- requests ----


def test_what_is_needed_of_a_request_is_read() -> None:
    request = anthropic.read_messages(body(stream=True, temperature=0.5, system="x"))
    assert (request.model, request.max_tokens, request.stream) == ("opus", 10, True)
    assert anthropic.read_messages(BODY).stream is False


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (body(model=...), "model: field is required"),
        (body(max_tokens=...), "max_tokens: field is required"),
        (body(messages=...), "messages: field is required"),
        (body(model=""), "model: must be 1 to 200 characters long"),
        (body(model="x" * 201), "model: must be 1 to 200 characters long"),
        (body(model=7), "model: expected `str`, got `int`"),
        (body(model=None), "model: expected `str`, got `null`"),
        (body(max_tokens="10"), "max_tokens: expected `int`, got `str`"),
        (body(max_tokens=1.5), "max_tokens: expected `int`, got `float`"),
        (body(max_tokens=True), "max_tokens: expected `int`, got `bool`"),
        (body(max_tokens=0), "max_tokens: must be at least 1"),
        (body(max_tokens=-1), "max_tokens: must be at least 1"),
        (body(max_tokens=2**31), "max_tokens: must be at most 2147483647"),
        (body(max_tokens=2**64), "max_tokens: must be at most 2147483647"),
        (body(max_tokens=10**400), "max_tokens: must be at most 2147483647"),
        (body(messages={}), "messages: expected `array`, got `object`"),
        (body(messages="hi"), "messages: expected `array`, got `str`"),
        (body(messages=None), "messages: expected `array`, got `null`"),
        (body(messages=[]), "messages: at least one message is required"),
        (BODY.replace(b'[{"role":"user","content":"hi"}]', b"[ \n\t]"), "messages: at least one message is required"),
        (body(stream="yes"), "stream: expected `bool`, got `str`"),
        (b"{}", "model: field is required"),
        (b"[]", "the body must be a JSON object"),
        (b"3", "the body must be a JSON object"),
        (b'"opus"', "the body must be a JSON object"),
        (b"null", "the body must be a JSON object"),
        (BODY[:-1] + b',"x":' + b"[" * 100_000, "the body is nested too deeply"),
        (BODY[:-1] + b',"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_001, "the body is nested too deeply"),
    ],
    ids=range(28),
)
def test_a_complaint_names_the_field_and_what_is_wrong_with_it(request_: bytes, message: str) -> None:
    assert complaint(request_) == message


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"{",
        b"not json",
        BODY + b"x",
        BODY[:-1] + b',"x":NaN}',
        BODY[:-1] + b',"x":Infinity}',
        BODY[:-1] + b',"x":01}',
        BODY.replace(b'"opus"', b'"\\ud800"'),
        BODY.replace(b'"opus"', b'"\xff"'),
        b"\xef\xbb\xbf" + BODY,
        BODY.decode().encode("utf-16"),
    ],
    ids=range(11),
)
def test_what_is_no_json_is_said_to_be_none(request_: bytes) -> None:
    assert complaint(request_).startswith("the body is not valid JSON: ")


@given(
    st.one_of(
        st.binary(max_size=100),
        st.lists(
            st.sampled_from(
                [b"{", b"}", b"[", b"]", b'"model":', b'"opus"', b",", b'"max_tokens":', b"1", b'"messages":', b"[1]"]
            ),
            max_size=14,
        ).map(b"".join),
        st.builds(
            lambda field, value: BODY[:-1] + b"," + field + b":" + value + b"}",
            st.sampled_from([b'"model"', b'"max_tokens"', b'"messages"', b'"stream"', b'"x"', b'"\xff"', b'"\\ud800"']),
            st.sampled_from(
                [
                    b"NaN",
                    b"1e999",
                    b"-1",
                    b"9" * 400,
                    b'"\xff"',
                    b'"\\ud800"',
                    b'"\\u0000"',
                    b"[",
                    b"[[]]",
                    b"{}",
                    b'""',
                ]
            ),
        ),
    )
)
def test_no_body_makes_the_reader_raise_anything_but_a_refusal(request_: bytes) -> None:
    try:
        request = anthropic.read_messages(request_)
        sent = anthropic.upstream_request(PICKED, request.model + "-alias", request_, "", [])[2]
    except Refusal:
        return
    auth_pb2.AdmitItem(model=request.model, output_tokens=request.max_tokens)  # what is read can be passed on
    assert sent.startswith(b"{")


# ---- what goes upstream ----


def test_the_body_goes_on_unchanged_where_the_upstream_knows_the_model_by_this_name() -> None:
    strange = b' {"max_tokens" : 1e1,\n"model":"opus", "x":"\xff"} '
    assert anthropic.upstream_request(PICKED, "opus", strange, "", [])[2] is strange


def test_only_the_models_name_changes_for_an_upstream_that_has_another_one() -> None:
    request = (
        b'{ "system" : "\\u00e4\xc3\xa4\\/ \\ud83d\\ude00 \xe2\x80\xa8",\n\t"model": "alias","max_tokens":10 ,'
        b'"temperature":1.50e+00, "n":123456789012345678901234567890, "messages":[ {"content" : "hi"} ],"x":"\xff" }'
    )
    sent = anthropic.upstream_request(PICKED, "alias", request, "", [])[2]
    assert sent == (
        b'{"system":"\\u00e4\xc3\xa4\\/ \\ud83d\\ude00 \xe2\x80\xa8","model":"opus","max_tokens":10,'
        b'"temperature":1.50e+00,"n":123456789012345678901234567890,"messages":[ {"content" : "hi"} ],"x":"\xff"}'
    )


def test_a_name_that_needs_escapes_is_escaped() -> None:
    picked = router_pb2.PickResult(base_url="https://api", credential="k", upstream_model='a"b\\c\u2028')
    sent = anthropic.upstream_request(picked, "opus", BODY, "", [])[2]
    assert json.loads(sent)["model"] == 'a"b\\c\u2028'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8).filter(lambda name: name != "model"), JSON, max_size=5), st.booleans())
def test_an_aliased_request_means_the_same_but_for_the_model(fields: dict[str, Any], ascii_only: bool) -> None:
    try:
        request = json.dumps({**fields, "model": "alias"}, ensure_ascii=ascii_only, indent=1).encode()
    except UnicodeEncodeError:
        return
    sent = anthropic.upstream_request(PICKED, "alias", request, "", [])[2]
    assert json.loads(sent) == {**fields, "model": "opus"}


def test_a_field_name_that_is_no_text_is_refused_where_it_would_have_to_be_written_anew() -> None:
    with pytest.raises(Refusal) as refused:
        anthropic.upstream_request(PICKED, "alias", BODY[:-1] + b',"\xff":1}', "", [])
    assert refused.value.kind is Kind.INVALID_REQUEST


def test_an_upstream_gets_its_own_credential_the_clients_headers_and_the_query() -> None:
    url, headers, _ = anthropic.upstream_request(PICKED, "opus", BODY, "beta=true", [(b"anthropic-beta", b"x")])
    assert url == "https://api.example/v1/messages?beta=true"
    assert headers == [
        (b"anthropic-beta", b"x"),
        (b"x-api-key", b"sk-upstream"),
        (b"content-type", b"application/json"),
        (b"accept-encoding", b"identity"),
        (b"anthropic-version", b"2023-06-01"),
    ]


def test_the_clients_version_is_kept() -> None:
    url, headers, _ = anthropic.upstream_request(PICKED, "opus", BODY, "", [(b"anthropic-version", b"2027-01-01")])
    assert url == "https://api.example/v1/messages"
    assert [value for name, value in headers if name == b"anthropic-version"] == [b"2027-01-01"]


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
    assert anthropic.upstream_error(500, answer).type == type_


@given(st.binary(max_size=100))
def test_no_error_of_an_upstream_makes_its_reader_raise(answer: bytes) -> None:
    assert anthropic.upstream_error(500, answer).type in ("", *API_TYPES)


# ---- models ----


def test_a_list_of_models_is_a_page_of_its_own() -> None:
    models = [
        router_pb2.Model(model="haiku", display_name="Haiku", created_ms=1_790_000_000_999),
        router_pb2.Model(model="opus", display_name="Opus", created_ms=0),
    ]
    listed = anthropic.model_list(models)
    assert listed == {
        "data": [
            {"type": "model", "id": "haiku", "display_name": "Haiku", "created_at": "2026-09-21T14:13:20Z"},
            {"type": "model", "id": "opus", "display_name": "Opus", "created_at": "1970-01-01T00:00:00Z"},
        ],
        "first_id": "haiku",
        "last_id": "opus",
        "has_more": False,
    }


def test_a_list_without_models_has_no_first_and_no_last() -> None:
    assert anthropic.model_list([]) == {"data": [], "first_id": None, "last_id": None, "has_more": False}
