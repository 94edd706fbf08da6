"""What the Responses API refuses, and by which name."""

from typing import Any

import pytest
from hypothesis import given

from services.simulator.asked import Asked, Choice, Invalid, Result, Tool
from services.simulator.responses_items import encrypted
from services.simulator.responses_request import read
from tests.unit.simulator.requests import PNG, SCHEMA, VALUES, body, refusals

FUNCTION = {"type": "function", "name": "look", "parameters": {"type": "object"}}
CUSTOM = {"type": "custom", "name": "patch"}
CALL = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "done"}
CUSTOM_CALL = {"type": "custom_tool_call", "call_id": "c2", "name": "patch", "input": "x"}
CUSTOM_OUTPUT = {"type": "custom_tool_call_output", "call_id": "c2", "output": "ok"}


def responses(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "input": "Hello there"} | fields


def asked(**fields: Any) -> Asked:
    return read(body(responses(**fields)), lambda id_: frozenset(("c9",)) if id_ == "resp_known" else None)


def parts(*content: dict[str, Any], role: str = "user") -> dict[str, Any]:
    return {"input": [{"role": role, "content": list(content)}]}


def format_(**fields: Any) -> dict[str, Any]:
    return {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA} | fields}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"messages": []}, "messages"),
        ({"max_tokens": 5}, "max_tokens"),
        ({"input": None}, "input"),
        ({"input": 7}, "input"),
        ({"input": ["hi"]}, "input"),
        ({"input": [{"type": "magic"}]}, "input[0].type"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": None}]}, "input[0].content"),
        (parts({"type": "text", "text": "x"}), "input[0].content[0].type"),
        (parts({"type": "input_text", "text": "x"}, role="assistant"), "input[0].content[0].type"),
        (parts({"type": "input_text"}), "input[0].content[0].text"),
        (parts({"type": "input_image", "image_url": "x"}), "input[0].content[0].image_url"),
        (parts({"type": "input_file", "file_data": "x"}), "input[0].content[0].file_data"),
        ({"instructions": 5}, "instructions"),
        ({"max_output_tokens": 15}, "max_output_tokens"),
        ({"temperature": 3}, "temperature"),
        ({"reasoning": {"effort": "much"}}, "reasoning.effort"),
        ({"truncation": "some"}, "truncation"),
        ({"include": "all"}, "include"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_object"}}}, "input"),
        (format_(schema={"type": "object"}, strict=True), "text.format"),
        ({"tools": [{"type": "function", "function": {"name": "look"}}]}, "tools[0].name"),
        ({"tools": [FUNCTION | {"name": "a b"}]}, "tools[0].name"),
        ({"tools": [CUSTOM | {"name": ""}]}, "tools[0].name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "b"}}, "tool_choice"),
        ({"previous_response_id": "resp_other"}, "previous_response_id"),
        ({"previous_response_id": "resp_known", "conversation": "x"}, "previous_response_id"),
        ({"input": [OUTPUT]}, "input"),
        ({"input": [CALL]}, "input"),
        ({"input": [OUTPUT, CALL]}, "input"),
        ({"input": [CALL, CUSTOM_OUTPUT | {"call_id": "c1"}]}, "input"),
        ({"input": [CALL | {"arguments": {}}]}, "input[0].arguments"),
        ({"input": "and?", "previous_response_id": "resp_known"}, "input"),
    ],
)
def test_what_the_real_api_refuses_is_refused_by_the_name_of_the_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Invalid) as refused:
        asked(**fields)
    assert (refused.value.param, refused.value.status) == (param, 400)


def test_an_item_that_is_nowhere_is_not_found() -> None:
    with pytest.raises(Invalid) as refused:
        asked(input=[{"type": "item_reference", "id": "msg_1"}])
    assert refused.value.status == 404


def test_calls_and_their_outputs_are_told() -> None:
    shown = [{"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"}]
    found = asked(input=[CALL, CUSTOM_CALL, OUTPUT | {"output": shown}, CUSTOM_OUTPUT], tools=[FUNCTION, CUSTOM])
    assert found.results == (Result("c1", "", ("image/png",)), Result("c2", "ok"))
    assert found.tools == (Tool("look"), Tool("patch", custom=True))


def test_outputs_may_answer_the_calls_of_the_previous_response() -> None:
    found = asked(input=[OUTPUT | {"call_id": "c9"}], previous_response_id="resp_known")
    assert found.results == (Result("c9", "done"),)


def test_instructions_come_first_and_a_choice_needs_no_tools_to_be_free() -> None:
    found = asked(instructions="rules", tool_choice="auto", parallel_tool_calls=False)
    assert [(turn.role, turn.texts) for turn in found.turns] == [("system", ("rules",)), ("user", ("Hello there",))]
    assert found.choice == Choice(single=True)


def test_a_thought_comes_back_only_as_it_was_encrypted() -> None:
    def thinking(content: str) -> dict[str, Any]:
        item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": content}
        return {"input": [item, {"role": "user", "content": "on"}]}

    ours = asked(**thinking(encrypted("hm 東京")))
    assert (ours.refused, ours.thoughtful is None) == (None, False)
    for forged in ("", "gAAAAx", encrypted("hm").replace("gAAAA68", "gAAAA69"), "ümlaut"):
        refused = asked(**thinking(forged)).refused
        assert refused is not None
        assert (refused.code, refused.param) == ("invalid_encrypted_content", "input")


@given(VALUES)
def test_no_value_of_any_field_is_more_than_refused(value: Any) -> None:
    assert all(refusals(lambda raw: read(raw, lambda _: None), responses(), value))
    assert all(refusals(lambda raw: read(raw, lambda _: None), responses(input=[CALL, OUTPUT]), [value]))
