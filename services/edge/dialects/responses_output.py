"""OpenAI's Responses API, the client's side of an answer: output items, the event sequence, the Response object. Pure.

Shapes: https://platform.openai.com/docs/api-reference/responses-streaming
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from services.edge.dialects.custom_input import CustomInput
from services.edge.dialects.responses_tools import Tool

Fields = dict[str, object]

_COMPLETED: Final = "completed"
_INCOMPLETE: Final = "incomplete"
_IN_PROGRESS: Final = "in_progress"


class Usage(msgspec.Struct, frozen=True):
    """Tokens as the Responses API counts them: `input` holds those read from and written to the cache."""

    input: int = 0
    cached: int = 0
    output: int = 0
    reasoning: int = 0
    cache_write: int = 0

    def fields(self) -> Fields:
        """The `usage` object."""
        return {
            "input_tokens": self.input,
            "input_tokens_details": {"cached_tokens": self.cached, "cache_write_tokens": self.cache_write},
            "output_tokens": self.output,
            "output_tokens_details": {"reasoning_tokens": self.reasoning},
            "total_tokens": self.input + self.output,
        }


class _Part:
    """The text or the refusal of the message that is being written."""

    __slots__ = ("kind", "text")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.text: list[str] = []

    def fields(self, text: str) -> Fields:
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


class Output:
    """Builds one answer, item by item. Every method adds the events that it causes; `take` hands them out. One item
    is open at a time: what opens the next one closes it. An answer that is not `streamed` causes no events."""

    def __init__(self, answer_id: str, now_s: int, echoed: Mapping[str, object], *, streamed: bool) -> None:
        self._streamed = streamed
        self._answer_id = answer_id
        self._head: Fields = {"id": f"resp_{answer_id}", "object": "response", "created_at": now_s, **_one_line(echoed)}
        self._events: list[bytes] = []
        self._sequence = 0
        self._items: list[Fields] = []
        self._part: _Part | None = None
        self._summary: list[str] | None = None
        self._call: tuple[Tool, str] | None = None
        self._call_text: list[str] = []
        self._custom = CustomInput()
        self._begun = self.ended = False

    def take(self) -> bytes:
        """The events since the last time, framed."""
        events, self._events = self._events, []
        return b"".join(events)

    def begin(self) -> None:
        """Says that the answer is on its way, once."""
        if not self._begun:
            self._begun = True
            response = self._response(_IN_PROGRESS, None)
            self._emit("response.created", response=response)
            self._emit("response.in_progress", response=response)

    def text(self, delta: str) -> None:
        """Adds text to the message; begins one if none is open."""
        self._say("output_text", delta)

    def refusal(self, delta: str) -> None:
        """Adds to the model's refusal."""
        self._say("refusal", delta)

    def reason(self, delta: str) -> None:
        """Adds to the summary of what is thought; begins a reasoning item if none is open."""
        self.open_reasoning()
        if not delta or self._summary is None:
            return
        place = {**self._place(), "summary_index": 0}
        if not self._summary:
            empty = {"type": "summary_text", "text": ""}
            self._emit("response.reasoning_summary_part.added", **place, part=empty)
        self._summary.append(delta)
        self._emit("response.reasoning_summary_text.delta", **place, delta=delta)

    def open_reasoning(self) -> None:
        """Begins a reasoning item if none is open."""
        if self._summary is None:
            self.close()
            self._summary = []
            self._add("rs", {"type": "reasoning", "summary": []})

    def close_reasoning(self, encrypted: str | None) -> None:
        """Ends the reasoning item with what the client may send back."""
        if self._summary is None:
            return
        text, place = "".join(self._summary), {**self._place(), "summary_index": 0}
        self._summary = None
        item = dict(self._items[-1])
        if text:
            part = {"type": "summary_text", "text": text}
            self._emit("response.reasoning_summary_text.done", **place, text=text)
            self._emit("response.reasoning_summary_part.done", **place, part=part)
            item["summary"] = [part]
        if encrypted is not None:
            item["encrypted_content"] = encrypted
        self._done(item)

    def open_call(self, tool: Tool, call_id: str) -> None:
        """Begins the call of a tool."""
        self.close()
        self._call, self._call_text, self._custom = (tool, call_id), [], CustomInput()
        self._add("ctc" if tool.custom else "fc", self._call_fields("", _IN_PROGRESS))

    def arguments(self, delta: str) -> None:
        """Adds to the arguments of the open call; to the text in them, if the tool is a custom one."""
        if self._call is None or not delta:
            return
        self._call_text.append(delta)
        if self._call[0].custom:
            self._custom_delta(self._custom.feed(delta))
        else:
            self._emit("response.function_call_arguments.delta", **self._place(), delta=delta)

    @property
    def arguments_whole(self) -> bool:
        """Whether the open call's arguments are JSON, or none: such arguments were not cut off."""
        text = "".join(self._call_text)
        try:
            msgspec.json.decode(text or "{}")
        except (ValueError, RecursionError):
            return False
        return True

    def close(self, status: str = _COMPLETED) -> None:
        """Ends the open item, if there is one."""
        self._close_message(status)
        self._close_call(status)
        self.close_reasoning(None)

    def finish(self, usage: Usage, incomplete: str | None) -> None:
        """Ends the answer, completely or not; `incomplete` says why not."""
        if self.ended:
            return
        self.begin()
        status = _INCOMPLETE if incomplete else _COMPLETED
        self.close(status)
        self.ended = True
        self._emit(f"response.{status}", response=self._response(status, usage, incomplete))

    def fail(self, code: str, message: str, usage: Usage) -> None:
        """Ends the answer with an error."""
        if self.ended:
            return
        self.begin()
        self.close(_INCOMPLETE)
        self.ended = True
        error = {"code": code, "message": message}
        self._emit("response.failed", response={**self._response("failed", usage), "error": error})

    def plain(self, usage: Usage, incomplete: str | None) -> bytes:
        """Ends the answer, and is all of it as one JSON object."""
        status = _INCOMPLETE if incomplete else _COMPLETED
        self.close(status)
        self.ended = True
        return msgspec.json.encode(self._response(status, usage, incomplete))

    def _response(self, status: str, usage: Usage | None, incomplete: str | None = None) -> Fields:
        return {
            **self._head,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": incomplete} if incomplete else None,
            "output": list(self._items) if status != _IN_PROGRESS else [],
            "usage": usage.fields() if usage else None,
        }

    def _emit(self, type_: str, **fields: object) -> None:
        if not self._streamed:
            return
        data = msgspec.json.encode({"type": type_, "sequence_number": self._sequence, **fields})
        self._sequence += 1
        self._events.append(b"event: " + type_.encode() + b"\ndata: " + data + b"\n\n")

    def _place(self) -> Fields:
        return {"item_id": self._items[-1]["id"], "output_index": len(self._items) - 1}

    def _add(self, prefix: str, item: Fields) -> None:
        self._items.append({"id": f"{prefix}_{self._answer_id}_{len(self._items)}", **item})
        self._emit("response.output_item.added", output_index=len(self._items) - 1, item=self._items[-1])

    def _done(self, item: Fields) -> None:
        self._items[-1] = item
        self._emit("response.output_item.done", output_index=len(self._items) - 1, item=item)

    def _say(self, kind: str, delta: str) -> None:
        if not delta:
            return
        if self._part is None or self._part.kind != kind:
            self.close()
            self._part = _Part(kind)
            self._add("msg", {"type": "message", "role": "assistant", "status": _IN_PROGRESS, "content": []})
            part = self._part.fields("")
            self._emit("response.content_part.added", **self._place(), content_index=0, part=part)
        self._part.text.append(delta)
        logprobs: Fields = {"logprobs": []} if kind == "output_text" else {}
        self._emit(f"response.{kind}.delta", **self._place(), content_index=0, delta=delta, **logprobs)

    def _close_message(self, status: str) -> None:
        if self._part is None:
            return
        part, self._part = self._part, None
        text = "".join(part.text)
        place = {**self._place(), "content_index": 0}
        said: Fields = {"refusal": text} if part.kind == "refusal" else {"text": text, "logprobs": []}
        self._emit(f"response.{part.kind}.done", **place, **said)
        self._emit("response.content_part.done", **place, part=part.fields(text))
        self._done({**self._items[-1], "status": status, "content": [part.fields(text)]})

    def _call_fields(self, text: str, status: str) -> Fields:
        assert self._call is not None
        tool, call_id = self._call
        named: Fields = {"call_id": call_id, "name": tool.own_name}
        if tool.namespace:
            named["namespace"] = tool.namespace
        if tool.custom:
            return {"type": "custom_tool_call", **named, "input": text}
        return {"type": "function_call", **named, "arguments": text, "status": status}

    def _custom_delta(self, delta: str) -> None:
        if delta:
            self._emit("response.custom_tool_call_input.delta", **self._place(), delta=delta)

    def _close_call(self, status: str) -> None:
        if self._call is None:
            return
        text = "".join(self._call_text)
        if self._call[0].custom:
            self._custom_delta(self._custom.end())
            text = self._custom.text
            self._emit("response.custom_tool_call_input.done", **self._place(), input=text)
        else:
            if not text and status == _COMPLETED:  # a function of no parameters may be called with nothing
                text = "{}"
                self._emit("response.function_call_arguments.delta", **self._place(), delta=text)
            self._emit("response.function_call_arguments.done", **self._place(), arguments=text)
        item = {"id": self._items[-1]["id"], **self._call_fields(text, status)}
        self._call = None
        self._done(item)


def _one_line(echoed: Mapping[str, object]) -> Mapping[str, object]:
    """The client's own words without the line breaks between them, at which the data of an event would end, and without
    the body that they are a part of."""
    raw = msgspec.json.encode(echoed)
    if b"\n" in raw or b"\r" in raw:
        raw = msgspec.json.format(raw, indent=-1)
    fields: Fields = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    return fields
