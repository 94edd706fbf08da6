"""Answers and streams of the Responses API have the real API's fields and order, and say the same."""

import json
from typing import Any

import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from services.simulator.responses import answer, call_ids, events
from services.simulator.responses_request import read
from services.simulator.said import plan
from services.simulator.script import NO_SCRIPT, Script
from tests.unit.simulator.requests import SCHEMA, body, unknown_fields

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
ID = "resp_0123456789abcdef01"
SCRIPTS = [
    NO_SCRIPT,
    Script(tokens=1),
    Script(tool=3, tokens=2),
    Script(thinking=3, tool=1, cache_read=5, cache_write_5m=6),
]
CUSTOM = {"type": "custom", "name": "patch"}


def plain(script: Script, **fields: Any) -> Response:
    asked = read(body({"model": "m", "input": "hi"} | fields), lambda _: None)
    return Response.model_validate_json(answer(asked, plan(asked, script, thoughts_count=True), ID, 7), strict=True)


def stream(script: Script, **fields: Any) -> list[Any]:
    asked = read(body({"model": "m", "input": "hi", "stream": True} | fields), lambda _: None)
    said = plan(asked, script, thoughts_count=True)
    found = []
    for number, event in enumerate(events(asked, said, script, ID, 7)):
        name, data, *rest = event.data.split(b"\n")
        assert rest == [b"", b""]
        told = json.loads(data[6:])
        assert name == b"event: " + told["type"].encode()
        assert told["sequence_number"] == number
        found.append(EVENT.validate_json(data[6:], strict=True))
    return found


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("tools", [[], [CUSTOM]])
def test_answers_and_events_have_the_real_apis_fields_and_no_others(script: Script, tools: list[Any]) -> None:
    assert unknown_fields(plain(script, tools=tools, include=["reasoning.encrypted_content"])) == []
    for event in stream(script, tools=tools):
        assert unknown_fields(event) == []


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("tools", [[], [CUSTOM]])
def test_a_stream_says_what_the_plain_answer_says(script: Script, tools: list[Any]) -> None:
    whole, found = plain(script, tools=tools), stream(script, tools=tools)
    assert found[-1].response == whole
    assert [event.item for event in found if event.type == "response.output_item.done"] == whole.output
    for index, item in enumerate(whole.output):
        mine = [event for event in found if getattr(event, "output_index", None) == index]
        said = "".join(event.delta for event in mine if event.type.endswith(".delta"))
        if item.type == "message":
            assert said == item.content[0].text  # type: ignore[union-attr]
        elif item.type == "reasoning":
            assert said == item.summary[0].text
        elif item.type == "function_call":
            assert said == item.arguments
        elif item.type == "custom_tool_call":
            assert said == item.input
        assert {getattr(event, "item_id", item.id) for event in mine} == {item.id}


def test_a_stream_has_its_events_in_the_real_apis_order() -> None:
    types = [event.type.removeprefix("response.") for event in stream(Script(tokens=2, thinking=1, tool=1))]
    deltas = types.count("function_call_arguments.delta")
    assert types == [
        *("created", "in_progress", "output_item.added", "reasoning_summary_part.added"),
        *("reasoning_summary_text.delta", "reasoning_summary_text.done", "reasoning_summary_part.done"),
        *("output_item.done", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "output_item.added"),
        *["function_call_arguments.delta"] * deltas,
        *("function_call_arguments.done", "output_item.done", "completed"),
    ]


def test_an_answer_that_met_its_limit_is_incomplete() -> None:
    whole = plain(Script(tokens=50), max_output_tokens=16)
    assert (whole.status, whole.usage and whole.usage.output_tokens) == ("incomplete", 16)
    assert whole.incomplete_details is not None
    assert whole.incomplete_details.reason == "max_output_tokens"
    assert stream(Script(tokens=50), max_output_tokens=16)[-1].type == "response.incomplete"


def test_usage_tells_the_cache_and_thoughts() -> None:
    usage = plain(Script(tokens=9, thinking=3, input_tokens=4, cache_read=5, cache_write_5m=6)).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (15, 12, 27)
    assert (usage.input_tokens_details.cached_tokens, usage.output_tokens_details.reasoning_tokens) == (5, 3)


def test_a_scripted_error_ends_the_stream_and_nothing_follows() -> None:
    failed = stream(Script(tokens=5, error_after=3))[-1]
    assert (failed.type, failed.response.status) == ("response.failed", "failed")
    assert failed.response.error.code == "server_error"
    [first] = stream(Script(error_first=1))
    assert (first.type, first.message) == ("error", "scripted")


def test_an_answer_repeats_its_request_and_obeys_its_schema() -> None:
    text = {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}}
    whole = plain(NO_SCRIPT, text=text, instructions="rules", metadata={"a": "b"}, temperature=0.5, store=False)
    assert (whole.instructions, whole.metadata, whole.temperature) == ("rules", {"a": "b"}, 0.5)
    assert json.loads(whole.output_text) == {"city": "naïve 東京", "days": ["monday"]}


def test_the_ids_of_calls_are_those_that_may_be_answered() -> None:
    asked = read(body({"model": "m", "input": "hi"}), lambda _: None)
    said = plan(asked, Script(tool=2))
    calls = {item.call_id for item in plain(Script(tool=2)).output if item.type == "function_call"}
    assert calls == call_ids(said, ID)
