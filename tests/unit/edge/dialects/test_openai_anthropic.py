"""Unit tests of services.edge.dialects.openai_anthropic."""

import json
import re
from typing import Any

import pytest
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

from services.edge.dialects.openai_anthropic import Translation
from services.shared.errors import Kind, Refusal
from tests.unit.edge.dialects.responses_checks import check_every_split

REQUEST: TypeAdapter[Any] = TypeAdapter(MessageCreateParamsNonStreaming)
HI = {"role": "user", "content": "hi"}
USAGE = {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 3, "output_tokens": 1}
LONG = "look_" + "x" * 70
TOOL = {"type": "function", "function": {"name": "look", "parameters": {}}}
LONG_TOOL = {"type": "function", "function": {"name": LONG, "description": "Looks.", "strict": True}}
PIECES = ['{"at": ', '"\\u00e9 ', '1.0e3"}']


def translation(upstream_model: str = "claude-sonnet-4-6", **fields: Any) -> Translation:
    body = json.dumps({"model": "public", "messages": [HI], **fields}).encode()
    return Translation(
        body, upstream_model=upstream_model, default_max_tokens=40960, now_s=1_700_000_000, answer_id="r1"
    )


def sent(upstream_model: str = "claude-sonnet-4-6", **fields: Any) -> dict[str, Any]:
    told = json.loads(translation(upstream_model, **fields).body)
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


def answer(raw: bytes, **fields: Any) -> dict[str, Any]:
    said = translation(**fields).answer(raw)
    ChatCompletion.model_validate_json(said, strict=True)
    return dict(json.loads(said))


def block(index: int, first: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": first},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def stream(*told: dict[str, Any]) -> bytes:
    return b"".join(b"event: %s\ndata: %s\n\n" % (one["type"].encode(), json.dumps(one).encode()) for one in told)


def start() -> dict[str, Any]:
    whole = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": USAGE}
    return {"type": "message_start", "message": {**whole, "stop_reason": None, "stop_sequence": None}}


def stop(reason: str = "end_turn") -> list[dict[str, Any]]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [{"type": "message_delta", "delta": delta, "usage": {"output_tokens": 42}}, {"type": "message_stop"}]


def call(index: int, name: str, pieces: list[str]) -> list[dict[str, Any]]:
    first = {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}}
    return block(index, first, *({"type": "input_json_delta", "partial_json": piece} for piece in pieces))


GOLDEN = stream(
    start(),
    *block(
        0,
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "hm"},
        {"type": "signature_delta", "signature": "c2ln"},
    ),
    {"type": "ping"},
    *block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hé\u2028"}),
    *call(2, "look", ["", *PIECES]),
    *call(3, "look", [""]),
    {"type": "something_new"},
    *stop("tool_use"),
)


def run(chunks: list[bytes], **fields: Any) -> bytes:
    translating = translation(stream=True, tools=[TOOL, LONG_TOOL], **fields)
    return b"".join([*(translating.feed(chunk) for chunk in chunks), translating.end()])


def chunks(raw: bytes) -> list[dict[str, Any]]:
    """The chunks of a stream that ends as it should, each strictly what OpenAI's types want."""
    frames = raw.decode().split("\n\n")
    assert frames[-2:] == ["data: [DONE]", ""]
    found = []
    for frame in frames[:-2]:
        ChatCompletionChunk.model_validate_json(frame.removeprefix("data: "), strict=True)
        found.append(json.loads(frame.removeprefix("data: ")))
    return found


def arguments(found: list[dict[str, Any]], index: int) -> str:
    deltas = [choice["delta"] for chunk in found for choice in chunk["choices"]]
    calls = [one for delta in deltas for one in delta.get("tool_calls", ()) if one["index"] == index]
    return "".join(one["function"]["arguments"] for one in calls)


# ---- requests ----


def test_a_plain_question_is_one_that_the_upstream_takes() -> None:
    assert sent() == {"model": "claude-sonnet-4-6", "max_tokens": 40960, "messages": [text_turn("user", "hi")]}


def text_turn(role: str, *texts: str) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": text} for text in texts]}


def test_leading_instructions_are_the_system_and_later_ones_stand_in_the_users_turn() -> None:
    cached = {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}}
    told = sent(
        messages=[
            {"role": "system", "content": "a"},
            {"role": "developer", "content": [cached]},
            HI,
            {"role": "assistant", "content": "yes"},
            {"role": "system", "content": "be brief"},
            HI,
        ]
    )
    assert told["system"] == [{"type": "text", "text": "a"}, cached]
    assert told["messages"] == [
        text_turn("user", "hi"),
        text_turn("assistant", "yes"),
        text_turn("user", "<system>\nbe brief\n</system>", "hi"),
    ]


def test_white_space_alone_says_nothing() -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    told = sent(
        messages=[
            {"role": "system", "content": " "},
            {"role": "user", "content": [{"type": "text", "text": "\n"}, {"type": "text", "text": " hi "}]},
            {"role": "assistant", "content": "\n\n", "refusal": " ", "tool_calls": [call]},
            {"role": "developer", "content": "\t"},
            {"role": "tool", "tool_call_id": "call_1", "content": "ok"},
            {"role": "assistant", "content": " The answer is \n"},
        ]
    )
    assert "system" not in told
    assert told["messages"][0] == text_turn("user", " hi ")
    assert [block["type"] for block in told["messages"][1]["content"]] == ["tool_use"]
    assert [block["type"] for block in told["messages"][2]["content"]] == ["tool_result"]
    assert told["messages"][3] == text_turn("assistant", " The answer is")


def test_images_and_pdfs_become_blocks() -> None:
    content = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,aGk=", "filename": "a.pdf"}},
    ]
    assert sent(messages=[{"role": "user", "content": content}])["messages"][0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="},
            "title": "a.pdf",
        },
    ]


def test_results_of_parallel_calls_are_one_message_and_come_first() -> None:
    calls = [
        {"id": f"c{n}", "type": "function", "function": {"name": "look", "arguments": said}}
        for n, said in enumerate(('{"at": 1.0e3}', ""))
    ]
    told = sent(
        tools=[TOOL],
        messages=[
            HI,
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "c0", "content": "one"},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "two"}]},
            HI,
        ],
    )
    assert [one["role"] for one in told["messages"]] == ["user", "assistant", "user"]
    assert [one["type"] for one in told["messages"][2]["content"]] == ["tool_result", "tool_result", "text"]
    assert [one["input"] for one in told["messages"][1]["content"]] == [{"at": 1000.0}, {}]
    assert b'{"at": 1.0e3}' in translation(messages=[HI, {"role": "assistant", "tool_calls": calls}]).body


def test_ids_that_another_model_gave_calls_are_fitted_and_stay_apart() -> None:
    ids = ("functions.look:0", "functions.look_0", "call_1")
    calls = [{"id": id_, "type": "function", "function": {"name": "look", "arguments": "{}"}} for id_ in ids]
    results = [{"role": "tool", "tool_call_id": id_, "content": id_} for id_ in ids]
    told = sent(messages=[HI, {"role": "assistant", "content": None, "tool_calls": calls}, *results])
    given = [block["id"] for block in told["messages"][1]["content"]]
    assert [block["tool_use_id"] for block in told["messages"][2]["content"]] == given
    assert len(set(given)) == 3
    assert given[2] == "call_1"
    assert all(re.fullmatch("[a-zA-Z0-9_-]+", id_) for id_ in given)


def test_long_names_are_shortened_and_come_back_whole() -> None:
    told = sent(tools=[TOOL, LONG_TOOL])
    name = told["tools"][1]["name"]
    assert told["tools"][0] == {"name": "look", "input_schema": {"type": "object", "properties": {}}}
    assert len(name) == 64
    assert told["tools"][1]["strict"] is True
    said = answer(message({"type": "tool_use", "id": "t", "name": name, "input": {}}), tools=[TOOL, LONG_TOOL])
    assert said["choices"][0]["message"]["tool_calls"][0]["function"] == {"name": LONG, "arguments": "{}"}


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({}, None),
        ({"tool_choice": "auto"}, {"type": "auto"}),
        ({"tool_choice": "none", "parallel_tool_calls": False}, {"type": "none"}),
        ({"tool_choice": "required"}, {"type": "any"}),
        ({"tool_choice": {"type": "function", "function": {"name": "look"}}}, {"type": "tool", "name": "look"}),
        ({"parallel_tool_calls": False}, {"type": "auto", "disable_parallel_tool_use": True}),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "required", "tools": [TOOL]},
                }
            },
            {"type": "any"},
        ),
    ],
)
def test_every_choice_of_a_tool_has_its_form(fields: dict[str, Any], choice: dict[str, Any] | None) -> None:
    assert sent(tools=[TOOL], **fields).get("tool_choice") == choice


def test_effort_asks_for_thinking_and_a_forced_tool_wins_over_it() -> None:
    told = sent(reasoning_effort="high", temperature=0.5)
    assert told["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert told["output_config"] == {"effort": "high"}
    assert "temperature" not in told
    assert sent("claude-sonnet-4-5", reasoning_effort="low")["thinking"] == {"type": "enabled", "budget_tokens": 2048}
    assert "thinking" not in sent(reasoning_effort="high", tools=[TOOL], tool_choice="required")


def test_a_schema_binds_the_output() -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    format_ = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}
    assert sent(response_format=format_)["output_config"] == {"format": {"type": "json_schema", "schema": schema}}


def test_other_fields_keep_their_meaning_or_are_dropped() -> None:
    told = sent(max_completion_tokens=7, max_tokens=9, stop="END", user="u", temperature=1, top_p=0.5, seed=1)
    assert (told["max_tokens"], told["stop_sequences"], told["metadata"]) == (7, ["END"], {"user_id": "u"})
    assert (told["temperature"], told["top_p"], "seed" in told) == (1, 0.5, False)
    assert sent(stop=["", "\nUser:"])["stop_sequences"] == ["\nUser:"]
    assert all("stop_sequences" not in sent(stop=nothing) for nothing in ("", [""], [], None))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"logit_bias": {"1": 1}}, "logit_bias"),
        ({"temperature": 1.5}, "temperature"),
        ({"top_p": 2}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"functions": [{}]}, "functions"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role"),
        ({"messages": [{"role": "system", "content": "a"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "tool", "content": "a"}]}, "messages[0].tool_call_id"),
        ({"tools": [{"type": "custom"}]}, "tools[0].type"),
        ({"tools": [TOOL, TOOL]}, "tools[1].function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "x"}}}, "tool_choice.function.name"),
        ({"response_format": {"type": "json_object"}}, "response_format.type"),
        ({"reasoning_effort": "wild"}, "reasoning_effort"),
        ({"stop": "\n"}, "stop"),
        ({"stop": ["END", " \t"]}, "stop"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_what_cannot_be_expressed_is_refused_by_its_name(fields: dict[str, Any], param: str) -> None:
    assert complaint(**fields) == param


# ---- plain answers ----


def test_an_answer_tells_text_thoughts_calls_and_usage() -> None:
    said = answer(
        message(
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "text", "text": "a"},
            {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": 1}},
            stop_reason="tool_use",
        )
    )
    choice = said["choices"][0]
    assert (said["model"], said["id"], choice["finish_reason"]) == ("public", "chatcmpl-r1", "tool_calls")
    assert (choice["message"]["content"], choice["message"]["reasoning_content"]) == ("a", "hm")
    assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {"at": 1}
    assert (said["usage"]["prompt_tokens"], said["usage"]["total_tokens"]) == (18, 19)
    assert said["usage"]["prompt_tokens_details"] == {"cached_tokens": 5, "cache_write_tokens": 3}


@pytest.mark.parametrize(
    ("stop_reason", "finish_reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("pause_turn", "stop"),
        ("max_tokens", "length"),
        ("refusal", "content_filter"),
        ("something_new", "stop"),
    ],
)
def test_every_reason_to_stop_is_told_even_an_unknown_one(stop_reason: str, finish_reason: str) -> None:
    said = answer(message({"type": "text", "text": "a"}, stop_reason=stop_reason))
    assert said["choices"][0]["finish_reason"] == finish_reason


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"type":"error"}', b"<html>"])
def test_what_is_no_message_raises_value_error(raw: bytes) -> None:
    with pytest.raises(ValueError):
        translation().answer(raw)


def test_errors_come_in_the_clients_shape() -> None:
    raw = b'{"type":"error","error":{"type":"invalid_request_error","message":"too long"}}'
    assert json.loads(translation().error(400, raw))["error"]["message"] == "too long"


# ---- streams ----


def test_a_stream_begins_with_the_role_and_numbers_calls_only() -> None:
    found = chunks(run([GOLDEN], stream_options={"include_usage": True}))
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert found[1]["choices"][0]["delta"] == {"reasoning_content": "hm"}
    assert found[2]["choices"][0]["delta"] == {"content": "Hé\u2028"}
    assert found[3]["choices"][0]["delta"]["tool_calls"][0]["id"] == "toolu_2"
    assert arguments(found, 0) == "".join(PIECES)
    assert arguments(found, 1) == "{}"
    assert found[-2]["choices"][0]["finish_reason"] == "tool_calls"
    assert found[-1]["choices"] == []
    assert (found[-1]["usage"]["prompt_tokens"], found[-1]["usage"]["completion_tokens"]) == (18, 42)


def test_usage_is_told_only_when_asked_for() -> None:
    assert all("usage" not in chunk for chunk in chunks(run([GOLDEN])))


def test_any_split_of_the_stream_gives_the_same_bytes() -> None:
    def run_with_usage(pieces: list[bytes]) -> bytes:
        return run(pieces, stream_options={"include_usage": True})

    check_every_split(run_with_usage, GOLDEN)
    check_every_split(run_with_usage, GOLDEN.replace(b"\n", b"\r\n"))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_arguments_survive_byte_for_byte(pieces: list[str]) -> None:
    found = chunks(run([stream(start(), *call(0, "look", pieces), *stop("tool_use"))]))
    assert arguments(found, 0) == ("".join(pieces) or "{}")


def test_an_error_in_mid_stream_ends_it_without_done_and_without_the_upstreams_words() -> None:
    raw = stream(start(), {"type": "error", "error": {"type": "overloaded_error", "message": "acct-7"}}, *stop())
    last = run([raw]).decode().split("\n\n")[-2]
    assert json.loads(last.removeprefix("data: "))["error"]["type"] == "server_error"
    assert "acct-7" not in last
    assert "[DONE]" not in run([raw]).decode()


def test_an_upstream_that_just_ends_is_finished() -> None:
    found = chunks(run([stream(start(), *block(0, {"type": "text", "text": "a"}))]))
    assert found[-1]["choices"][0]["finish_reason"] == "stop"
