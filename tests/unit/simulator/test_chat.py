"""Answers and streams of Chat Completions have the real API's fields, and say the same."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

from services.simulator.chat import answer, events
from services.simulator.chat_request import read
from services.simulator.said import plan
from services.simulator.script import NO_SCRIPT, Script
from tests.unit.simulator.requests import SCHEMA, body, chat, function, unknown_fields

CHUNK: TypeAdapter[ChatCompletionChunk] = TypeAdapter(ChatCompletionChunk)
SCRIPTS = [
    NO_SCRIPT,
    Script(tokens=1),
    Script(tool=3, tokens=2),
    Script(thinking=3, tool=1, cache_read=5, cache_write_5m=6, cache_write_1h=7),
]
USAGE = {"stream_options": {"include_usage": True}}


def plain(script: Script, **fields: Any) -> ChatCompletion:
    asked = read(body(chat(**fields)))
    raw = answer(asked, plan(asked, script, thoughts_count=True), "chatcmpl-0123456789abcdef01", 7)
    return ChatCompletion.model_validate_json(raw, strict=True)


def frames(script: Script, **fields: Any) -> list[bytes]:
    asked = read(body(chat(stream=True, **fields)))
    said = plan(asked, script, thoughts_count=True)
    return [event.data for event in events(asked, said, script, "chatcmpl-0123456789abcdef01", 7)]


def stream(script: Script, **fields: Any) -> list[ChatCompletionChunk]:
    found = frames(script, **fields)
    assert all(frame.startswith(b"data: ") and frame.endswith(b"\n\n") for frame in found)
    assert found.pop() == b"data: [DONE]\n\n"
    return [CHUNK.validate_json(frame[6:], strict=True) for frame in found]


@pytest.mark.parametrize("script", SCRIPTS)
def test_answers_and_chunks_have_the_real_apis_fields_and_that_of_reasoning_models(script: Script) -> None:
    allowed = {"reasoning_content"} if script.thinking else set()
    assert set(unknown_fields(plain(script))) == allowed
    assert {name for chunk in stream(script, **USAGE) for name in unknown_fields(chunk)} == allowed


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("n", [1, 2])
def test_a_stream_says_what_the_plain_answer_says(script: Script, n: int) -> None:
    whole, chunks = plain(script, n=n), stream(script, n=n, **USAGE)
    for index, choice in enumerate(whole.choices):
        mine = [one for chunk in chunks for one in chunk.choices if one.index == index]
        assert "".join(one.delta.content or "" for one in mine) == choice.message.content
        thoughts = "".join(getattr(one.delta, "reasoning_content", "") for one in mine)
        assert thoughts == getattr(choice.message, "reasoning_content", "")
        calls: dict[int, dict[str, str]] = {}
        for call in [call for one in mine for call in one.delta.tool_calls or ()]:
            assert call.function is not None
            known = calls.setdefault(call.index, {"id": call.id or "", "name": call.function.name or "", "text": ""})
            known["text"] += call.function.arguments or ""
        expected = [
            {"id": call.id, "name": call.function.name, "text": call.function.arguments}
            for call in choice.message.tool_calls or ()
            if call.type == "function"
        ]
        assert list(calls.values()) == expected
        assert [one.finish_reason for one in mine if one.finish_reason] == [choice.finish_reason]
    assert chunks[-1].usage == whole.usage
    assert chunks[-1].choices == []


def test_usage_is_told_in_the_last_chunk_to_who_asks_and_to_nobody_else() -> None:
    assert all(b'"usage"' not in frame.replace(b'\\"usage\\"', b"") for frame in frames(NO_SCRIPT))
    assert [chunk.usage is not None for chunk in stream(Script(tokens=1), **USAGE)] == [False] * 3 + [True]


def test_the_caches_tokens_are_among_the_prompts_and_thoughts_among_the_completions() -> None:
    script = Script(tokens=9, thinking=3, input_tokens=4, cache_read=5, cache_write_5m=6)
    usage = plain(script).usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert usage.completion_tokens_details is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (15, 12, 27)
    assert usage.prompt_tokens_details.cached_tokens == 5
    assert usage.completion_tokens_details.reasoning_tokens == 3


@pytest.mark.parametrize(
    ("script", "fields", "reason"),
    [
        (Script(tokens=5), {"max_tokens": 5}, "length"),
        (Script(tokens=5), {"max_completion_tokens": 6}, "stop"),
        (Script(thinking=9), {"max_completion_tokens": 4}, "length"),
        (Script(tool=1), {}, "tool_calls"),
    ],
)
def test_an_answer_says_why_it_ended(script: Script, fields: dict[str, Any], reason: str) -> None:
    assert plain(script, **fields).choices[0].finish_reason == reason


def test_parallel_calls_have_ids_of_their_own_and_arguments_that_careless_translations_lose() -> None:
    calls = plain(Script(tool=3), tools=[function("a"), function("b")]).choices[0].message.tool_calls or []
    told = [(call.function.name, json.loads(call.function.arguments)) for call in calls if call.type == "function"]
    assert [name for name, _ in told] == ["a", "b", "a"]
    assert [given["number"] for _, given in told] == [0, 1, 2]
    assert len({call.id for call in calls}) == 3
    assert told[0][1]["big"] == 2**53 + 1
    assert {"\\", "\n", "\u2028", "東", "😀", '"'} <= set(told[0][1]["text"])
    assert len(told[0][1]["long"]) == 1000


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        ({"parallel_tool_calls": False}, 1),
        ({"tool_choice": "none"}, 0),
        ({"tool_choice": {"type": "function", "function": {"name": "b"}}}, 2),
    ],
)
def test_calls_are_as_many_as_the_choice_allows(fields: dict[str, Any], count: int) -> None:
    fields |= {"tools": [function("a"), function("b")]}
    calls = plain(Script(tool=2), **fields).choices[0].message.tool_calls or []
    assert len(calls) == count
    if isinstance(fields.get("tool_choice"), dict):
        assert {call.function.name for call in calls if call.type == "function"} == {"b"}


def test_an_answer_obeys_its_schema() -> None:
    fields = {
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}
    }
    content = plain(NO_SCRIPT, **fields).choices[0].message.content
    assert json.loads(content or "") == {"city": "naïve 東京", "days": ["monday"]}
    told = {"response_format": {"type": "json_object"}, "messages": [{"role": "user", "content": "in json"}]}
    assert isinstance(json.loads(plain(NO_SCRIPT, **told).choices[0].message.content or ""), dict)


@pytest.mark.parametrize("after", [0, 3])
def test_a_scripted_error_ends_the_stream_and_nothing_follows(after: int) -> None:
    found = frames(Script(tokens=5, error_after=after, error_type="api_error"))
    assert len(found) == after + 2
    error = json.loads(found[-1][6:])["error"]
    assert error == {"message": "scripted", "type": "server_error", "param": None, "code": None}
    assert frames(Script(error_first=1, error_type="api_error")) == found[-1:]


def test_what_was_understood_is_echoed() -> None:
    content = plain(Script(echo=1), tools=[function()], temperature=0.5, stop="x").choices[0].message.content
    assert json.loads(content or "") == {
        "turns": [{"role": "user", "texts": ["Hello there"]}],
        "tools": ["look"],
        "temperature": 0.5,
        "stop": ["x"],
    }
