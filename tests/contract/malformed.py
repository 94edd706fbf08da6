"""Requests as no client should send them: valid ones with something wrong somewhere, and heads out of order."""

import copy
import json
from typing import Any, Final

from hypothesis import strategies as st

PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
"""A PNG of one pixel."""
_COUNTED: Final = ("model", "system", "messages", "tools", "tool_choice")
_SCHEMA: Final = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


def requests(model: str) -> dict[str, list[dict[str, Any]]]:
    """Valid requests, by path, that use much of each API."""
    return {
        "/v1/messages": [_messages(model), _messages(model) | {"stream": True}],
        "/v1/messages/count_tokens": [{name: value for name, value in _messages(model).items() if name in _COUNTED}],
        "/v1/chat/completions": [_chat(model), _chat(model) | {"stream": True}],
        "/v1/responses": [_responses(model), _responses(model) | {"stream": True}],
        "/v1/embeddings": [{"model": model, "input": ["Hello.", "Again."], "encoding_format": "float"}],
    }


def _messages(model: str) -> dict[str, Any]:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    call = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Ulm"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "mild"}]}
    return {
        "model": model,
        "max_tokens": 50,
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Say hello."}, image]},
            {"role": "assistant", "content": [{"type": "text", "text": "Let me see."}, call]},
            {"role": "user", "content": [result]},
        ],
        "tools": [{"name": "weather", "description": "Tells it.", "input_schema": _SCHEMA}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
        "stop_sequences": ["END"],
        "temperature": 0.5,
        "metadata": {"user_id": "somebody"},
    }


def _chat(model: str) -> dict[str, Any]:
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Ulm"}'}}
    function = {"name": "weather", "description": "Tells it.", "parameters": _SCHEMA, "strict": True}
    return {
        "model": model,
        "max_completion_tokens": 50,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Say hello."}, image]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "mild"},
        ],
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "place", "schema": _SCHEMA, "strict": True}},
        "stop": ["END"],
        "temperature": 0.5,
        "user": "somebody",
    }


def _responses(model: str) -> dict[str, Any]:
    image = {"type": "input_image", "detail": "auto", "image_url": f"data:image/png;base64,{PIXEL}"}
    call = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city": "Ulm"}'}
    return {
        "model": model,
        "max_output_tokens": 50,
        "instructions": "Be brief.",
        "input": [
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Say hello."}, image]},
            call,
            {"type": "function_call_output", "call_id": "call_1", "output": "mild"},
        ],
        "tools": [{"type": "function", "name": "weather", "parameters": _SCHEMA, "strict": True}],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "text": {"format": {"type": "json_schema", "name": "place", "schema": _SCHEMA, "strict": True}},
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }


def _nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


_LONG: Final = 20_000
_TEXTS: Final = st.sampled_from(
    [
        *("", " ", "\x00", "\ud800", "a\udfffb", "\u2028\u2029\x85", "\ufeff", "x" * _LONG, "\U0001f600" * 300, "{"),
        *("data:image/png;base64,!!!", "data:,", "data:;base64,", "http://", "file:///etc/passwd", "[[sim status=500"),
    ]
) | st.text(max_size=30)
_ODD: Final = _TEXTS | st.sampled_from(
    [
        *(None, True, False, 0, -1, 1, 0.5, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**400, 1e308, -0.0),
        *(float("nan"), float("inf"), float("-inf")),
        *(
            [],
            {},
            [[]],
            [None],
            [[], {}],
            {"": None},
            {"type": None},
            {"type": "text"},
            {"type": "x" * 300},
            {"\ud800": 1},
        ),
        *(_nested(60), _nested(900)),
    ]
)
_ANY: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
_BYTES: Final = st.sampled_from(
    [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x00", b",", b"}", b'"', b"\\u", b"\xef\xbb\xbf", b"1e999"]
)


def _places(tree: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to every value below the root."""
    members = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    found = []
    for name, value in members:
        found += [(*at, name), *_places(value, (*at, name))]
    return found


@st.composite
def trees(draw: st.DrawFn, valid: dict[str, Any]) -> dict[str, Any]:
    """A valid request; up to three of its values replaced, left out, doubled, or named otherwise."""
    tree = copy.deepcopy(valid)
    for _ in range(draw(st.integers(0, 3))):
        # The model stays: without it nobody would be asked.
        places = [place for place in _places(tree) if place != ("model",)]
        if not places:
            break
        *way, last = draw(st.sampled_from(places))
        holder: Any = tree
        for step in way:
            holder = holder[step]
        _spoil(draw, holder, last)
    return tree


def _spoil(draw: st.DrawFn, holder: Any, at: Any) -> None:
    """Makes something odd of a member."""
    match draw(st.sampled_from(("same type", "same type", "same type", "odd", "any", "drop", "double", "name"))):
        case "same type" if isinstance(holder[at], str):
            holder[at] = draw(_TEXTS)
        case "same type" if isinstance(holder[at], int | float):
            holder[at] = draw(st.integers(-5, 5000) | st.floats(-3, 3))
        case "same type" | "odd":
            holder[at] = copy.deepcopy(draw(_ODD))
        case "any":
            holder[at] = draw(_ANY)
        case "drop":
            del holder[at]
        case "double" if isinstance(holder, list):
            holder.append(copy.deepcopy(holder[at]))
        case _ if isinstance(holder, dict):
            holder[draw(st.text(max_size=10))] = holder.pop(at)


@st.composite
def bodies(draw: st.DrawFn, valid: dict[str, Any]) -> bytes:
    """Bytes of a body: mostly JSON, not always whole."""
    tree = draw(trees(valid))
    # Lone surrogates can only stand escaped.
    escaped = draw(st.booleans()) or "\\ud" in json.dumps(tree).lower()
    text = json.dumps(tree, ensure_ascii=escaped)
    body = text.encode()
    match draw(st.sampled_from(("whole",) * 14 + ("cut", "broken", "twice", "nothing", "spaced", "bytes"))):
        case "cut":
            return body[: draw(st.integers(0, len(body)))]
        case "broken":
            at = draw(st.integers(0, len(body)))
            return body[:at] + draw(_BYTES) + body[at:]
        case "twice":
            name = draw(st.sampled_from(sorted(valid)))
            doubled = json.dumps({name: draw(_ODD)}).encode()
            return body[:-1] + b"," + doubled[1:]
        case "nothing":
            return draw(
                st.sampled_from([b"", b" ", b"null", b"[]", b"{}", b"0", b'""', b"[" * 50_000, b'{"a":' * 50_000])
            )
        case "spaced":
            return b"\r\n\t " + body.replace(b", ", b" ,\n\t") + b"\n\n"
        case "bytes":
            return draw(st.binary(max_size=200))
        case _:
            return body


_VALUES: Final = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40)
_TYPES: Final = st.sampled_from(
    ["application/json", "application/json; charset=utf-16", "text/plain", "multipart/form-data", "", "x" * 500, "é/ü"]
)
_NAMES: Final = (
    "accept",
    "accept-encoding",
    "anthropic-beta",
    "anthropic-version",
    "connection",
    "content-encoding",
    "cookie",
    "forwarded",
    "http-referer",
    "idempotency-key",
    "openai-beta",
    "origin",
    "user-agent",
    "x-forwarded-for",
    "x-request-id",
    "x-stainless-retry-count",
    "x-title",
)


QUERIES: Final = st.sampled_from(
    ["", "", "", "?beta=true", "?key=sk-nobody", "?beta=%ff%00&beta=[", "?%F0%9F=1&=&&", "?" + "x" * 4000]
)
"""What may stand behind the path."""


@st.composite
def heads(draw: st.DrawFn) -> dict[str, str]:
    """Headers beside the key's: none at all, or some that say odd things."""
    if draw(st.booleans()):
        return {}
    head = {"content-type": draw(_TYPES)}
    for name in draw(st.lists(st.sampled_from(_NAMES), max_size=4, unique=True)):
        head[name] = draw(_VALUES | st.just("x" * 4000))
    return head


_SCRIPTS: Final = st.dictionaries(
    st.sampled_from(("tokens", "thinking", "tool", "chunk", "crlf", "echo", "cache_read", "cache_write_1h")),
    st.integers(0, 3),
    max_size=4,
)
_COMPLAINT: Final = st.sampled_from(("status=400", "status=404", "status=413; message=\u00e9", "status=422"))


@st.composite
def scripts(draw: st.DrawFn) -> str:
    """What the simulator answers: a script for it, mostly of an answer with more in it than usual."""
    if draw(st.integers(0, 9)) == 0:
        return draw(_COMPLAINT)
    return "; ".join(
        f"{name}={min(number, 1) if name in ('crlf', 'echo') else number}"
        for name, number in draw(_SCRIPTS).items()
        if number
    )
