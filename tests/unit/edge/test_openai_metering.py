"""What OpenAI's answers say of tokens, in the classes that are billed."""

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.metering import StreamMeter
from services.edge.openai_metering import ChatMeter, ResponsesMeter, of_embeddings, of_openai_answer
from services.shared.pricing import Tokens

DETAILS = {"cached_tokens": 70, "cache_write_tokens": 30}
CHAT_USAGE = {"prompt_tokens": 112, "completion_tokens": 9, "prompt_tokens_details": DETAILS}
RESPONSES_USAGE = {"input_tokens": 112, "output_tokens": 9, "input_tokens_details": DETAILS}
TOKENS = Tokens(input=12, output=9, cache_read=70, cache_write_5m=30)


def frame(data: dict[str, Any], name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(data).encode() + b"\n\n"


def chunk(delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    return frame({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


CHAT = (
    chunk({"role": "assistant"})
    + chunk({"content": 'naïve "usage": {"prompt_tokens": 9999}'})
    + chunk({}, "stop")
    + frame({"choices": [], "usage": CHAT_USAGE})
    + b"data: [DONE]\n\n"
)
RESPONSES = frame({"type": "response.output_text.delta", "delta": 'a "usage" 東京'}) + frame(
    {"type": "response.completed", "response": {"status": "completed", "usage": RESPONSES_USAGE}}, "response.completed"
)


@pytest.mark.parametrize("usage", [CHAT_USAGE, RESPONSES_USAGE])
def test_what_came_from_a_cache_and_went_into_it_is_no_input(usage: dict[str, Any]) -> None:
    assert of_openai_answer(json.dumps({"usage": usage}).encode(), 100) == (TOKENS, False)


def test_details_that_exceed_the_prompt_are_not_believed() -> None:
    details = {"cached_tokens": 80, "cache_write_tokens": 80}
    usage = {"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": details}
    tokens, _ = of_openai_answer(json.dumps({"usage": usage}).encode(), 100)
    assert tokens == Tokens(input=0, output=1, cache_read=80, cache_write_5m=20)


@pytest.mark.parametrize(("meter", "stream"), [(ChatMeter, CHAT), (ResponsesMeter, RESPONSES)])
@given(cuts=st.lists(st.integers(0, 500), max_size=12))
def test_a_stream_says_the_same_however_it_is_cut(meter: type[StreamMeter], stream: bytes, cuts: list[int]) -> None:
    fed = meter()
    for start, end in itertools.pairwise([0, *sorted(cuts), max(500, len(stream))]):
        fed.feed(stream[start:end])
    assert fed.result(100) == (TOKENS, False)


def test_what_was_thought_is_output_also_where_only_the_total_holds_it() -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}
    assert of_openai_answer(json.dumps({"usage": usage}).encode(), 0) == (Tokens(input=20, output=603), False)


@pytest.mark.parametrize("total", [None, -5, 0, 21])
def test_a_total_that_holds_no_more_than_its_parts_changes_nothing(total: int | None) -> None:
    usage = {"prompt_tokens": 20, "completion_tokens": 1, "total_tokens": total}
    assert of_openai_answer(json.dumps({"usage": usage}).encode(), 0) == (Tokens(input=20, output=1), False)


@pytest.mark.parametrize("usage", [{"usage": {"prompt_tokens": 8, "total_tokens": 8}}, {}])
def test_embeddings_are_no_output(usage: dict[str, Any]) -> None:
    answer = {"data": [{"embedding": [0.123456789] * 1536}], **usage}
    assert of_embeddings(json.dumps(answer).encode(), 8) == (Tokens(input=8), not usage)


def test_after_the_reason_to_finish_the_usage_is_still_awaited() -> None:
    meter = ChatMeter()
    meter.feed(chunk({"content": "a"}) + chunk({}, "stop"))
    assert (meter.complete, meter.all_said) == (True, False)
    meter.feed(frame({"choices": [], "usage": CHAT_USAGE}))
    assert meter.all_said


def test_a_stream_that_finishes_because_it_failed_is_not_complete() -> None:
    meter = ChatMeter()
    failed = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
    meter.feed(chunk({"content": "a"}))
    meter.feed(
        frame({"id": "gen-1", "error": {"code": 502, "message": "no"}, "choices": [failed]}) + b"data: [DONE]\n\n"
    )
    assert (meter.complete, meter.ended_with_error) == (False, True)


def long_chunk(text: str) -> bytes:
    """A chunk with all that OpenAI puts around a piece of text."""
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None}
    head = {"id": f"chatcmpl-{'x' * 29}", "object": "chat.completion.chunk", "created": 1_795_272_354}
    named = {"model": "gpt-5.2-2025-12-11", "service_tier": "default", "system_fingerprint": "fp_51e1070cf2"}
    return frame({**head, **named, "usage": None, "choices": [choice], "obfuscation": "aG5"})


def long_delta(text: str) -> bytes:
    """An event with all that OpenAI puts around a piece of text."""
    type_ = "response.output_text.delta"
    place = {"sequence_number": 4, "item_id": f"msg_{'x' * 50}", "output_index": 0, "content_index": 0}
    return frame({"type": type_, **place, "delta": text, "logprobs": [], "obfuscation": "aG5vcGU"}, type_)


@pytest.mark.parametrize(("meter", "said"), [(ChatMeter, long_chunk), (ResponsesMeter, long_delta)])
@pytest.mark.parametrize(("text", "tokens"), [(" word", 1), (" word" * 80, 100)])
def test_what_stands_around_the_text_is_no_output(
    meter: type[StreamMeter], said: Callable[[str], bytes], text: str, tokens: int
) -> None:
    fed = meter()
    for _ in range(100):
        fed.feed(said(text))
    assert 99 * tokens <= fed.result(100)[0].output <= 130 * tokens
    assert 99 * tokens <= fed.produced_at_most <= 200 * tokens


def test_pieces_of_calls_and_thoughts_are_measured_too() -> None:
    fed = ChatMeter()
    for index in range(50):
        call = {"index": 0, "function": {"arguments": f"argument {index}"}}
        fed.feed(chunk({"reasoning_content": "I think"}) + chunk({"tool_calls": [call]}) + b"data: {\n\n")
    assert 100 <= fed.produced_at_most <= 300


def test_all_is_said_of_a_completion_when_it_has_ended_and_said_its_usage() -> None:
    fed = ChatMeter()
    fed.feed(chunk({"content": "a"}) + chunk({}, "stop"))
    assert (fed.complete, fed.all_said) == (True, False)
    fed.feed(frame({"choices": [], "usage": CHAT_USAGE}))
    assert fed.all_said


def test_several_choices_have_ended_when_all_of_them_have() -> None:
    fed = ChatMeter(choices=2)
    for sent, complete in (
        (chunk({"content": "a"}), False),
        (chunk({}, "stop"), False),
        (chunk({"content": "b"}), False),
        (chunk({}, "length"), True),
    ):
        fed.feed(sent)
        assert fed.complete is complete


def test_an_upstream_that_gives_one_choice_of_several_has_ended_when_it_says_so() -> None:
    fed = ChatMeter(choices=5)
    fed.feed(chunk({"content": "a"}) + chunk({}, "stop"))
    assert not fed.complete
    fed.feed(b"data: [DONE]\n\n")
    assert fed.complete
