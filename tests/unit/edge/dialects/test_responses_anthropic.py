"""Unit tests of services.edge.dialects.responses_anthropic."""

import contextlib
import json
from typing import Any

import pytest
from anthropic.types import RawMessageStreamEvent
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from services.edge.dialects.responses_anthropic import Translation
from services.shared.errors import Kind, Refusal
from tests.unit.edge.dialects.responses_checks import (
    CODEX,
    CUSTOM,
    FUNCTION,
    check_every_split,
    events,
    joined,
    request_body,
    response,
    types,
)

REQUEST: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsNonStreaming)
UPSTREAM_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
USAGE = {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 3, "output_tokens": 1}
ENCRYPTED: dict[str, Any] = {"include": ["reasoning.encrypted_content"], "reasoning": {"summary": "auto"}}


def translation(upstream_model: str = "claude-sonnet-4-6", **fields: Any) -> Translation:
    return Translation(
        request_body(**fields),
        upstream_model=upstream_model,
        default_max_tokens=4096,
        now_s=1_700_000_000,
        answer_id="r1",
    )


def sent(upstream_model: str = "claude-sonnet-4-6", **fields: Any) -> dict[str, Any]:
    body = translation(upstream_model, **fields).body
    told = json.loads(body)
    REQUEST.validate_python(told)
    return dict(told)


def complaint(**fields: Any) -> str:
    with pytest.raises(Refusal) as refused:
        translation(**fields)
    assert refused.value.kind is Kind.INVALID_REQUEST
    assert refused.value.message.startswith(refused.value.details["param"])
    return refused.value.details["param"]


def message(*content: dict[str, Any], stop_reason: str = "end_turn") -> bytes:
    whole = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": list(content)}
    return json.dumps({**whole, "stop_reason": stop_reason, "stop_sequence": None, "usage": USAGE}).encode()


def stream(*told: dict[str, Any]) -> bytes:
    return b"".join(b"event: %s\ndata: %s\n\n" % (one["type"].encode(), json.dumps(one).encode()) for one in told)


def start() -> dict[str, Any]:
    whole = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": USAGE}
    return {"type": "message_start", "message": {**whole, "stop_reason": None, "stop_sequence": None}}


def block(index: int, first: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": first},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def stop(reason: str = "end_turn") -> list[dict[str, Any]]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [{"type": "message_delta", "delta": delta, "usage": {"output_tokens": 42}}, {"type": "message_stop"}]


TEXT = block(0, {"type": "text", "text": ""}, *({"type": "text_delta", "text": text} for text in ("Hé", "\u2028llo")))
THOUGHT = block(
    0,
    {"type": "thinking", "thinking": "", "signature": ""},
    {"type": "thinking_delta", "thinking": "hm, "},
    {"type": "thinking_delta", "thinking": "yes"},
    {"type": "signature_delta", "signature": "c2ln"},
)
PIECES = ('{"at": ', '"\\u00e9 ', '1.0e3"}')
CALL = block(
    1,
    {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {}},
    {"type": "input_json_delta", "partial_json": ""},
    *({"type": "input_json_delta", "partial_json": piece} for piece in PIECES),
)
CUSTOM_CALL = block(
    2,
    {"type": "tool_use", "id": "toolu_2", "name": "patch", "input": {}},
    {"type": "input_json_delta", "partial_json": '{"input": "*** Be'},
    {"type": "input_json_delta", "partial_json": 'gin\\n\\"x\\""}'},
)
GOLDEN = stream(
    start(),
    *THOUGHT,
    {"type": "ping"},
    *block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hé"}),
    *CALL,
    *CUSTOM_CALL,
    *stop("tool_use"),
)


def run(chunks: list[bytes], **fields: Any) -> bytes:
    translating = translation(stream=True, tools=[FUNCTION, CUSTOM], **{**ENCRYPTED, **fields})
    return b"".join([*(translating.feed(chunk) for chunk in chunks), translating.end()])


# ---- requests ----


def test_the_request_of_a_coding_agent_is_one_that_the_upstream_takes() -> None:
    body = Translation(
        json.dumps(CODEX).encode(), upstream_model="claude-opus-4-8", default_max_tokens=64000, now_s=1, answer_id="r"
    ).body
    told = json.loads(body)
    REQUEST.validate_python({**told, "stream": False})
    assert [tool["name"] for tool in told["tools"]] == [
        "exec_command",
        "write_stdin",
        "apply_patch",
        "multi_agent_v1__spawn_agent",
    ]
    assert "lark grammar" in told["tools"][2]["description"]
    assert len(told["system"]) == 3
    assert [one["role"] for one in told["messages"]] == ["user"]
    assert told["messages"][0]["content"][-1] == {"type": "text", "text": "hi"}
    assert (told["model"], told["max_tokens"], told["stream"]) == ("claude-opus-4-8", 64000, True)
    assert told["cache_control"] == {"type": "ephemeral"}


def test_a_loop_of_tools_becomes_turns_that_alternate_with_results_first() -> None:
    image = "data:image/png;base64,QUJD"
    told = sent(
        tools=[FUNCTION, CUSTOM],
        input=[
            {"role": "user", "content": "go"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ok"}]},
            {"type": "function_call", "call_id": "a", "name": "look", "arguments": '{"at": 1.0e3}'},
            {"type": "custom_tool_call", "call_id": "b", "name": "patch", "input": 'x"\n'},
            {"type": "function_call_output", "call_id": "a", "output": [{"type": "input_image", "image_url": image}]},
            {"role": "developer", "content": "be brief"},
            {"type": "custom_tool_call_output", "call_id": "b", "output": "done"},
            {"type": "web_search_call", "id": "ws", "status": "completed"},
        ],
    )
    assert [one["role"] for one in told["messages"]] == ["user", "assistant", "user"]
    assert [one["type"] for one in told["messages"][1]["content"]] == ["text", "tool_use", "tool_use"]
    assert told["messages"][1]["content"][2]["input"] == {"input": 'x"\n'}
    assert told["messages"][2]["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "a",
            "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}],
        },
        {"type": "tool_result", "tool_use_id": "b", "content": [{"type": "text", "text": "done"}]},
        {"type": "text", "text": "<system>\nbe brief\n</system>"},
    ]


@given(
    st.dictionaries(st.text(), st.one_of(st.integers(), st.text(), st.floats(allow_nan=False, allow_infinity=False)))
)
def test_arguments_go_to_the_upstream_byte_for_byte(arguments: dict[str, Any]) -> None:
    text = json.dumps(arguments, indent=1)
    call = {"type": "function_call", "call_id": "a", "name": "look", "arguments": text}
    assert text.encode() in translation(input=[{"role": "user", "content": "x"}, call]).body


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("required", {"type": "any"}),
        ({"type": "function", "name": "look"}, {"type": "tool", "name": "look"}),
        ({"type": "custom", "name": "patch"}, {"type": "tool", "name": "patch"}),
    ],
)
def test_every_choice_of_tools_has_its_counterpart(choice: Any, told: dict[str, Any]) -> None:
    assert sent(tools=[FUNCTION, CUSTOM], tool_choice=choice)["tool_choice"] == told


def test_allowed_tools_are_the_only_ones_told() -> None:
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "look"}]}
    told = sent(tools=[FUNCTION, CUSTOM], tool_choice=choice)
    assert [tool["name"] for tool in told["tools"]] == ["look"]
    assert told["tool_choice"] == {"type": "any"}


def test_calls_one_at_a_time_are_asked_for_even_without_a_choice() -> None:
    told = sent(tools=[FUNCTION], parallel_tool_calls=False)
    assert told["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}


@pytest.mark.parametrize(
    ("model", "effort", "thinking", "config"),
    [
        ("claude-opus-4-8", "xhigh", {"type": "adaptive", "display": "omitted"}, {"effort": "xhigh"}),
        ("claude-sonnet-4-6", "xhigh", {"type": "adaptive", "display": "omitted"}, {"effort": "high"}),
        ("claude-haiku-4-5-20251001", "low", {"type": "enabled", "budget_tokens": 2048}, None),
        ("claude-3-5-haiku-20241022", "high", None, None),
        ("opus", "minimal", {"type": "adaptive", "display": "omitted"}, {"effort": "low"}),
        ("opus", "none", None, None),
    ],
)
def test_effort_becomes_the_thinking_that_the_model_knows(model: str, effort: str, thinking: Any, config: Any) -> None:
    told = sent(model, reasoning={"effort": effort}, temperature=0.5, max_output_tokens=9000)
    assert (told.get("thinking"), told.get("output_config")) == (thinking, config)
    assert ("temperature" in told) is (thinking is None)


def test_a_forced_tool_wins_over_thinking() -> None:
    told = sent("claude-haiku-4-5", reasoning={"effort": "high"}, tools=[FUNCTION], tool_choice="required")
    assert "thinking" not in told


def test_a_schema_for_the_output_is_passed_on() -> None:
    format_ = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    assert sent(text={"format": format_})["output_config"] == {
        "format": {"type": "json_schema", "schema": {"type": "object"}}
    }


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ...}, "model"),
        ({"input": ...}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0]"),
        ({"input": [{"type": "nonsense"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input[0].content[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "input[0].content[0]"),
        ({"input": [{"role": "king", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "function_call", "call_id": "a", "name": "x", "arguments": "{"}]}, "input[0].arguments"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"temperature": 1.5}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"tools": [{"type": "file_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [FUNCTION, FUNCTION]}, "tools[1].name"),
        ({"tool_choice": {"type": "function", "name": "gone"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"tool_choice": "perhaps"}, "tool_choice"),
        ({"tool_choice": "required", "tools": [{"type": "web_search"}]}, "tool_choice"),
        ({"reasoning": {"effort": "heroic"}}, "reasoning.effort"),
        ({"text": {"format": {"type": "json_object"}}}, "text.format.type"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert complaint(**fields) == param


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_no_body_raises_anything_but_a_refusal(anything: Any) -> None:
    for fields in ({"input": anything}, {"tools": anything}, {"tool_choice": anything}, {"text": anything}):
        with contextlib.suppress(Refusal):
            translation(**fields)


def test_ids_that_another_model_gave_calls_are_fitted() -> None:
    told = sent(
        input=[
            {"role": "user", "content": "hi"},
            {"type": "function_call", "call_id": "functions.look:0", "name": "look", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "functions.look:0", "output": "ok"},
        ]
    )
    (call,), (result,) = (message["content"] for message in told["messages"][1:])
    assert result["tool_use_id"] == call["id"]
    assert set(call["id"]).isdisjoint(".:")


def test_white_space_alone_says_nothing() -> None:
    told = sent(
        instructions=" ",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "\n"}, {"type": "input_text", "text": " hi "}]},
            {"role": "assistant", "content": "\n\n"},
            {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
            {"role": "developer", "content": "\t"},
            {"type": "function_call_output", "call_id": "call_1", "output": "ok"},
            {"role": "assistant", "content": " The answer is \n"},
        ],
    )
    assert "system" not in told
    types = [[block["type"] for block in message["content"]] for message in told["messages"]]
    assert types == [["text"], ["tool_use"], ["tool_result"], ["text"]]
    assert [told["messages"][at]["content"][0]["text"] for at in (0, 3)] == [" hi ", " The answer is"]


def test_a_url_and_a_pdf_become_sources() -> None:
    content = [
        {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "high"},
        {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"},
        {"type": "input_file", "file_url": "https://example.com/b.pdf"},
    ]
    blocks = sent(input=[{"role": "user", "content": content}])["messages"][0]["content"]
    assert [one["source"]["type"] for one in blocks] == ["url", "base64", "url"]
    assert [one["type"] for one in blocks] == ["image", "document", "document"]


def test_thinking_with_a_budget_is_not_asked_for_in_a_loop_that_began_without() -> None:
    call = {"type": "function_call", "call_id": "a", "name": "look", "arguments": "{}"}
    loop = [{"role": "user", "content": "x"}, call, {"type": "function_call_output", "call_id": "a", "output": "y"}]
    asked: dict[str, Any] = {"input": loop, "tools": [FUNCTION], "reasoning": {"effort": "high"}}
    assert "thinking" not in sent("claude-sonnet-4-5", **asked)
    assert sent("claude-opus-4-8", **asked)["thinking"]["type"] == "adaptive"


# ---- plain answers ----


def test_a_plain_answer_is_a_whole_response() -> None:
    translating = translation(tools=[FUNCTION, CUSTOM], **ENCRYPTED)
    answer = response(
        translating.answer(
            message(
                {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                {"type": "text", "text": "Hello"},
                {"type": "server_tool_use", "id": "x", "name": "y", "input": {}},
                {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "x"}},
                {"type": "tool_use", "id": "toolu_2", "name": "patch", "input": {"input": "***"}},
                stop_reason="tool_use",
            )
        )
    )
    assert [item["type"] for item in answer["output"]] == ["reasoning", "message", "function_call", "custom_tool_call"]
    assert answer["output"][0]["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert answer["output"][1]["content"][0]["text"] == "Hello"
    assert answer["output"][2]["arguments"] == '{"at": "x"}'
    assert answer["output"][3]["input"] == "***"
    assert (answer["id"], answer["model"], answer["status"]) == ("resp_r1", "public", "completed")
    assert answer["usage"] == {
        "input_tokens": 18,
        "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 3},
        "output_tokens": 1,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 19,
    }


@pytest.mark.parametrize(
    ("stop_reason", "status", "reason"),
    [
        ("end_turn", "completed", None),
        ("stop_sequence", "completed", None),
        ("of_tomorrow", "completed", None),
        ("max_tokens", "incomplete", "max_output_tokens"),
        ("model_context_window_exceeded", "incomplete", "max_output_tokens"),
        ("refusal", "incomplete", "content_filter"),
    ],
)
def test_reasons_to_stop_become_a_status(stop_reason: str, status: str, reason: str | None) -> None:
    answer = response(translation().answer(message({"type": "text", "text": "x"}, stop_reason=stop_reason)))
    assert (answer["status"], (answer["incomplete_details"] or {}).get("reason")) == (status, reason)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"type":"error"}', b"<html>"])
def test_what_is_no_message_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        translation().answer(body)


def test_reasoning_comes_back_to_the_upstream_as_it_was_signed() -> None:
    blocks = (
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "eA=="},
    )
    call = {"type": "tool_use", "id": "t1", "name": "look", "input": {}}
    output = response(translation(tools=[FUNCTION], **ENCRYPTED).answer(message(*blocks, call)))["output"]
    result = {"type": "function_call_output", "call_id": "t1", "output": "x"}
    told = sent(input=[{"role": "user", "content": "hi"}, *output, result], tools=[FUNCTION])
    assert told["messages"][1]["content"][:2] == list(blocks)


def test_a_turn_that_was_interrupted_while_it_thought_is_left_out() -> None:
    thought = message({"type": "thinking", "thinking": "hm", "signature": "c2ln"})
    output = response(translation(**ENCRYPTED).answer(thought))["output"]
    told = sent(input=[{"role": "user", "content": "a"}, *output, {"role": "user", "content": "b"}])
    assert [one["role"] for one in told["messages"]] == ["user", "user"]


def test_reasoning_of_another_maker_is_dropped() -> None:
    for sealed in ("gAAAA", None, "tollhouse.anthropic.1.!", "tollhouse.anthropic.1.W10="):
        item: dict[str, Any] = {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": sealed}
        assert len(sent(input=[{"role": "user", "content": "hi"}, item])["messages"]) == 1


# ---- streams ----


def test_a_stream_is_the_full_sequence_of_events() -> None:
    found = events(run([GOLDEN]))
    assert types(found) == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
        "completed",
    ]
    last = found[-1]["response"]
    assert last["output"] == [event["item"] for event in found if event["type"] == "response.output_item.done"]
    assert (last["usage"]["input_tokens"], last["usage"]["output_tokens"]) == (18, 42)
    assert joined(found, "response.function_call_arguments.delta") == "".join(PIECES)
    assert last["output"][3]["input"] == '*** Begin\n"x"'


@given(st.lists(st.text(min_size=1), min_size=1, max_size=8))
def test_arguments_come_to_the_client_as_they_are_however_they_are_cut(pieces: list[str]) -> None:
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    parts = block(0, {"type": "tool_use", "id": "a", "name": "look", "input": {}}, *deltas)
    found = events(run([stream(start(), *parts, *stop("tool_use"))]))
    assert joined(found, "response.function_call_arguments.delta") == "".join(pieces)
    assert found[-1]["response"]["output"][0]["arguments"] == "".join(pieces)


@given(st.lists(st.integers(0, 1 << 40), min_size=4, max_size=4))
def test_usage_is_the_upstreams(counts: list[int]) -> None:
    fields = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "output_tokens")
    last = {"type": "message_delta", "delta": {}, "usage": dict(zip(fields, counts, strict=True))}
    usage = events(run([stream(start(), *TEXT, last)]))[-1]["response"]["usage"]
    assert usage["input_tokens"] == sum(counts[:3])
    assert usage["input_tokens_details"] == {"cached_tokens": counts[1], "cache_write_tokens": counts[2]}
    assert usage["output_tokens"] == counts[3]


def test_a_coding_agent_is_answered_with_its_own_tools_names() -> None:
    spawn = block(0, {"type": "tool_use", "id": "t", "name": "multi_agent_v1__spawn_agent", "input": {}})
    translating = Translation(
        json.dumps(CODEX).encode(), upstream_model="opus", default_max_tokens=64000, now_s=1, answer_id="r"
    )
    found = events(translating.feed(stream(start(), *spawn, *stop("tool_use"))) + translating.end())
    item = found[-1]["response"]["output"][0]
    assert (item["name"], item["namespace"], item["call_id"]) == ("spawn_agent", "multi_agent_v1", "t")
    assert [tool["type"] for tool in found[0]["response"]["tools"]] == ["function", "function", "custom", "namespace"]


def test_the_upstreams_events_of_these_tests_are_the_upstreams() -> None:
    for one in (start(), *THOUGHT, *TEXT, *CALL, *CUSTOM_CALL, *stop()):
        UPSTREAM_EVENT.validate_python(one)


def test_every_split_of_a_stream_gives_the_same_bytes() -> None:
    check_every_split(run, GOLDEN)
    check_every_split(run, GOLDEN.replace(b"\n", b"\r\n"))


def test_thoughts_are_not_shown_to_whom_did_not_ask() -> None:
    found = events(run([GOLDEN], reasoning=None, include=None))
    assert not [type_ for type_ in types(found) if "summary" in type_]
    assert found[-1]["response"]["output"][0]["summary"] == []
    assert "encrypted_content" not in found[-1]["response"]["output"][0]


def test_a_call_that_was_cut_off_is_incomplete() -> None:
    cut = block(
        0,
        {"type": "tool_use", "id": "t", "name": "look", "input": {}},
        {"type": "input_json_delta", "partial_json": '{"a'},
    )
    last = events(run([stream(start(), *cut, *stop("max_tokens"))]))[-1]
    assert last["type"] == "response.incomplete"
    assert (last["response"]["output"][0]["status"], last["response"]["output"][0]["arguments"]) == (
        "incomplete",
        '{"a',
    )


def test_arguments_that_come_whole_or_not_at_all_still_come() -> None:
    whole = block(0, {"type": "tool_use", "id": "t", "name": "look", "input": {"at": 1}})
    none = block(1, {"type": "tool_use", "id": "u", "name": "look", "input": {}})
    output = events(run([stream(start(), *whole, *none, *stop("tool_use"))]))[-1]["response"]["output"]
    assert [item["arguments"] for item in output] == ['{"at": 1}', "{}"]


def test_an_error_in_mid_stream_fails_the_response_without_the_upstreams_words() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "account of Bob"}}
    raw = run([stream(start(), *TEXT, error, *TEXT)])
    found = events(raw)
    assert b"Bob" not in raw
    assert found[-1]["type"] == "response.failed"
    assert found[-1]["response"]["error"]["code"] == "server_error"


def test_what_is_unknown_in_a_stream_is_dropped() -> None:
    odd: list[dict[str, Any]] = [
        {"type": "of_tomorrow"},
        {"type": "content_block_delta", "index": 9, "delta": {"type": "text_delta", "text": "x"}},
    ]
    block_ = block(5, {"type": "odd_block"}, {"type": "odd_delta"})
    raw = stream(start(), *odd, *block_, *TEXT, *stop()) + b"data: {nonsense\n\n: comment\n\n"
    assert events(run([raw]))[-1]["response"]["output"][0]["content"][0]["text"] == "Hé\u2028llo"


# ---- errors ----


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"error":5}', b'{"error":{"type":"x","message":"max_tokens: too large"}}']
)
@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_errors_have_openais_shape(status: int, body: bytes) -> None:
    error = json.loads(translation().error(status, body))["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    if b"max_tokens" in body:
        assert error["message"] == "max_tokens: too large"
