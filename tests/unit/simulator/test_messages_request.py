"""What Anthropic's Messages API refuses, and by which name."""

from typing import Any

import pytest
from hypothesis import given

from services.simulator.asked import Choice, Invalid, Result
from services.simulator.messages_request import read, read_counting
from tests.unit.simulator.client import message
from tests.unit.simulator.requests import PNG, VALUES, body, refusals

TOOL = {"name": "look", "input_schema": {"type": "object"}}
THINKING = {"type": "enabled", "budget_tokens": 1024}
MARKED = {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}


def use(*ids: str) -> dict[str, Any]:
    calls = [{"type": "tool_use", "id": one, "name": "look", "input": {"a": 1}} for one in ids]
    return {"role": "assistant", "content": [{"type": "text", "text": "so"}, *calls]}


def result(id_: str, **fields: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": id_, "content": "done"} | fields


def user(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def turns(*messages: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hi"}, *messages]}


def image(**source: Any) -> dict[str, Any]:
    return {"messages": [user({"type": "image", "source": source})]}


TEXT = {"type": "text", "text": "and?"}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"speeed": 1}, r"speeed: Extra inputs"),
        ({"temperature": 1.1}, "temperature:"),
        ({"top_p": 2}, "top_p:"),
        ({"top_k": -1}, "top_k:"),
        ({"stop_sequences": ["\n"]}, "stop_sequences:"),
        ({"stop_sequences": "x"}, "stop_sequences:"),
        ({"tools": {}}, "tools:"),
        ({"tools": [TOOL | {"name": "a.b"}]}, r"tools\.0\.name:"),
        ({"tools": [TOOL | {"name": "x" * 129}]}, r"tools\.0\.name:"),
        ({"tools": [{"name": "look"}]}, r"tools\.0\.input_schema:"),
        ({"tools": [TOOL | {"input_schema": {}}]}, r"tools\.0\.input_schema\.type:"),
        ({"tools": [TOOL, TOOL]}, "tools: Tool names must be unique"),
        ({"tool_choice": {"type": "auto"}}, "tool_choice:"),
        ({"tools": [TOOL], "tool_choice": "auto"}, r"tool_choice\.type:"),
        ({"tools": [TOOL], "tool_choice": {"type": "required"}}, r"tool_choice\.type:"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "b"}}, r"tool_choice\.name:"),
        ({"thinking": {"type": "on"}}, r"thinking\.type:"),
        ({"thread": {"type": "create"}}, r"thread:"),
        ({"thinking": THINKING | {"budget_tokens": 1023}, "max_tokens": 2000}, r"thinking\.enabled\.budget_tokens:"),
        ({"thinking": THINKING, "max_tokens": 1024}, "max_tokens:"),
        ({"thinking": THINKING, "max_tokens": 1025, "temperature": 0.5}, "temperature:"),
        (
            {"thinking": {"type": "adaptive"}, "tools": [TOOL], "tool_choice": {"type": "any"}},
            "tool_choice: Thinking may not be enabled",
        ),
        ({"system": [{"type": "text", "text": ""}]}, r"system\.0\.text:"),
        ({"system": [{"type": "image"}]}, r"system\.0\.type:"),
        ({"system": [MARKED] * 3, "messages": [user(MARKED, MARKED)]}, "cache_control:"),
        ({"output_config": {"format": {"type": "json"}}}, r"output_config\.format\.type:"),
        ({"messages": [user({"type": "text", "text": " "})]}, r"messages\.0\.content\.0\.text:"),
        ({"messages": [user()]}, r"messages\.0\.content:"),
        (turns({"role": "tool", "content": "x"}), r"messages\.1\.role:"),
        (turns({"role": "assistant", "content": "x "}), "messages: final assistant content"),
        (image(), r"messages\.0\.content\.0\.source:"),
        (
            image(type="base64", media_type="image/bmp", data=PNG),
            r"messages\.0\.content\.0\.source\.base64\.media_type:",
        ),
        (image(type="base64", media_type="image/png", data="%%"), r"messages\.0\.content\.0\.source\.base64\.data:"),
        (image(type="url", url="data:x"), r"messages\.0\.content\.0\.source\.url\.url:"),
        (turns(user(result("a"))), r"messages\.1\.content\.0: unexpected `tool_use_id`"),
        (turns(use("a"), user(result("b"))), r"messages\.2\.content\.0: unexpected `tool_use_id`"),
        (turns(use("a")), r"messages\.1: `tool_use` ids were found without .* after: a\."),
        (turns(use("a", "b"), user(result("a"))), r"messages\.1: `tool_use` ids were found without .* after: b\."),
        (turns(use("a"), user(TEXT), user(result("a"))), r"messages\.1: `tool_use` ids were found without"),
        (turns(use("a"), user(TEXT, result("a"))), r"messages\.2\.content: `tool_result` blocks must come first"),
        (turns(use("a"), user(result("a"), result("a"))), r"messages\.2\.content: each tool_use must have a single"),
        (turns(use("a", "a"), user(result("a"))), r"messages\.1\.content: `tool_use` ids must be unique"),
        (turns(use("a"), user(result("a")), use("a"), user(result("a"))), r"messages\.3\.content: `tool_use` ids"),
        (turns(use("a b")), r"messages\.1\.content\.1\.id:"),
        (turns(use("a"), user(result("a", is_error="yes"))), r"messages\.2\.content\.0\.is_error:"),
        (turns(user(use("a")["content"][1])), r"messages\.1\.content\.0\.type: `tool_use` blocks can only be in"),
    ],
)
def test_what_the_real_api_refuses_is_refused_by_the_name_of_the_field(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=rf"^{words}"):
        read(body(message(**fields)))


def test_results_before_other_content_are_taken_and_told() -> None:
    shown = [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}]
    last = user(result("b", is_error=True), result("a", content=shown), TEXT)
    asked = read(body(message(tools=[TOOL], **turns(use("a", "b"), last))))
    assert asked.results == (Result("b", "done", error=True), Result("a", "", ("image/png",)))


def test_a_budget_may_exceed_the_answer_where_thoughts_are_interleaved() -> None:
    asked = body(message(thinking=THINKING, max_tokens=1000))
    assert read(asked, "interleaved-thinking-2025-05-14").max_tokens == 1000


@pytest.mark.parametrize(
    ("choice", "read_as"),
    [
        ({"type": "auto", "disable_parallel_tool_use": True}, Choice(single=True)),
        ({"type": "any"}, Choice(forced=True)),
        ({"type": "tool", "name": "look"}, Choice(forced=True, name="look")),
        ({"type": "none"}, Choice(none=True)),
    ],
)
def test_a_tools_choice_is_understood(choice: dict[str, Any], read_as: Choice) -> None:
    assert read(body(message(tools=[TOOL], tool_choice=choice))).choice == read_as


def test_tools_of_the_provider_are_taken_as_they_are() -> None:
    asked = read(body(message(tools=[{"type": "web_search_20250305", "name": "web_search"}, TOOL])))
    assert [tool.name for tool in asked.tools] == ["look"]


def test_counting_takes_what_makes_the_input_and_nothing_else() -> None:
    fields = message()
    del fields["max_tokens"]
    assert read_counting(body(fields)).prompt == "Hello there"
    with pytest.raises(Invalid, match=r"^max_tokens: Extra inputs"):
        read_counting(body(message()))


@given(VALUES)
def test_no_value_of_any_field_is_more_than_refused(value: Any) -> None:
    assert all(refusals(read, message(), value))
    assert all(refusals(read, message(**turns(use("a"), user(result("a")))), value))
