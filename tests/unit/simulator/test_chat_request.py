"""What Chat Completions refuses, and by which name."""

from typing import Any

import pytest
from hypothesis import given

from services.simulator.asked import Choice, Invalid, Result
from services.simulator.chat_request import read
from tests.unit.simulator.requests import PNG, SCHEMA, VALUES, body, chat, chat_call, chat_turns, function, refusals

LOOSE = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
PART = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [chat_call("c1"), chat_call("c2")]}


def told(id_: str, content: Any = "done") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id_, "content": content}


def format_(**fields: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "n"} | fields}}


def image(url: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"speed": 1}, "speed"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [PART]}]}, "messages[0].content[0].cache_control"),
        ({"messages": [{"role": "user", "content": [{"type": "input_text"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        (chat_turns({"role": "assistant", "content": "x", "reasoning_content": "hm"}), "messages[1].reasoning_content"),
        (image("ftp://a/b.png"), "messages[0].content[0].image_url.url"),
        (image(f"data:image/bmp;base64,{PNG}"), "messages[0].content[0].image_url.url"),
        (image("data:image/png;base64,%%"), "messages[0].content[0].image_url.url"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": -0.1}, "top_p"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"n": 1.5}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
        ({"stop": [1]}, "stop"),
        ({"reasoning_effort": "much"}, "reasoning_effort"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_object"}}, "messages"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        (format_(name="a b", schema=SCHEMA), "response_format.json_schema.name"),
        (format_(schema=LOOSE, strict=True), "response_format.json_schema"),
        ({"tools": []}, "tools"),
        ({"tools": [{"type": "magic"}]}, "tools[0].type"),
        ({"tools": [function("a b")]}, "tools[0].function.name"),
        ({"tools": [function("x" * 65)]}, "tools[0].function.name"),
        ({"tools": [function(parameters={"type": "string"})]}, "tools[0].function.parameters"),
        ({"tools": [function(parameters=LOOSE, strict=True)]}, "tools[0].function.parameters"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"tools": [function()], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [function()], "tool_choice": {"type": "tool"}}, "tool_choice.type"),
        ({"tools": [function()], "tool_choice": {"type": "function", "function": {"name": "b"}}}, "tool_choice"),
        (chat_turns({"role": "assistant", "content": None}), "messages[1].content"),
        (chat_turns({"role": "assistant", "content": "x", "tool_calls": []}), "messages[1].tool_calls"),
        (
            chat_turns({"role": "assistant", "tool_calls": [chat_call("c", arguments={})]}),
            "messages[1].tool_calls[0].function.arguments",
        ),
        (
            chat_turns({"role": "assistant", "tool_calls": [chat_call("c", "a.b")]}),
            "messages[1].tool_calls[0].function.name",
        ),
        (chat_turns(told("c1")), "messages.[1].role"),
        (chat_turns(CALLING, told("c3")), "messages.[2].role"),
        (chat_turns(CALLING, told("c1")), "messages.[3].role"),
        (chat_turns(CALLING, told("c1"), {"role": "user", "content": "and?"}), "messages.[3].role"),
        (chat_turns(CALLING, {"role": "tool", "content": "x"}), "messages[2].tool_call_id"),
    ],
)
def test_what_the_real_api_refuses_is_refused_by_the_name_of_the_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Invalid) as refused:
        read(body(chat(**fields)))
    assert (refused.value.param, refused.value.status) == (param, 400)


def test_calls_answered_in_any_order_are_taken_and_results_are_told() -> None:
    asked = read(body(chat(tools=[function()], **chat_turns(CALLING, told("c2", "two"), told("c1")))))
    assert asked.results == (Result("c2", "two"), Result("c1", "done"))
    assert asked.prompt.startswith("hi\ntwo\ndone\n")


@pytest.mark.parametrize(
    ("choice", "single", "read_as"),
    [
        ("auto", None, Choice()),
        ("none", None, Choice(none=True)),
        ("required", False, Choice(forced=True, single=True)),
        ({"type": "function", "function": {"name": "look"}}, True, Choice(forced=True, name="look")),
    ],
)
def test_a_tools_choice_is_understood(choice: Any, single: bool | None, read_as: Choice) -> None:
    fields = {"tools": [function()], "tool_choice": choice, "parallel_tool_calls": single}
    assert read(body(chat(**fields))).choice == read_as


def test_imitators_take_fields_of_their_own() -> None:
    message = {"role": "user", "content": [PART]}
    assert read(body(chat(provider={"order": []}, messages=[message])), lenient=True).prompt == "x"
    with pytest.raises(Invalid):
        read(body(chat(speed=1)), lenient=True)


def test_images_and_files_are_told_by_their_media_types() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PNG}"}},
    ]
    [turn] = read(body(chat(messages=[{"role": "user", "content": parts}]))).turns
    assert (turn.images, turn.files) == (("image/png", "url"), ("application/pdf",))


@given(VALUES)
def test_no_value_of_any_field_is_more_than_refused(value: Any) -> None:
    assert all(refusals(read, chat(), value))
