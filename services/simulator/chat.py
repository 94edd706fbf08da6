"""Answers and streams of OpenAI's Chat Completions, as bytes. Pure.

Shapes: https://platform.openai.com/docs/api-reference/chat/object and .../chat/streaming.
"""

import itertools
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from services.simulator import openai_errors
from services.simulator.asked import Asked
from services.simulator.said import Called, Said, words
from services.simulator.script import Script
from services.simulator.sse import Event, unnamed

_FINGERPRINT: Final = "fp_5117e0"
_DONE: Final = Event(b"data: [DONE]\n\n")


def answer(asked: Asked, said: Said, answer_id: str, now_s: int) -> bytes:
    """A plain answer."""
    message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None, "annotations": []}
    if said.thoughts:
        message["reasoning_content"] = said.thought
    choices = []
    for index in range(asked.copies):
        calls = [_call(answer_id, index, number, call, whole=True) for number, call in enumerate(said.calls)]
        told = message | ({"tool_calls": calls} if calls else {})
        choices.append({"index": index, "message": told, "logprobs": None, "finish_reason": _finish(said)})
    head = _head(asked, answer_id, now_s, "chat.completion")
    return msgspec.json.encode(head | {"choices": choices, "usage": _usage(asked, said)})


def events(asked: Asked, said: Said, script: Script, answer_id: str, now_s: int) -> Iterator[Event]:
    """A stream, event by event."""
    broken = Event(unnamed({"error": openai_errors.of_stream(script)}))
    if script.error_first:
        yield broken
        return
    head = _head(asked, answer_id, now_s, "chat.completion.chunk")
    wants_usage = bool((asked.fields.get("stream_options") or {}).get("include_usage"))
    if wants_usage:
        head["usage"] = None
    for index in range(asked.copies):
        yield _chunk(head, index, {"role": "assistant", "content": "", "refusal": None}, starts=index == 0)
        for word in words(said.thoughts):
            yield _chunk(head, index, {"reasoning_content": word}, output=1)
        for word in itertools.islice(said.pieces(), script.error_after):
            yield _chunk(head, index, {"content": word}, output=1)
        if script.error_after is not None:
            yield broken
            return
        for number, call in enumerate(said.calls):
            yield from _call_chunks(head, answer_id, index, number, call)
        yield _chunk(head, index, {}, finish=_finish(said))
    if wants_usage:
        yield Event(unnamed(head | {"choices": [], "usage": _usage(asked, said)}))
    yield _DONE


def _head(asked: Asked, answer_id: str, now_s: int, object_: str) -> dict[str, Any]:
    return {
        "id": answer_id,
        "object": object_,
        "created": now_s,
        "model": asked.model,
        "service_tier": "default",
        "system_fingerprint": _FINGERPRINT,
    }


def _chunk(
    head: dict[str, Any],
    index: int,
    delta: dict[str, Any],
    *,
    finish: str | None = None,
    starts: bool = False,
    output: int = 0,
) -> Event:
    choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
    return Event(unnamed(head | {"choices": [choice]}), starts, output)


def _call(answer_id: str, index: int, number: int, call: Called, *, whole: bool) -> dict[str, Any]:
    id_ = f"call_{index}{number}{answer_id[-18:]}"
    given = call.arguments if whole else ""
    if call.custom:
        return {"id": id_, "type": "custom", "custom": {"name": call.name, "input": given}}
    return {"id": id_, "type": "function", "function": {"name": call.name, "arguments": given}}


def _call_chunks(head: dict[str, Any], answer_id: str, index: int, number: int, call: Called) -> Iterator[Event]:
    """The first chunk names the call, the others bring its arguments and its number only."""
    first = _call(answer_id, index, number, call, whole=False)
    yield _chunk(head, index, {"tool_calls": [{"index": number, **first}]})
    for piece in call.pieces():
        more = {"custom": {"input": piece}} if call.custom else {"function": {"arguments": piece}}
        yield _chunk(head, index, {"tool_calls": [{"index": number, **more}]})


def _finish(said: Said) -> str:
    if said.calls:
        return "tool_calls"
    return "length" if said.cut else "stop"


def _usage(asked: Asked, said: Said) -> dict[str, Any]:
    counts = said.counts
    details = {"cached_tokens": counts.cache_read, "audio_tokens": 0}
    if counts.cache_write:
        details["cache_write_tokens"] = counts.cache_write
    return {
        "prompt_tokens": counts.prompt,
        "completion_tokens": counts.output,
        "total_tokens": counts.prompt + counts.output,
        "prompt_tokens_details": details,
        "completion_tokens_details": {
            "reasoning_tokens": said.thoughts * asked.copies,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
