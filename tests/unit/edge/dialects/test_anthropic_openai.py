"""Unit tests of services.edge.dialects.anthropic_openai."""

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter

from services.edge.dialects import openai_anthropic
from services.edge.dialects.anthropic_openai import Translation
from services.shared.errors import Kind, Refusal
from tests.unit.edge.dialects.responses_checks import check_every_split

REQUEST: TypeAdapter[Any] = TypeAdapter(CompletionCreateParamsNonStreaming)
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
CLAUDE_CODE: dict[str, Any] = json.loads(
    (Path(__file__).parents[3] / "data" / "messages" / "claude_code.json").read_text()
)
HI = {"role": "user", "content": "hi"}
TOOL = {"name": "look", "input_schema": {"type": "object", "properties": {"at": {"type": "string"}}}}
FIELDS = st.sampled_from(
    (
        "messages",
        "role",
        "content",
        "type",
        "text",
        "system",
        "tools",
        "name",
        "input_schema",
        "function",
        "parameters",
        "tool_choice",
        "thinking",
        "source",
        "tool_calls",
        "id",
        "input",
        "tool_use_id",
        "stop",
        "stop_sequences",
        "max_tokens",
        "output_config",
        "format",
        "response_format",
        "delta",
        "content_block",
        "choices",
        "usage",
        "index",
        "error",
        "finish_reason",
        "message",
    )
)
ADAPTIVE = {"type": "adaptive"}
LONG = "look_" + "x" * 70
USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 42,
    "total_tokens": 62,
    "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 3},
}
TOLD_USAGE = {
    "input_tokens": 12,
    "cache_read_input_tokens": 5,
    "cache_creation_input_tokens": 3,
    "output_tokens": 42,
}
PIECES = ['{"at": ', '"\\u00e9 ', '1.0e3"}']


def translation(**fields: Any) -> Translation:
    body = json.dumps({"model": "public", "max_tokens": 100, "messages": [HI], **fields}).encode()
    return Translation(body, upstream_model="gpt-x", default_max_tokens=4096, now_s=1_700_000_000, answer_id="r1")


def sent(**fields: Any) -> dict[str, Any]:
    told = json.loads(translation(**fields).body)
    REQUEST.validate_python({name: value for name, value in told.items() if name != "stream"})
    return dict(told)


def complaint(**fields: Any) -> str:
    with pytest.raises(Refusal) as refused:
        translation(**fields)
    assert refused.value.kind is Kind.INVALID_REQUEST
    assert refused.value.message.startswith(refused.value.details["param"])
    return refused.value.details["param"]


def completion(finish_reason: str = "stop", **said: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **said}, "finish_reason": finish_reason}
    return json.dumps({"id": "c", "object": "chat.completion", "choices": [choice], "usage": USAGE}).encode()


def answer(raw: bytes, **fields: Any) -> dict[str, Any]:
    said = translation(**fields).answer(raw)
    Message.model_validate_json(said, strict=True)
    return dict(json.loads(said))


def chunk(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def call(index: int, arguments: str | None, **head: Any) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": "look"} if "id" in head else {})}
    return {"index": index, **head, "function": function}


def stream(*told: dict[str, Any]) -> bytes:
    return b"".join(b"data: %s\n\n" % json.dumps(one).encode() for one in told) + b"data: [DONE]\n\n"


GOLDEN = b": keep-alive\n\n" + stream(
    chunk(role="assistant", content=""),
    chunk(reasoning_content="hm"),
    chunk(content="Hé\u2028"),
    chunk(content="!", tool_calls=[call(0, "", id="c0", type="function")]),
    *(chunk(tool_calls=[call(0, piece)]) for piece in PIECES),
    chunk(tool_calls=[call(1, '{"at": 2}', id="c1", type="function")]),
    chunk(finish_reason="tool_calls"),
    {"id": "c", "choices": [], "usage": USAGE},
)


def run(chunks: list[bytes], **fields: Any) -> bytes:
    translating = translation(stream=True, tools=[TOOL], thinking=ADAPTIVE, **fields)
    return b"".join([*(translating.feed(one) for one in chunks), translating.end()])


def events(raw: bytes) -> list[dict[str, Any]]:
    """The events of a stream, each strictly what Anthropic's types want, its blocks one after the other."""
    found: list[dict[str, Any]] = []
    opened: list[int] = []
    for frame in raw.decode().split("\n\n")[:-1]:
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        if event["type"] != "error":
            EVENT.validate_json(data.removeprefix("data: "), strict=True)
        if event["type"] == "content_block_start":
            opened.append(event["index"])
        elif event["type"].startswith("content_block"):
            assert event["index"] == opened[-1]
        found.append(event)
    assert opened == list(range(len(opened)))
    return found


def types(found: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in found if event["type"] != "content_block_delta"]


def arguments(found: list[dict[str, Any]], index: int) -> str:
    deltas = [event["delta"] for event in found if event["type"] == "content_block_delta" and event["index"] == index]
    return "".join(delta["partial_json"] for delta in deltas if delta["type"] == "input_json_delta")


# ---- requests ----


def test_a_plain_question_is_one_that_the_upstream_takes() -> None:
    assert sent() == {"model": "gpt-x", "messages": [HI], "max_completion_tokens": 100}
    assert sent(stream=True)["stream_options"] == {"include_usage": True}


def test_the_request_of_a_coding_agent_is_one_that_the_upstream_takes() -> None:
    told = sent(**CLAUDE_CODE)
    assert told["model"] == "gpt-x"
    assert [one["role"] for one in told["messages"]] == ["system", "user", "system"]
    assert len(told["tools"]) == len(CLAUDE_CODE["tools"])
    assert b"cache_control" not in translation(**CLAUDE_CODE).body


def test_images_and_documents_become_parts() -> None:
    content = [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {
            "type": "document",
            "title": "a.pdf",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
        },
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}},
        {"type": "document", "source": {"type": "content", "content": "inner"}},
    ]
    assert sent(messages=[{"role": "user", "content": content}])["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}},
        {"type": "text", "text": "plain"},
        {"type": "text", "text": "inner"},
    ]


def test_results_are_messages_and_their_images_follow_in_the_users() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    turn = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "so"},
        {"type": "tool_use", "id": "t0", "name": "look", "input": {"at": 1}},
        {"type": "tool_use", "id": "t1", "name": "look", "input": {}},
    ]
    results = [
        {"type": "tool_result", "tool_use_id": "t0", "content": [{"type": "text", "text": "one"}, image]},
        {"type": "tool_result", "tool_use_id": "t1", "content": "broke", "is_error": True},
        {"type": "text", "text": "go on"},
    ]
    messages = [HI, {"role": "assistant", "content": turn}, {"role": "user", "content": results}]
    told = sent(tools=[TOOL], messages=messages)["messages"]
    assert told[1]["content"] == "so"
    assert [json.loads(one["function"]["arguments"]) for one in told[1]["tool_calls"]] == [{"at": 1}, {}]
    assert told[2:4] == [
        {"role": "tool", "tool_call_id": "t0", "content": "one\n(The images or files of this result follow.)"},
        {"role": "tool", "tool_call_id": "t1", "content": "Error: broke"},
    ]
    assert [part["type"] for part in told[4]["content"]] == ["image_url", "text"]


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"type": "auto"}, {"tool_choice": "auto"}),
        ({"type": "none"}, {"tool_choice": "none"}),
        ({"type": "any", "disable_parallel_tool_use": True}, {"tool_choice": "required", "parallel_tool_calls": False}),
        ({"type": "tool", "name": "look"}, {"tool_choice": {"type": "function", "function": {"name": "look"}}}),
    ],
)
def test_every_choice_of_a_tool_has_its_form(choice: dict[str, Any], told: dict[str, Any]) -> None:
    body = sent(tools=[TOOL], tool_choice=choice)
    assert {name: body[name] for name in ("tool_choice", "parallel_tool_calls") if name in body} == told


def test_long_names_are_shortened_and_come_back_whole() -> None:
    tools = [{"name": LONG, "input_schema": {}}]
    function = sent(tools=tools)["tools"][0]["function"]
    assert len(function["name"]) == 64
    assert function["parameters"] == {"type": "object", "properties": {}}
    said = answer(
        completion(tool_calls=[call(0, "{}", id="c") | {"function": function | {"arguments": ""}}]), tools=tools
    )
    assert said["content"] == [{"type": "tool_use", "id": "c", "name": LONG, "input": {}}]


@pytest.mark.parametrize(
    ("fields", "effort"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 2048}}, "low"),
        ({"thinking": {"type": "enabled", "budget_tokens": 8192}}, "medium"),
        ({"thinking": {"type": "enabled", "budget_tokens": 32000}}, "high"),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}, "high"),
        ({"thinking": {"type": "adaptive"}}, None),
        ({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}, None),
    ],
)
def test_thinking_asks_for_an_effort(fields: dict[str, Any], effort: str | None) -> None:
    assert sent(**fields).get("reasoning_effort") == effort


def test_other_fields_keep_their_meaning_or_are_dropped() -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    told = sent(
        temperature=0.5,
        top_p=0.9,
        top_k=5,
        stop_sequences=["END"],
        metadata={"user_id": "u"},
        output_config={"format": {"type": "json_schema", "schema": schema}},
    )
    assert (told["temperature"], told["top_p"], told["stop"], told["user"]) == (0.5, 0.9, ["END"], "u")
    assert told["response_format"]["json_schema"] == {"name": "answer", "schema": schema, "strict": True}
    assert "top_k" not in told


def test_a_schema_binds_under_its_older_name_too() -> None:
    schema = {"type": "object", "properties": {}}
    told = sent(output_format={"type": "json_schema", "schema": schema})
    assert told["response_format"]["json_schema"]["schema"] == schema


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": 0}, "max_tokens"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": ""}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]}, "messages[0].content[0].tool_use_id"),
        ({"stop_sequences": list("abcde")}, "stop_sequences"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0].type"),
        ({"tools": [TOOL, TOOL]}, "tools[1].name"),
        ({"tools": [TOOL], "tool_choice": {"type": "tool", "name": "x"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"mcp_servers": [{}]}, "mcp_servers"),
        ({"container": "c"}, "container"),
        ({"thread": {"type": "create"}}, "thread"),
        ({"thread": {"type": "continue", "previous_message_id": "msg_1"}}, "thread"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_its_name(fields: dict[str, Any], param: str) -> None:
    assert complaint(**fields) == param


def test_a_round_trip_from_chat_keeps_the_meaning() -> None:
    function = {"name": "look", "description": "Looks.", "parameters": TOOL["input_schema"], "strict": True}
    asked = {
        "model": "public",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, image_part()]},
            {
                "role": "assistant",
                "content": "b",
                "tool_calls": [{"id": "c", **typed(name="look", arguments='{"at":1}')}],
            },
            {"role": "tool", "tool_call_id": "c", "content": "d"},
            {"role": "user", "content": "e"},
        ],
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "look"}},
        "parallel_tool_calls": False,
        "max_completion_tokens": 9,
        "temperature": 0.5,
        "stop": ["x"],
        "user": "u",
    }
    there = openai_anthropic.Translation(
        json.dumps(asked).encode(), upstream_model="public", default_max_tokens=1, now_s=1, answer_id="r"
    )
    back = Translation(there.body, upstream_model="public", default_max_tokens=1, now_s=1, answer_id="r")
    assert json.loads(back.body) == asked


def image_part() -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}


def typed(**function: str) -> dict[str, Any]:
    return {"type": "function", "function": function}


# ---- plain answers ----


def test_an_answer_tells_text_thoughts_calls_and_usage() -> None:
    calls = [call(0, '{"at": 1.0e3}', id="c0"), call(0, '{"at', id="c1")]
    del calls[0]["index"], calls[1]["index"]
    said = answer(completion("tool_calls", content="a", reasoning="hm", tool_calls=calls), thinking=ADAPTIVE)
    assert (said["id"], said["model"], said["stop_reason"]) == ("msg_r1", "public", "tool_use")
    assert said["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "a"},
        {"type": "tool_use", "id": "c0", "name": "look", "input": {"at": 1000.0}},
        {"type": "tool_use", "id": "c1", "name": "look", "input": {"arguments": '{"at'}},
    ]
    assert said["usage"] == TOLD_USAGE


@pytest.mark.parametrize(
    ("finish_reason", "stop_reason"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal"), ("something_new", "end_turn")],
)
def test_every_reason_to_finish_is_told_even_an_unknown_one(finish_reason: str, stop_reason: str) -> None:
    assert answer(completion(finish_reason, content="a"))["stop_reason"] == stop_reason
    assert answer(completion(refusal="no"))["stop_reason"] == "refusal"


@pytest.mark.parametrize("fields", [{}, {"thinking": {**ADAPTIVE, "display": "omitted"}}])
def test_thoughts_are_left_out_when_they_were_not_asked_for(fields: dict[str, Any]) -> None:
    assert answer(completion(content="a", reasoning="hm"), **fields)["content"] == [{"type": "text", "text": "a"}]


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"choices":[]}', b"<html>"])
def test_what_is_no_completion_raises_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError):
        translation().answer(raw)


@pytest.mark.parametrize(("status", "type_"), [(400, "invalid_request_error"), (404, "not_found_error")])
def test_errors_come_in_the_clients_shape(status: int, type_: str) -> None:
    told = json.loads(translation().error(status, b'{"error":{"message":"too long","type":"x"}}'))
    assert told == {"type": "error", "error": {"type": type_, "message": "too long"}}
    assert json.loads(translation().error(status, b"<html>"))["error"]["message"]


# ---- streams ----


def test_blocks_follow_each_other_and_usage_comes_at_the_end() -> None:
    found = events(run([GOLDEN]))
    block = ["content_block_start", "content_block_stop"]
    assert types(found) == ["message_start", *block * 4, "message_delta", "message_stop"]
    assert arguments(found, 2) == "".join(PIECES)
    assert arguments(found, 3) == '{"at": 2}'
    assert found[-2]["delta"]["stop_reason"] == "tool_use"
    assert found[-2]["usage"] == TOLD_USAGE


def test_any_split_of_the_stream_gives_the_same_bytes() -> None:
    check_every_split(run, GOLDEN)
    check_every_split(run, GOLDEN.replace(b"\n", b"\r\n"))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_arguments_survive_byte_for_byte(pieces: list[str]) -> None:
    head = chunk(tool_calls=[call(0, None, id="c")])
    found = events(run([stream(head, *(chunk(tool_calls=[call(0, piece)]) for piece in pieces))]))
    assert arguments(found, 0) == "".join(pieces)


def test_text_after_calls_comes_after_them() -> None:
    raw = stream(chunk(tool_calls=[call(0, "{}", id="c")]), chunk(content="done"), chunk("stop"))
    found = events(run([raw]))
    assert [event["content_block"]["type"] for event in found if event["type"] == "content_block_start"] == [
        "tool_use",
        "text",
    ]


@pytest.mark.parametrize(
    ("code", "type_"),
    [("rate_limit_exceeded", "rate_limit_error"), ("overloaded", "overloaded_error"), ("x", "api_error")],
)
def test_an_error_in_mid_stream_ends_it_without_the_upstreams_words(code: str, type_: str) -> None:
    raw = stream(chunk(content="a"), {"error": {"message": "acct-7", "code": code}}, chunk(content="b"))
    found = events(run([raw]))
    assert found[-1]["error"]["type"] == type_
    assert "acct-7" not in json.dumps(found)
    assert "message_stop" not in types(found)


def test_an_upstream_that_just_ends_is_finished() -> None:
    raw = stream(chunk(content="a")).removesuffix(b"data: [DONE]\n\n")
    assert types(events(run([raw])))[-2:] == ["message_delta", "message_stop"]


def test_an_error_that_is_only_a_sentence_ends_the_stream_too() -> None:
    found = events(run([stream(chunk(content="a"), {"error": "acct-7 failed"})]))
    assert found[-1] == {"type": "error", "error": {"type": "api_error", "message": found[-1]["error"]["message"]}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(FIELDS, JSON))
def test_any_body_is_translated_or_refused_by_both_translations(fields: dict[str, Any]) -> None:
    body = json.dumps({"model": "m", "messages": [HI], **fields}).encode()
    for kind in (Translation, openai_anthropic.Translation):
        with contextlib.suppress(Refusal):
            kind(body, upstream_model="m", default_max_tokens=1, now_s=1, answer_id="r")


@given(JSON)
def test_no_event_of_an_upstream_raises(event: Any) -> None:
    frame = b"data: " + json.dumps(event).encode() + b"\n\n"
    run([frame])
    translating = openai_anthropic.Translation(
        json.dumps({"model": "m", "messages": [HI]}).encode(),
        upstream_model="m",
        default_max_tokens=1,
        now_s=1,
        answer_id="r",
    )
    translating.feed(frame)
    translating.error(400, frame)
