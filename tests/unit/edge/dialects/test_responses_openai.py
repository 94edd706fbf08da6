"""Unit tests of services.edge.dialects.responses_openai."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming
from pydantic import TypeAdapter

from services.edge.dialects.responses_openai import Translation
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

REQUEST: TypeAdapter[Any] = TypeAdapter(CompletionCreateParamsNonStreaming)
USAGE = {
    "prompt_tokens": 18,
    "completion_tokens": 42,
    "total_tokens": 60,
    "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 7},
}


def translation(**fields: Any) -> Translation:
    return Translation(
        request_body(**fields), upstream_model="gpt-up", default_max_tokens=4096, now_s=1_700_000_000, answer_id="r1"
    )


def sent(**fields: Any) -> dict[str, Any]:
    told = json.loads(translation(**fields).body)
    REQUEST.validate_python({name: value for name, value in told.items() if not name.startswith("stream")})
    return dict(told)


def completion(finish_reason: str = "stop", **said: Any) -> bytes:
    whole = {"role": "assistant", "content": None, "refusal": None, **said}
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": USAGE}
    choices = [{"index": 0, "message": whole, "finish_reason": finish_reason, "logprobs": None}]
    return json.dumps({**body, "choices": choices}).encode()


def chunk(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def call(index: int, arguments: str, **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments, **({"name": more.pop("name")} if "name" in more else {})}
    return {"tool_calls": [{"index": index, "function": function, **more}]}


def stream(*chunks: dict[str, Any], usage: bool = True) -> bytes:
    last = [{**chunk(), "choices": [], "usage": USAGE}] if usage else []
    frames = [b"data: " + json.dumps(one).encode() + b"\n\n" for one in (*chunks, *last)]
    return b"".join(frames) + b"data: [DONE]\n\n"


FIRST = (
    chunk(**call(0, "", id="a", name="look", type="function")),
    chunk(**call(0, '{"at": ')),
    chunk(**call(0, "1.0e3 }")),
)
SECOND = (chunk(**call(1, '{"input": "*** ', id="b", name="patch", type="function")), chunk(**call(1, 'x\\n"}')))
GOLDEN = stream(
    chunk(role="assistant", content=""),
    chunk(reasoning_content="hm"),
    chunk(content="Hé"),
    chunk(content="\u2028llo"),
    *FIRST,
    *SECOND,
    chunk("tool_calls"),
)


def run(chunks: list[bytes], **fields: Any) -> bytes:
    asked = {"tools": [FUNCTION, CUSTOM], "reasoning": {"summary": "auto"}, **fields}
    translating = translation(stream=True, **asked)
    return b"".join([*(translating.feed(chunk) for chunk in chunks), translating.end()])


# ---- requests ----


def test_the_request_of_a_coding_agent_is_one_that_the_upstream_takes() -> None:
    told = sent(**CODEX)
    assert [tool["function"]["name"] for tool in told["tools"]] == [
        "exec_command",
        "write_stdin",
        "apply_patch",
        "multi_agent_v1__spawn_agent",
    ]
    assert [one["role"] for one in told["messages"]] == ["system", "system", "user", "user"]
    assert told["messages"][-1] == {"role": "user", "content": "hi"}
    assert (told["model"], told["max_completion_tokens"]) == ("gpt-up", 4096)
    assert told["stream_options"] == {"include_usage": True}
    assert not told.keys() & {"store", "include", "client_metadata", "reasoning", "input"}


def test_a_request_of_many_lines_is_echoed_in_events_of_one() -> None:
    form = {"type": "json_schema", "name": "place", "schema": {"type": "object", "properties": {}}}
    fields = {"stream": True, "tools": [FUNCTION], "text": {"format": form}}
    lines = json.dumps(json.loads(request_body(**fields)), indent=1).replace("\n", "\r\n").encode()
    echoing = Translation(lines, upstream_model="gpt-up", default_max_tokens=4096, now_s=1_700_000_000, answer_id="r1")
    created = events(echoing.feed(stream(chunk(content="hi"), chunk("stop"))) + echoing.end())[0]
    assert created["response"]["tools"] == [FUNCTION]
    assert created["response"]["text"]["format"]["schema"] == form["schema"]


def test_a_loop_of_tools_becomes_messages_with_results_at_once_after_the_calls() -> None:
    image = "data:image/png;base64,QUJD"
    told = sent(
        tools=[FUNCTION, CUSTOM],
        instructions="be good",
        input=[
            {"role": "user", "content": "go"},
            {"type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "x"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "ok"}]},
            {"type": "function_call", "call_id": "a", "name": "look", "arguments": '{"at": 1.0e3}'},
            {"type": "custom_tool_call", "call_id": "b", "name": "patch", "input": 'x"\n'},
            {"type": "function_call_output", "call_id": "a", "output": [{"type": "input_image", "image_url": image}]},
            {"role": "developer", "content": "be brief"},
            {"type": "custom_tool_call_output", "call_id": "b", "output": "done"},
            {"type": "message", "role": "assistant", "content": "fine"},
        ],
    )
    assert [one["role"] for one in told["messages"]] == [
        "system",
        "user",
        "assistant",
        "tool",
        "tool",
        "user",
        "system",
        "assistant",
    ]
    assert [one["function"]["arguments"] for one in told["messages"][2]["tool_calls"]] == [
        '{"at": 1.0e3}',
        '{"input":"x\\"\\n"}',
    ]
    assert told["messages"][4] == {"role": "tool", "tool_call_id": "b", "content": "done"}
    assert told["messages"][5]["content"] == [{"type": "image_url", "image_url": {"url": image}}]


@given(st.text())
def test_arguments_go_to_the_upstream_as_they_are(arguments: str) -> None:
    told = sent(input=[{"type": "function_call", "call_id": "a", "name": "look", "arguments": arguments}])
    assert told["messages"][0]["tool_calls"][0]["function"]["arguments"] == arguments


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ({"type": "function", "name": "look"}, {"type": "function", "function": {"name": "look"}}),
        ({"type": "custom", "name": "patch"}, {"type": "function", "function": {"name": "patch"}}),
    ],
)
def test_every_choice_of_tools_has_its_counterpart(choice: Any, told: Any) -> None:
    assert sent(tools=[FUNCTION, CUSTOM], tool_choice=choice)["tool_choice"] == told


def test_options_are_passed_on() -> None:
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    text = {"format": schema, "verbosity": "low"}
    told = sent(text=text, reasoning={"effort": "xhigh"}, temperature=1.5, max_output_tokens=7, top_p=0.5, user="u")
    assert told["response_format"]["json_schema"] == {"name": "n", "schema": {"type": "object"}, "strict": True}
    assert (told["verbosity"], told["reasoning_effort"], told["temperature"]) == ("low", "xhigh", 1.5)
    assert (told["max_completion_tokens"], told["top_p"], told["user"]) == (7, 0.5, "u")


def test_long_names_are_fitted_and_come_back_whole() -> None:
    names = ["n" * 70, "n" * 70 + "m"]
    tools = [{"type": "function", "name": name, "parameters": {}} for name in names]
    told = [tool["function"]["name"] for tool in sent(tools=tools)["tools"]]
    assert len(set(told)) == 2
    assert max(map(len, told)) == 64
    calls = [{"id": "a", "type": "function", "function": {"name": name, "arguments": "{}"}} for name in told]
    output = response(translation(tools=tools).answer(completion("tool_calls", tool_calls=[calls[1]])))["output"]
    assert output[0]["name"] == names[1]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        (
            {"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://x"}]}]},
            "input[0].content",
        ),
        ({"input": [{"role": "system", "content": [{"type": "input_image", "image_url": "x"}]}]}, "input[0].content"),
        ({"text": {"format": {"type": "json_schema", "name": "x"}}}, "text.format.schema"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Refusal) as refused:
        translation(**fields)
    assert (refused.value.kind, refused.value.details["param"]) == (Kind.INVALID_REQUEST, param)


# ---- plain answers ----


def test_a_plain_answer_is_a_whole_response() -> None:
    calls = [
        {"id": "a", "type": "function", "function": {"name": "look", "arguments": '{"at": 1.0e3}'}},
        {"id": "b", "type": "function", "function": {"name": "patch", "arguments": '{"input":"***"}'}},
    ]
    body = completion("tool_calls", content="Hello", tool_calls=calls)
    ChatCompletion.model_validate_json(body, strict=True)
    answer = response(translation(tools=[FUNCTION, CUSTOM]).answer(body))
    assert [item["type"] for item in answer["output"]] == ["message", "function_call", "custom_tool_call"]
    assert answer["output"][1]["arguments"] == '{"at": 1.0e3}'
    assert answer["output"][2]["input"] == "***"
    assert (answer["id"], answer["model"], answer["status"]) == ("resp_r1", "public", "completed")
    assert answer["usage"] == {
        "input_tokens": 18,
        "input_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 3},
        "output_tokens": 42,
        "output_tokens_details": {"reasoning_tokens": 7},
        "total_tokens": 60,
    }


@pytest.mark.parametrize(
    ("finish_reason", "reason"),
    [("stop", None), ("of_tomorrow", None), ("length", "max_output_tokens"), ("content_filter", "content_filter")],
)
def test_reasons_to_finish_become_a_status(finish_reason: str, reason: str | None) -> None:
    answer = response(translation().answer(completion(finish_reason, content="x")))
    assert (answer["incomplete_details"] or {}).get("reason") == reason
    assert answer["status"] == answer["output"][0]["status"] == ("incomplete" if reason else "completed")


def test_a_refusal_is_told_as_one() -> None:
    assert response(translation().answer(completion(refusal="no")))["output"][0]["content"][0]["refusal"] == "no"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"error":{}}', b'{"choices":[]}', b'{"choices":[{}]}'])
def test_what_is_no_completion_is_a_value_error(body: bytes) -> None:
    with pytest.raises(ValueError):
        translation().answer(body)


# ---- streams ----


def test_a_stream_is_the_full_sequence_of_events() -> None:
    found = events(run([GOLDEN]))
    assert types(found) == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
        "completed",
    ]
    last = found[-1]["response"]
    assert last["output"] == [event["item"] for event in found if event["type"] == "response.output_item.done"]
    assert (last["usage"]["input_tokens"], last["usage"]["output_tokens"]) == (18, 42)
    assert joined(found, "response.function_call_arguments.delta") == '{"at": 1.0e3 }'
    assert last["output"][3]["input"] == "*** x\n"


@given(st.lists(st.text(), max_size=8))
def test_arguments_come_to_the_client_as_they_are_however_they_are_cut(pieces: list[str]) -> None:
    parts = [chunk(**call(0, "", id="a", name="look")), *(chunk(**call(0, piece)) for piece in pieces)]
    found = events(run([stream(*parts, chunk("tool_calls"))]))
    told = joined(found, "response.function_call_arguments.delta")
    assert told == found[-1]["response"]["output"][0]["arguments"] == ("".join(pieces) or "{}")


def test_the_upstreams_chunks_of_these_tests_are_the_upstreams() -> None:
    for one in (*FIRST, *SECOND, chunk("stop", content="x")):
        ChatCompletionChunk.model_validate_json(json.dumps(one), strict=True)


def test_every_split_of_a_stream_gives_the_same_bytes() -> None:
    check_every_split(run, GOLDEN)
    check_every_split(run, GOLDEN.replace(b"\n", b"\r\n"))


def test_pieces_of_parallel_calls_that_are_mixed_and_text_between_them_are_kept_apart() -> None:
    mixed = stream(FIRST[0], SECOND[0], FIRST[1], chunk(content="and"), SECOND[1], FIRST[2], chunk("tool_calls"))
    output = events(run([mixed]))[-1]["response"]["output"]
    assert [item["type"] for item in output] == ["function_call", "custom_tool_call", "message"]
    assert (output[0]["arguments"], output[1]["input"]) == ('{"at": 1.0e3 }', "*** x\n")


def test_calls_that_all_have_the_same_number_are_told_apart_by_their_ids() -> None:
    whole = [chunk(**call(0, "{}", id=id_, name="look")) for id_ in ("a", "b")]
    output = events(run([stream(*whole, chunk("tool_calls"))]))[-1]["response"]["output"]
    assert [item["call_id"] for item in output] == ["a", "b"]


def test_calls_of_a_plain_answer_need_no_ids() -> None:
    calls = [{"type": "function", "function": {"name": "look", "arguments": "{}"}}] * 2
    output = response(translation().answer(completion("tool_calls", tool_calls=calls)))["output"]
    assert [item["call_id"] for item in output] == ["call_r1_1", "call_r1_2"]


def test_a_stream_without_usage_or_its_end_still_ends() -> None:
    raw = stream(chunk(content="x"), chunk("length"), usage=False).removesuffix(b"data: [DONE]\n\n")
    last = events(run([raw]))[-1]
    assert (last["type"], last["response"]["usage"]["total_tokens"]) == ("response.incomplete", 0)


def test_an_error_in_mid_stream_fails_the_response_without_the_upstreams_words() -> None:
    error = {"error": {"message": "account of Bob", "type": "x", "code": 429}}
    raw = run([stream(chunk(content="x"), error)])
    found = events(raw)
    assert b"Bob" not in raw
    assert (found[-1]["type"], found[-1]["response"]["error"]["code"]) == ("response.failed", "rate_limit_exceeded")


def test_what_is_unknown_in_a_stream_is_dropped() -> None:
    raw = b": comment\n\ndata: {nonsense\n\ndata: []\n\n" + stream({"odd": 1}, chunk(content="x", odd=2))
    assert events(run([raw]))[-1]["response"]["output"][0]["content"][0]["text"] == "x"
