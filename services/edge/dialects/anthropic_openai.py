"""Clients of Anthropic's Messages API on upstreams that speak Chat Completions: OpenAI's own, and what is compatible
with it. Pure.

What becomes of every field, and why: docs/TRANSLATION.md. Shapes:
https://docs.anthropic.com/en/api/messages and .../messages-streaming
"""

from typing import Final

import msgspec

from services.edge.dialects.anthropic_errors import messages_error, messages_failure
from services.edge.dialects.chat_answers import Chunk, Count, Function, Said, decode_chunk, decode_completion
from services.edge.dialects.chat_calls import Calls
from services.edge.dialects.messages_chat import own_names, request_body, thoughts_shown
from services.edge.dialects.messages_request import read
from services.edge.dialects.sse import Events

Fields = dict[str, object]

_DONE: Final = b"[DONE]"
_STOP_REASONS: Final = {"length": "max_tokens", "content_filter": "refusal"}
"""Every other reason to finish, known or not: `tool_use` after calls, else `end_turn`."""
_DELTAS: Final = {"text": "text_delta", "thinking": "thinking_delta"}


class Translation:
    """One request and its answer.

    Args:
        body: the client's request.
        upstream_model: what the upstream calls the model.
        default_max_tokens: how much may be written when the client does not say.
        now_s: Unix seconds; this API does not tell the time.
        answer_id: what the ids in the answer are made from.

    Raises:
        Refusal: INVALID_REQUEST that names the field which is malformed or cannot be expressed.
    """

    def __init__(
        self, body: bytes, *, upstream_model: str, default_max_tokens: int, now_s: int, answer_id: str
    ) -> None:
        del now_s
        request = read(body)
        self._own_names = own_names(request)
        self.stream = bool(request.stream)
        self.body = request_body(request, upstream_model, default_max_tokens)
        self._answer_id = answer_id
        self._model = request.model
        self._shown = thoughts_shown(request)
        self._events = Events()
        self._count = Count()
        self._finish_reason: str | None = None
        self._refused = False
        self._calls = Calls()
        self._calls_told = 0
        self._late: list[tuple[str, str]] = []
        self._open = ""
        self._index = -1
        self._out: list[bytes] = []
        self._begun = self._ended = False

    def answer(self, body: bytes) -> bytes:
        """The Message of a completion. Raises ValueError when it is none."""
        completion = decode_completion(body)
        if not completion.choices or completion.choices[0].message is None:
            raise ValueError("a completion without a message")
        choice, said = completion.choices[0], completion.choices[0].message
        self._finish_reason, self._refused = choice.finish_reason, bool(said.refusal)
        content: list[Fields] = []
        if thought := self._thought(said):
            content.append({"type": "thinking", "thinking": thought, "signature": ""})
        content += [{"type": "text", "text": text} for text in (said.content, said.refusal) if text]
        self._take_calls(said)
        for call in self._calls.known(last=True):
            head = self._call(call.name, call.call_id)
            content.append({**head, "input": _input(call.arguments)})
        usage = _usage(completion.usage or Count())
        return msgspec.json.encode({**self._message(content, usage), "stop_reason": self._stop_reason()})

    def error(self, status: int, body: bytes) -> bytes:
        """An error that is the client's own fault, in Anthropic's shape."""
        return messages_error(status, body)

    def feed(self, chunk: bytes) -> bytes:
        """The events that the client can be told after this chunk."""
        for _, data in self._events.feed(chunk):
            if self._ended:
                break
            if data.strip() == _DONE:
                self._finish()
                continue
            try:
                self._take(decode_chunk(data))
            except (ValueError, RecursionError):
                continue  # of no shape that is known: it is dropped, as unknown fields are
        return self._taken()

    def end(self) -> bytes:
        """The last events, if the upstream ended without saying [DONE]."""
        self._finish()
        return self._taken()

    def _taken(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    def _take(self, chunk: Chunk) -> None:
        if (names := chunk.failed_by) is not None:
            self._ended = True
            self._tell(messages_failure(*names))
            return
        self._begin()
        if chunk.usage is not None:
            self._count = chunk.usage
        for choice in chunk.choices or ():
            if choice.index:
                continue  # a second answer, which was not asked for
            if choice.delta is not None:
                self._add(choice.delta)
            self._finish_reason = choice.finish_reason or self._finish_reason

    def _begin(self) -> None:
        """The upstream counts at the end: what is told first is revised in `message_delta`."""
        if not self._begun:
            self._begun = True
            self._tell({"type": "message_start", "message": self._message([], _usage(Count()))})

    def _add(self, said: Said) -> None:
        for type_, text in (
            ("thinking", self._thought(said)),
            ("text", said.content),
            ("text", said.refusal),
        ):
            if text and self._calls:
                self._late.append((type_, text))  # a call may still go on, and blocks do not overlap
            elif text:
                self._say(type_, text)
        self._refused = self._refused or bool(said.refusal)
        self._take_calls(said)
        self._tell_calls(last=False)

    def _thought(self, said: Said) -> str | None:
        return (said.reasoning_content or said.reasoning) if self._shown else None

    def _take_calls(self, said: Said) -> None:
        for position, call in enumerate(said.tool_calls or ()):
            function = call.function or Function()
            place = position if call.index is None else call.index  # a plain answer's calls are not numbered
            self._calls.add(place, call.id, function.name, function.arguments)

    def _tell_calls(self, *, last: bool) -> None:
        for call in self._calls.known(last=last):
            if call.begins:
                self._start("tool_use", {**self._call(call.name, call.call_id), "input": {}})
            if call.arguments:
                self._change({"type": "input_json_delta", "partial_json": call.arguments})

    def _call(self, name: str, call_id: str) -> Fields:
        self._calls_told += 1
        id_ = call_id or f"toolu_{self._answer_id}_{self._calls_told}"
        return {"type": "tool_use", "id": id_, "name": self._own_names.get(name, name)}

    def _say(self, type_: str, text: str) -> None:
        if self._open != type_:
            block: Fields = {"type": type_, type_: ""}
            self._start(type_, {**block, "signature": ""} if type_ == "thinking" else block)
        self._change({"type": _DELTAS[type_], type_: text})

    def _start(self, type_: str, block: Fields) -> None:
        self._close()
        self._open, self._index = type_, self._index + 1
        self._tell({"type": "content_block_start", "index": self._index, "content_block": block})

    def _change(self, delta: Fields) -> None:
        self._tell({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _close(self) -> None:
        if self._open:
            self._open = ""
            self._tell({"type": "content_block_stop", "index": self._index})

    def _finish(self) -> None:
        """At the end of the stream, not at the reason to finish: usage comes between them."""
        if self._ended:
            return
        self._begin()
        self._tell_calls(last=True)
        for type_, text in self._late:
            self._say(type_, text)
        self._close()
        self._ended = True
        delta = {"stop_reason": self._stop_reason(), "stop_sequence": None}
        self._tell({"type": "message_delta", "delta": delta, "usage": _usage(self._count)})
        self._tell({"type": "message_stop"})

    def _stop_reason(self) -> str:
        if self._refused:
            return "refusal"
        return _STOP_REASONS.get(self._finish_reason or "") or ("tool_use" if self._calls_told else "end_turn")

    def _message(self, content: list[Fields], usage: Fields) -> Fields:
        return {
            "id": f"msg_{self._answer_id}",
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": content,
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }

    def _tell(self, event: Fields) -> None:
        name = str(event["type"]).encode()
        self._out.append(b"event: " + name + b"\ndata: " + msgspec.json.encode(event) + b"\n\n")


def _input(arguments: str) -> msgspec.Raw | Fields:
    """A call's input is an object. Arguments that are none, as of a call that was cut off, are shown as they are."""
    if not arguments.strip():
        return {}
    try:
        msgspec.json.decode(arguments, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):
        return {"arguments": arguments}
    return msgspec.Raw(arguments.encode())


def _usage(count: Count) -> Fields:
    """OpenAI's prompt holds what came from the cache and what went into it; Anthropic counts each by itself."""
    prompt = count.prompt_tokens_details
    read_ = max(0, (prompt.cached_tokens if prompt else 0) or 0)
    written = max(0, (prompt.cache_write_tokens if prompt else 0) or 0)
    return {
        "input_tokens": max(0, (count.prompt_tokens or 0) - read_ - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read_,
        "output_tokens": count.output_tokens,
    }
