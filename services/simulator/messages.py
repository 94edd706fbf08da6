"""Anthropic's Messages API as an upstream speaks it: what is refused, and the bytes of answers and streams. Pure.

Shapes: https://docs.anthropic.com/en/api/messages and .../messages-streaming.
"""

import base64
import functools
import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import msgspec

from services.simulator.script import Script

_DEFAULT_TOKENS: Final = 40
_BYTES_PER_TOKEN: Final = 4
_NO_CREDIT: Final = (
    "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase"
    " credits."
)
_ROLES: Final = ("user", "assistant", "system")
# What a careless relay breaks on: not ASCII, a line separator that is no newline, quotes, the protocol's own words.
_ODD: Final = (" naïve", " \u2028", " 😀", ' "usage":', " \\", " data: x\n\n", " 東京")


class Invalid(Exception):
    """A request that the API refuses; the text names the field."""


@dataclass(frozen=True)
class Request:
    """A valid request, as far as answers depend on it."""

    model: str
    max_tokens: int
    stream: bool
    prompt: str
    thoughts: tuple["Thought", ...] = ()


class Thought(NamedTuple):
    """A thinking block among the messages: where it is, and whether it is signed as the simulator signed it."""

    where: str
    signed: bool


class _Raw(msgspec.Struct):
    """What counts as it was written."""

    tools: msgspec.Raw = msgspec.Raw()


_decode_raw: Final = msgspec.json.Decoder(_Raw).decode


def read(body: bytes) -> Request:
    """Reads a request. Raises Invalid."""
    try:
        fields, raw = msgspec.json.decode(body), _decode_raw(body) if b'"tools"' in body else _Raw()
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the body is not a valid JSON object: {error}") from None
    if not isinstance(fields, dict):
        raise Invalid("the body must be a JSON object")
    model, max_tokens, stream = fields.get("model"), fields.get("max_tokens"), fields.get("stream", False)
    if not isinstance(model, str) or not model:
        raise Invalid("model: string is required")
    if not isinstance(max_tokens, int) or isinstance(max_tokens, bool) or max_tokens < 1:
        raise Invalid("max_tokens: integer of at least 1 is required")
    if not isinstance(stream, bool):
        raise Invalid("stream: must be a boolean")
    texts = list(_message_texts(fields.get("messages")))
    texts += _texts("system", fields.get("system") or "")
    texts.append(bytes(raw.tools).decode())
    thoughts = tuple(_thoughts(fields["messages"])) if b"thinking" in body else ()
    return Request(model, max_tokens, stream, "\n".join(filter(None, texts)), thoughts)


def _message_texts(messages: Any) -> Iterator[str]:
    if not isinstance(messages, list) or not messages:
        raise Invalid("messages: a list of at least one message is required")
    for index, one in enumerate(messages):
        if not isinstance(one, dict) or one.get("role") not in _ROLES:
            raise Invalid(f"messages.{index}.role: must be one of {', '.join(_ROLES)}")
        yield from _texts(f"messages.{index}.content", one.get("content"))
    if messages[0]["role"] != "user":
        raise Invalid("messages.0.role: the first message must be the user's")


def _texts(where: str, content: Any) -> Iterator[str]:
    """The text of a string, or of blocks and what tool results among them hold."""
    if isinstance(content, str):
        yield content
        return
    if not isinstance(content, list):
        raise Invalid(f"{where}: must be a string or a list of blocks")
    for index, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise Invalid(f"{where}.{index}.type: every block is an object with a type")
        if isinstance(block.get("text"), str):
            yield block["text"]
        if block["type"] == "tool_result" and block.get("content"):
            yield from _texts(f"{where}.{index}.content", block["content"])


def _thoughts(messages: list[Any]) -> Iterator[Thought]:
    for index, one in enumerate(messages):
        content = one["content"] if isinstance(one["content"], list) else ()
        for place, block in enumerate(content):
            if block["type"] == "thinking":
                signed = block.get("signature") == signature(str(block.get("thinking")))
                yield Thought(f"messages.{index}.content.{place}", signed)


def signature(thought: str) -> str:
    """What the simulator signs a thinking block with; like the real one it holds for these words only."""
    digest = hashlib.sha256(b"simulator:" + thought.encode("utf-8", "surrogatepass")).digest()
    return base64.b64encode(digest).decode()


def refusal(request: Request, script: Script) -> str | None:
    """Why the real API would answer such a request with 400 invalid_request_error; None where it would not."""
    if script.error == "credit":
        return _NO_CREDIT
    for thought in request.thoughts:
        if script.error == "signature" or not thought.signed:
            return f"{thought.where}: Invalid `signature` in `thinking` block"
    return None


@dataclass(frozen=True)
class Counts:
    """Tokens of each class."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0


class Event(NamedTuple):
    """One event of a stream: its bytes, whether it tells input and cache tokens, how many output tokens it brings."""

    data: bytes
    starts: bool = False
    output: int = 0


def plan(request: Request, script: Script) -> Counts:
    """What an answer in full uses."""
    counted = max(1, -(-len(request.prompt.encode("utf-8", "replace")) // _BYTES_PER_TOKEN))
    return Counts(
        input=counted if script.input_tokens is None else script.input_tokens,
        output=min(script.tokens or _DEFAULT_TOKENS, request.max_tokens),
        cache_read=script.cache_read,
        cache_write_5m=script.cache_write_5m,
        cache_write_1h=script.cache_write_1h,
    )


def error(type_: str, message: str, request_id: str) -> bytes:
    """An error body."""
    return msgspec.json.encode(
        {"type": "error", "error": {"type": type_, "message": message}, "request_id": request_id}
    )


def answer(request: Request, script: Script, counts: Counts, message_id: str) -> bytes:
    """A plain answer."""
    content: list[dict[str, Any]] = []
    if script.thinking:
        thought = "".join(_words(script.thinking))
        content.append({"type": "thinking", "thinking": thought, "signature": signature(thought)})
    content.append({"type": "text", "text": "".join(_words(counts.output))})
    if script.tool:
        content.append({"type": "tool_use", "id": "toolu_" + message_id[4:], "name": "get_weather", "input": _TOOL})
    head = _message(request, counts, message_id, counts.output)
    return msgspec.json.encode(head | {"content": content, "stop_reason": _stop_reason(request, script, counts)})


def events(request: Request, script: Script, counts: Counts, message_id: str) -> Iterator[Event]:
    """A stream, event by event."""
    if script.error_first:
        yield _error_event(script)
        return
    yield Event(_frame({"type": "message_start", "message": _message(request, counts, message_id, 1)}), starts=True)
    index = 0
    if script.thinking:
        yield from _block(index, {"type": "thinking", "thinking": "", "signature": ""}, _thinking(script.thinking))
        index += 1
    yield _event({"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}})
    yield _event({"type": "ping"})
    for word in itertools.islice(_words(counts.output), script.error_after):
        yield _text_delta(index, word)
    if script.error_after is not None:
        yield _error_event(script)
        return
    yield _event({"type": "content_block_stop", "index": index})
    if script.tool:
        start = {"type": "tool_use", "id": "toolu_" + message_id[4:], "name": "get_weather", "input": {}}
        yield from _block(index + 1, start, _tool_input())
    ending: dict[str, Any] = {"stop_reason": _stop_reason(request, script, counts), "stop_sequence": None}
    yield _event({"type": "message_delta", "delta": ending, "usage": _counted(counts, counts.output)})
    yield _event({"type": "message_stop"})


_TOOL: Final = {"city": "東京", "usage": {"output_tokens": 999_999}}


def _error_event(script: Script) -> Event:
    message = "Overloaded" if script.error_type == "overloaded_error" else script.message
    return _event({"type": "error", "error": {"type": script.error_type, "message": message}})


def _tool_input() -> Iterator[dict[str, Any]]:
    text = msgspec.json.encode(_TOOL).decode()
    for begin in range(0, len(text), 7):
        yield {"type": "input_json_delta", "partial_json": text[begin : begin + 7]}


def _thinking(count: int) -> Iterator[dict[str, Any]]:
    for word in _words(count):
        yield {"type": "thinking_delta", "thinking": word}
    yield {"type": "signature_delta", "signature": signature("".join(_words(count)))}


def _block(index: int, start: dict[str, Any], deltas: Iterator[dict[str, Any]]) -> Iterator[Event]:
    yield _event({"type": "content_block_start", "index": index, "content_block": start})
    for delta in deltas:
        yield _event({"type": "content_block_delta", "index": index, "delta": delta})
    yield _event({"type": "content_block_stop", "index": index})


@functools.lru_cache(maxsize=4096)
def _text_delta(index: int, word: str) -> Event:
    """One token. Nearly all of a stream is made here, and its words are the same each time."""
    delta = {"type": "text_delta", "text": word}
    return Event(_frame({"type": "content_block_delta", "index": index, "delta": delta}), output=1)


def _words(count: int) -> Iterator[str]:
    for number in range(count):
        yield _ODD[number // 5 % len(_ODD)] if number % 5 == 2 else f" tok{number:04d}"


def _stop_reason(request: Request, script: Script, counts: Counts) -> str:
    if script.tool:
        return "tool_use"
    return "max_tokens" if counts.output == request.max_tokens else "end_turn"


def _message(request: Request, counts: Counts, message_id: str, output: int) -> dict[str, Any]:
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": request.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": _usage(counts, output),
    }


def _usage(counts: Counts, output: int) -> dict[str, Any]:
    split = {
        "ephemeral_5m_input_tokens": counts.cache_write_5m,
        "ephemeral_1h_input_tokens": counts.cache_write_1h,
    }
    return {**_counted(counts, output), "cache_creation": split, "service_tier": "standard"}


def _counted(counts: Counts, output: int) -> dict[str, int]:
    """What `message_delta` repeats: it does not split the cache writes again."""
    return {
        "input_tokens": counts.input,
        "cache_creation_input_tokens": counts.cache_write_5m + counts.cache_write_1h,
        "cache_read_input_tokens": counts.cache_read,
        "output_tokens": output,
    }


def _event(data: dict[str, Any]) -> Event:
    return Event(_frame(data))


def _frame(data: dict[str, Any]) -> bytes:
    type_: str = data["type"]
    return b"event: " + type_.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"
