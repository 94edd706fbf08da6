"""Answers and streams of OpenAI's Responses API, as bytes. Pure.

Shapes: https://platform.openai.com/docs/api-reference/responses/object and .../responses-streaming.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from services.simulator import openai_errors
from services.simulator.asked import Asked
from services.simulator.responses_items import encrypted
from services.simulator.said import Called, Said, words
from services.simulator.script import Script
from services.simulator.sse import Event, named

_ENCRYPTED: Final = "reasoning.encrypted_content"
_REPEATED: Final[dict[str, Any]] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What an answer repeats of its request, or the default."""

Item = dict[str, Any]
Tell = Callable[..., Event]


def answer(asked: Asked, said: Said, answer_id: str, now_s: int) -> bytes:
    """A plain answer."""
    return msgspec.json.encode(_ended(asked, said, answer_id, now_s))


def call_ids(said: Said, answer_id: str) -> frozenset[str]:
    """The call_ids of an answer."""
    return frozenset(_call_id(answer_id, number) for number in range(len(said.calls)))


def events(asked: Asked, said: Said, script: Script, answer_id: str, now_s: int) -> Iterator[Event]:
    """A stream, event by event."""
    numbers = itertools.count()

    def tell(type_: str, *, starts: bool = False, output: int = 0, **data: Any) -> Event:
        return Event(named({"type": type_, "sequence_number": next(numbers), **data}), starts, output)

    broken = openai_errors.of_stream(script)
    told = {"code": broken["code"] or broken["type"], "message": broken["message"]}
    if script.error_first:
        yield tell("error", **told, param=None)
        return
    begun = _response(asked, answer_id, now_s, "in_progress")
    yield tell("response.created", response=begun, starts=True)
    yield tell("response.in_progress", response=begun)
    items = _items(asked, said, answer_id)
    index = 0
    if said.thoughts:
        yield from _thinking(tell, index, items[index], said)
        index += 1
    yield from _text(tell, index, items[index], said, script.error_after)
    if script.error_after is not None:
        failed = {**begun, "status": "failed", "error": {"code": "server_error", "message": told["message"]}}
        yield tell("response.failed", response=failed)
        return
    for number, call in enumerate(said.calls, index + 1):
        yield from _calling(tell, number, items[number], call)
    ending = "response.incomplete" if said.cut else "response.completed"
    yield tell(ending, response=_ended(asked, said, answer_id, now_s))


def _thinking(tell: Tell, index: int, item: Item, said: Said) -> Iterator[Event]:
    place = {"item_id": item["id"], "output_index": index, "summary_index": 0}
    yield tell("response.output_item.added", output_index=index, item={**item, "summary": [], "status": "in_progress"})
    part = {"type": "summary_text", "text": ""}
    yield tell("response.reasoning_summary_part.added", **place, part=part)
    for word in words(said.thoughts):
        yield tell("response.reasoning_summary_text.delta", **place, delta=word, output=1)
    yield tell("response.reasoning_summary_text.done", **place, text=said.thought)
    yield tell("response.reasoning_summary_part.done", **place, part={**part, "text": said.thought})
    yield tell("response.output_item.done", output_index=index, item=item)


def _text(tell: Tell, index: int, item: Item, said: Said, error_after: int | None) -> Iterator[Event]:
    """The message; broken off after so many deltas if it is to be."""
    place = {"item_id": item["id"], "output_index": index, "content_index": 0}
    yield tell("response.output_item.added", output_index=index, item={**item, "content": [], "status": "in_progress"})
    yield tell("response.content_part.added", **place, part=_part(""))
    for word in itertools.islice(said.pieces(), error_after):
        yield tell("response.output_text.delta", **place, delta=word, logprobs=[], output=1)
    if error_after is not None:
        return
    yield tell("response.output_text.done", **place, text=said.text, logprobs=[])
    yield tell("response.content_part.done", **place, part=_part(said.text))
    yield tell("response.output_item.done", output_index=index, item=item)


def _calling(tell: Tell, index: int, item: Item, call: Called) -> Iterator[Event]:
    place = {"item_id": item["id"], "output_index": index}
    field = "input" if call.custom else "arguments"
    kind = "response.custom_tool_call_input" if call.custom else "response.function_call_arguments"
    begun = {**item, field: ""} | ({"status": "in_progress"} if "status" in item else {})
    yield tell("response.output_item.added", output_index=index, item=begun)
    for piece in call.pieces():
        yield tell(f"{kind}.delta", **place, delta=piece)
    yield tell(f"{kind}.done", **place, **{field: call.arguments})
    yield tell("response.output_item.done", output_index=index, item=item)


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def _call_id(answer_id: str, number: int) -> str:
    return f"call_{number}{answer_id[-18:]}"


def _items(asked: Asked, said: Said, answer_id: str) -> list[Item]:
    """The items of the whole answer."""
    own = answer_id.removeprefix("resp_")
    items: list[Item] = []
    if said.thoughts:
        item: Item = {"id": f"rs_{own}", "type": "reasoning"}
        item["summary"] = [{"type": "summary_text", "text": said.thought}]
        if _ENCRYPTED in (asked.fields.get("include") or ()):
            item["encrypted_content"] = encrypted(said.thought)
        items.append(item)
    status = "incomplete" if said.cut and not said.calls else "completed"
    message = {"id": f"msg_{own}", "type": "message", "status": status, "role": "assistant"}
    items.append({**message, "content": [_part(said.text)]})
    for number, call in enumerate(said.calls):
        ids = {"id": f"{'ctc' if call.custom else 'fc'}_{number}{own}", "call_id": _call_id(answer_id, number)}
        if call.custom:
            items.append({**ids, "type": "custom_tool_call", "name": call.name, "input": call.arguments})
        else:
            told = {"type": "function_call", "status": "completed", "name": call.name, "arguments": call.arguments}
            items.append({**ids, **told})
    return items


def _response(asked: Asked, answer_id: str, now_s: int, status: str) -> dict[str, Any]:
    """An answer without its output."""
    given = {name: asked.fields[name] for name in _REPEATED if asked.fields.get(name) is not None}
    reasoning = asked.fields.get("reasoning") or {}
    return {
        "id": answer_id,
        "object": "response",
        "created_at": now_s,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "model": asked.model,
        "output": [],
        **_REPEATED,
        **given,
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "service_tier": "default",
        "text": asked.fields.get("text") or {"format": {"type": "text"}},
        "usage": None,
    }


def _ended(asked: Asked, said: Said, answer_id: str, now_s: int) -> dict[str, Any]:
    counts = said.counts
    details = {"cached_tokens": counts.cache_read, "cache_write_tokens": counts.cache_write}
    return {
        **_response(asked, answer_id, now_s, "incomplete" if said.cut else "completed"),
        "incomplete_details": {"reason": "max_output_tokens"} if said.cut else None,
        "output": _items(asked, said, answer_id),
        "usage": {
            "input_tokens": counts.prompt,
            "input_tokens_details": details,
            "output_tokens": counts.output,
            "output_tokens_details": {"reasoning_tokens": said.thoughts},
            "total_tokens": counts.prompt + counts.output,
        },
    }
