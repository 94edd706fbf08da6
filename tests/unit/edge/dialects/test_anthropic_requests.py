"""Unit tests of services.edge.dialects.anthropic_requests."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.dialects.anthropic_requests import read_count_tokens, read_messages
from services.edge.dialects.asked import Defaults
from services.shared.errors import Kind, Refusal
from tests.unit.edge.test_passages import passage
from tollhouse.v1 import auth_pb2

BODY = b'{"model":"opus","max_tokens":10,"messages":[{"role":"user","content":"hi"}]}'
DEFAULTS = Defaults(max_tokens=0, output_tokens=16_384, thinking_tokens=8192)


def body(**fields: Any) -> bytes:
    whole = {"model": "opus", "max_tokens": 10, "messages": [{"role": "user", "content": "hi"}], **fields}
    return json.dumps({name: value for name, value in whole.items() if value is not ...}).encode()


def complaint(request: bytes) -> str:
    with pytest.raises(Refusal) as refused:
        read_messages(request, DEFAULTS)
    assert refused.value.kind is Kind.INVALID_REQUEST
    return refused.value.message


def test_what_is_needed_of_a_request_is_read() -> None:
    request = read_messages(body(stream=True, temperature=0.5, system="x"), DEFAULTS)
    assert (request.model, request.max_tokens, request.stream) == ("opus", 10, True)
    assert read_messages(BODY, DEFAULTS).stream is False


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
        request = read_messages(request_, DEFAULTS)
        sent = passage(request_, request.model + "-alias").body
    except Refusal:
        return
    auth_pb2.AdmitItem(model=request.model, output_tokens=request.max_tokens)  # what is read can be passed on
    assert sent.startswith(b"{")


def test_a_brand_may_fill_in_a_bound() -> None:
    asked = read_messages(body(max_tokens=...), Defaults(4096, 1, 1))
    assert (asked.max_tokens, asked.filled) == (4096, 4096)
    assert read_messages(body(), Defaults(4096, 1, 1)).filled == 0


@pytest.mark.parametrize(
    ("thinking", "unseen"),
    [
        (None, 0),
        ({"type": "disabled"}, 0),
        ({"type": "enabled", "budget_tokens": 2000}, 2000),
        ({"type": "adaptive"}, 8192),
        ({"type": "enabled", "budget_tokens": 90_000}, 64_000),
    ],
)
def test_thinking_that_may_not_be_seen_is_reckoned_with(thinking: object, unseen: int) -> None:
    assert read_messages(body(thinking=thinking, max_tokens=64_000), DEFAULTS).unseen == unseen


def test_counting_tokens_produces_none() -> None:
    assert read_count_tokens(body(max_tokens=...), DEFAULTS).max_tokens == 0
