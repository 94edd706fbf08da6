"""What is refused, what is counted, and the bytes of answers: all without a connection."""

import json
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from services.simulator.asked import Invalid
from services.simulator.messages import answer, events
from services.simulator.messages_request import read
from services.simulator.said import plan
from services.simulator.script import NO_SCRIPT, Script
from tests.unit.simulator.client import message

EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
SCRIPTS = [
    NO_SCRIPT,
    Script(tokens=1),
    Script(thinking=3, tool=1, cache_read=5, cache_write_5m=6, cache_write_1h=7),
]


def body(**fields: Any) -> bytes:
    return json.dumps(message(**fields)).encode()


def stream(script: Script, **fields: Any) -> list[dict[str, Any]]:
    asked = read(body(**fields))
    frames = [event.data for event in events(asked, plan(asked, script), script, "msg_1")]
    for frame in frames:
        assert frame.count(b"\n") == 3
        assert frame.endswith(b"\n\n")
    found = [json.loads(frame.split(b"\ndata: ")[1]) for frame in frames]
    assert [frame.split(b"\n")[0] for frame in frames] == [b"event: " + one["type"].encode() for one in found]
    return found


def plain(script: Script, **fields: Any) -> Message:
    asked = read(body(**fields))
    return Message.model_validate_json(answer(asked, plan(asked, script), "msg_1"), strict=True)


def unknown_fields(value: Any) -> list[str]:
    """Fields that the API's own types do not know, anywhere in a value."""
    if isinstance(value, BaseModel):
        known = [name for field in type(value).model_fields for name in unknown_fields(getattr(value, field))]
        return known + list(value.__pydantic_extra__ or {})
    if isinstance(value, list):
        return [name for item in value for name in unknown_fields(item)]
    return []


@pytest.mark.parametrize("script", SCRIPTS)
def test_answers_and_events_have_the_real_apis_fields_and_no_others(script: Script) -> None:
    assert unknown_fields(plain(script)) == []
    for event in stream(script):
        if event["type"] != "ping":
            assert unknown_fields(EVENT.validate_json(json.dumps(event), strict=True)) == []


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_stream_says_what_the_plain_answer_says(script: Script) -> None:
    found, whole = stream(script), plain(script)
    said = {"text": "", "thinking": "", "partial_json": "", "signature": ""}
    for event in found:
        if event["type"] == "content_block_delta":
            for name in said.keys() & event["delta"].keys():
                said[name] += event["delta"][name]
    for block in whole.content:
        if block.type == "text":
            assert block.text == said["text"]
        elif block.type == "thinking":
            assert (block.thinking, block.signature) == (said["thinking"], said["signature"])
        elif block.type == "tool_use":
            assert block.input == json.loads(said["partial_json"])
    [delta] = [event for event in found if event["type"] == "message_delta"]
    assert delta["delta"]["stop_reason"] == whole.stop_reason
    usage = whole.usage.model_dump()
    assert {name: usage[name] for name in delta["usage"]} == delta["usage"]


def test_a_stream_has_its_events_in_the_real_apis_order() -> None:
    types = [event["type"] for event in stream(Script(tokens=2, thinking=1, tool=1))]
    assert types[:5] == [
        "message_start", "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop"
    ]  # fmt: skip
    assert types[5:10] == [
        "content_block_start", "ping", "content_block_delta", "content_block_delta", "content_block_stop"
    ]  # fmt: skip
    assert types[10] == "content_block_start"
    assert set(types[11:-3]) == {"content_block_delta"}
    assert types[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_the_start_tells_input_and_cache_and_the_end_repeats_them_with_the_output() -> None:
    found = stream(Script(tokens=9, input_tokens=4, cache_read=5, cache_write_5m=6, cache_write_1h=7))
    start, end = found[0]["message"]["usage"], found[-2]["usage"]
    assert start.pop("cache_creation") == {"ephemeral_5m_input_tokens": 6, "ephemeral_1h_input_tokens": 7}
    assert start.pop("service_tier") == "standard"
    both = {"input_tokens": 4, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 13}
    assert start == both | {"output_tokens": 1}
    assert end == both | {"output_tokens": 9}


def test_a_token_is_a_delta_and_the_text_has_what_careless_relays_break_on() -> None:
    asked = read(body())
    found = list(events(asked, plan(asked, NO_SCRIPT), NO_SCRIPT, "msg_1"))
    assert sum(event.output for event in found) == plan(asked, NO_SCRIPT).counts.output == 40
    assert [event.starts for event in found].index(True) == 0
    whole = b"".join(event.data for event in found)
    for odd in ("naïve", "\u2028", "😀", '\\"usage\\":', "\\\\", "data: x\\n\\n"):
        assert odd.encode() in whole


@pytest.mark.parametrize("after", [0, 3, 5, 50])
def test_a_scripted_error_ends_the_stream_even_when_the_text_is_shorter(after: int) -> None:
    found = stream(Script(tokens=5, error_after=after))
    assert found[-1] == {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    assert sum(event["type"] == "content_block_delta" for event in found) == min(after, 5)
    assert "message_delta" not in [event["type"] for event in found]


def test_output_is_limited_by_max_tokens() -> None:
    limited = plain(Script(tokens=50), max_tokens=3)
    assert (limited.usage.output_tokens, limited.stop_reason) == (3, "max_tokens")
    assert plain(Script(tokens=2), max_tokens=3).stop_reason == "end_turn"


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({"messages": [{"role": "user", "content": "1234"}]}, 1),
        ({"messages": [{"role": "user", "content": "12345"}]}, 2),
        ({"messages": [{"role": "user", "content": "東京"}]}, 2),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 40}]}]}, 10),
        ({"messages": [{"role": "user", "content": "x" * 7}], "system": "y" * 8}, 4),
        ({"messages": [{"role": "user", "content": "x" * 7}], "system": [{"type": "text", "text": "y" * 8}]}, 4),
        ({"messages": [{"role": "user", "content": "x" * 7}], "tools": [{"type": "t1"}]}, 6),
    ],
)
def test_input_is_a_token_for_four_bytes_of_text(fields: dict[str, Any], tokens: int) -> None:
    assert plan(read(body(**fields)), NO_SCRIPT).counts.input == tokens


def test_a_tool_result_is_text_too_and_a_system_message_may_come_in_mid_conversation() -> None:
    call = {"type": "tool_use", "id": "t", "name": "look", "input": {}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "inner"}]}
    messages = [
        {"role": "user", "content": "look"},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
        {"role": "system", "content": "rules"},
        {"role": "assistant", "content": "well"},
    ]
    assert read(body(messages=messages), "mid-conversation-system-2026-04-07").prompt == "look\ninner\nrules\nwell"
    with pytest.raises(Invalid, match=r"^messages\.3\.role"):
        read(body(messages=messages))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": ["x"]}, "messages.0.role"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": ""}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages.0.content.0.type"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages.0.content.0.type"),
        ({"system": 7}, "system"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"stream": 1}, "stream"),
    ],
)
def test_what_the_real_api_refuses_is_refused_by_the_name_of_the_field(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(Invalid, match=rf"^{words}:"):
        read(body(**fields))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'"tools"', b"\xff", b'{"a": "\xff"}', b"[" * 100_000, b"1e999"])
def test_what_is_no_json_object_is_refused(text: bytes) -> None:
    with pytest.raises(Invalid, match="JSON object"):
        read(text)


@given(st.binary() | st.recursive(st.none() | st.text() | st.integers(), lambda x: st.lists(x)).map(json.dumps))
def test_no_body_is_more_than_refused(value: bytes | str) -> None:
    text = value if isinstance(value, bytes) else value.encode()
    for each in (text, b'{"model":"m","max_tokens":1,"messages":' + text + b',"tools":' + text + b"}"):
        with pytest.raises(Invalid):
            read(each)


def test_fields_of_todays_agents_are_taken() -> None:
    assert read(body(context_management={"edits": []}, thinking={"type": "adaptive"})).model == "m"
