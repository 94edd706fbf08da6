"""Requests of each API that hold what tests look for, and a walk for fields that an API does not have."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import strategies as st
from pydantic import BaseModel

from services.simulator.asked import Invalid

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
NAMES = [
    *("role", "content", "type", "text", "tools", "tool_choice", "tool_calls", "function", "id", "name", "arguments"),
    *("messages", "input", "system", "source", "call_id", "output", "summary", "thinking", "response_format", "format"),
    *("stop", "stop_sequences", "n", "stream_options", "metadata", "reasoning", "include", "output_config"),
]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "array", "items": {"$ref": "#/$defs/day"}}},
    "required": ["city", "days"],
    "additionalProperties": False,
    "$defs": {"day": {"enum": ["monday", "sunday"]}},
}


def body(fields: dict[str, Any]) -> bytes:
    """As a client sends it."""
    return json.dumps(fields).encode()


def chat(**fields: Any) -> dict[str, Any]:
    """A small valid request of Chat Completions."""
    return {"model": "m", "messages": [{"role": "user", "content": "Hello there"}]} | fields


def function(name: str = "look", **fields: Any) -> dict[str, Any]:
    """A tool of Chat Completions."""
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}} | fields}


def chat_call(id_: str, name: str = "look", arguments: Any = "{}") -> dict[str, Any]:
    """A call among the messages of Chat Completions."""
    return {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}


def chat_turns(*messages: dict[str, Any]) -> dict[str, Any]:
    """A conversation that begins with the user's words."""
    return {"messages": [{"role": "user", "content": "hi"}, *messages]}


VALUES = st.recursive(
    st.none() | st.text() | st.integers() | st.booleans(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
"""Values of any shape, with names that requests know."""


def refusals(read: Callable[[bytes], object], valid: dict[str, Any], value: Any) -> Iterator[str]:
    """What is said of a request where one field after the other has that value; anything but Invalid is a fault."""
    for name in (*valid, *NAMES):
        try:
            read(body(valid | {name: value}))
        except Invalid as refused:
            yield str(refused)


def unknown_fields(value: Any) -> list[str]:
    """Fields that the API's own types do not know, anywhere in a value."""
    if isinstance(value, BaseModel):
        known = [name for field in type(value).model_fields for name in unknown_fields(getattr(value, field))]
        return known + list(value.__pydantic_extra__ or {})
    if isinstance(value, list):
        return [name for item in value for name in unknown_fields(item)]
    return []
