"""Answers and streams of Anthropic's Messages API, as bytes. Pure.

Shapes: https://docs.anthropic.com/en/api/messages and .../messages-streaming.
"""

import functools
import itertools
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from services.simulator.asked import Asked, Invalid, signature
from services.simulator.said import Called, Said, words
from services.simulator.script import Script
from services.simulator.sse import Event, named
from services.simulator.tokens import Counts

_NO_CREDIT: Final = (
    "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase"
    " credits."
)


def refusal(asked: Asked, script: Script) -> Invalid | None:
    """Why the real API would refuse such a request although it is valid; None where it would not."""
    if script.error == "credit":
        return Invalid(_NO_CREDIT)
    return asked.thoughtful if script.error == "signature" else asked.refused


def error(type_: str, message: str, request_id: str, code: str | None = None) -> bytes:
    """An error body; `code` is what programs know the fault by."""
    told: dict[str, Any] = {"type": type_, "message": message}
    if code is not None:
        told["details"] = {"error_code": code}
    return msgspec.json.encode({"type": "error", "error": told, "request_id": request_id})


def counted(said: Said) -> bytes:
    """The answer of count_tokens."""
    return msgspec.json.encode({"input_tokens": said.counts.prompt})


def answer(asked: Asked, said: Said, message_id: str) -> bytes:
    """A plain answer."""
    content: list[dict[str, Any]] = []
    if said.thoughts:
        content.append({"type": "thinking", "thinking": said.thought, "signature": signature(said.thought)})
    content.append({"type": "text", "text": said.text})
    for number, call in enumerate(said.calls):
        content.append(_tool_use(number, call, message_id, msgspec.json.decode(call.arguments)))
    head = _message(asked, said.counts, message_id, said.counts.output)
    return msgspec.json.encode(head | {"content": content, "stop_reason": _stop_reason(said)})


def events(asked: Asked, said: Said, script: Script, message_id: str) -> Iterator[Event]:
    """A stream, event by event."""
    if script.error_first:
        yield _error_event(script)
        return
    yield Event(named({"type": "message_start", "message": _message(asked, said.counts, message_id, 1)}), starts=True)
    index = 0
    if said.thoughts:
        yield from _block(index, {"type": "thinking", "thinking": "", "signature": ""}, _thinking(said))
        index += 1
    yield _event({"type": "content_block_start", "index": index, "content_block": {"type": "text", "text": ""}})
    yield _event({"type": "ping"})
    for word in itertools.islice(said.pieces(), script.error_after):
        yield _text_delta(index, word)
    if script.error_after is not None:
        yield _error_event(script)
        return
    yield _event({"type": "content_block_stop", "index": index})
    for number, call in enumerate(said.calls):
        yield from _block(index + 1 + number, _tool_use(number, call, message_id, {}), _tool_input(call))
    ending: dict[str, Any] = {"stop_reason": _stop_reason(said), "stop_sequence": None}
    yield _event({"type": "message_delta", "delta": ending, "usage": _counted(said.counts, said.counts.output)})
    yield _event({"type": "message_stop"})


def _error_event(script: Script) -> Event:
    message = "Overloaded" if script.error_type == "overloaded_error" else script.message
    return _event({"type": "error", "error": {"type": script.error_type, "message": message}})


def _tool_use(number: int, call: Called, message_id: str, given: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{number}{message_id[4:]}", "name": call.name, "input": given}


def _tool_input(call: Called) -> Iterator[dict[str, Any]]:
    for piece in call.pieces():
        yield {"type": "input_json_delta", "partial_json": piece}


def _thinking(said: Said) -> Iterator[dict[str, Any]]:
    for word in words(said.thoughts):
        yield {"type": "thinking_delta", "thinking": word}
    yield {"type": "signature_delta", "signature": signature(said.thought)}


def _block(index: int, start: dict[str, Any], deltas: Iterator[dict[str, Any]]) -> Iterator[Event]:
    yield _event({"type": "content_block_start", "index": index, "content_block": start})
    for delta in deltas:
        yield _event({"type": "content_block_delta", "index": index, "delta": delta})
    yield _event({"type": "content_block_stop", "index": index})


@functools.lru_cache(maxsize=4096)
def _text_delta(index: int, word: str) -> Event:
    """One token. Nearly all of a stream is made here, and its words are the same each time."""
    delta = {"type": "text_delta", "text": word}
    return Event(named({"type": "content_block_delta", "index": index, "delta": delta}), output=1)


def _stop_reason(said: Said) -> str:
    if said.calls:
        return "tool_use"
    return "max_tokens" if said.cut else "end_turn"


def _message(asked: Asked, counts: Counts, message_id: str, output: int) -> dict[str, Any]:
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": asked.model,
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
        "cache_creation_input_tokens": counts.cache_write,
        "cache_read_input_tokens": counts.cache_read,
        "output_tokens": output,
    }


def _event(data: dict[str, Any]) -> Event:
    return Event(named(data))
