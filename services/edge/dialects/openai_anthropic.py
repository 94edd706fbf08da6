"""Clients of Chat Completions on upstreams of Anthropic's Messages API. Pure.

What becomes of every field, and why: docs/TRANSLATION.md. Shapes:
https://platform.openai.com/docs/api-reference/chat/object and .../chat-streaming
"""

from typing import Final

import msgspec

from services.edge.dialects.anthropic_answers import Block, Count, Delta, Event, decode_event, decode_message
from services.edge.dialects.chat_messages import request_body
from services.edge.dialects.chat_request import read
from services.edge.dialects.chat_tools import Tools
from services.edge.dialects.openai_errors import client_error, failure
from services.edge.dialects.request_fields import is_given
from services.edge.dialects.sse import Events

Fields = dict[str, object]

_FINISH_REASONS: Final = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""Every other reason to stop, known or not, is `stop`."""
_DONE: Final = b"data: [DONE]\n\n"


class Translation:
    """One request and its answer.

    Args:
        body: the client's request.
        upstream_model: what the upstream calls the model.
        default_max_tokens: how much may be written when the client does not say; Anthropic must be told.
        now_s: Unix seconds, told as `created`.
        answer_id: what the id of the answer is made from.

    Raises:
        Refusal: INVALID_REQUEST that names the field which is malformed or cannot be expressed.
    """

    def __init__(
        self, body: bytes, *, upstream_model: str, default_max_tokens: int, now_s: int, answer_id: str
    ) -> None:
        request = read(body)
        self._tools = Tools(request)
        self.stream = bool(request.stream)
        self.body = request_body(request, self._tools, upstream_model, default_max_tokens)
        self._usage_asked = bool(request.stream_options and request.stream_options.include_usage)
        self._head: Fields = {"id": f"chatcmpl-{answer_id}", "created": now_s, "model": request.model}
        head = msgspec.json.encode({**self._head, "object": "chat.completion.chunk"})
        self._chunk = b"data: " + head[:-1]  # how every chunk begins
        # With usage asked for, every chunk but the last says that it holds none.
        self._chunk_end = b',"usage":null}\n\n' if self._usage_asked else b"}\n\n"
        self._events = Events()
        self._count = Count()
        self._stop_reason: str | None = None
        self._block: Block | None = None
        self._arguments = False
        self._calls = 0
        self._out: list[bytes] = []
        self._begun = self._ended = False

    def answer(self, body: bytes) -> bytes:
        """The completion of a Message. Raises ValueError when it is none."""
        said = decode_message(body)
        message: Fields = {"role": "assistant", "content": None, "refusal": None}
        texts = [block.text for block in said.content if block.type == "text"]
        thoughts = [block.thinking for block in said.content if block.type == "thinking" and block.thinking]
        calls = [_call(block, self._tools) for block in said.content if block.type == "tool_use"]
        if texts or not calls:
            message["content"] = "".join(texts)
        if thoughts:
            message["reasoning_content"] = "".join(thoughts)
        if calls:
            message["tool_calls"] = calls
        self._revise(said.usage)
        reason = _finish_reason(said.stop_reason)
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        whole = {**self._head, "object": "chat.completion", "choices": [choice], "usage": _usage(self._count)}
        return msgspec.json.encode(whole)

    def error(self, status: int, body: bytes) -> bytes:
        """An error that is the client's own fault, in OpenAI's shape."""
        return client_error(status, body)

    def feed(self, chunk: bytes) -> bytes:
        """The chunks that the client can be told after this one of the upstream's."""
        for _, data in self._events.feed(chunk):
            if self._ended:
                break
            try:
                event = decode_event(data)
            except (ValueError, RecursionError):
                continue  # of no shape that is known: it is dropped, as events of an unknown type are
            self._take(event)
        return self._taken()

    def end(self) -> bytes:
        """The last chunks, if the upstream ended without saying message_stop."""
        self._finish()
        return self._taken()

    def _taken(self) -> bytes:
        out, self._out = b"".join(self._out), []
        return out

    def _take(self, event: Event) -> None:
        if event.type == "message_start":
            self._revise(event.message.usage if event.message else None)
            self._begin()
        elif event.type == "content_block_start" and event.content_block:
            self._open(event.content_block)
        elif event.type == "content_block_delta" and event.delta:
            self._change(event.delta)
        elif event.type == "content_block_stop":
            self._close()
        elif event.type == "message_delta":
            self._revise(event.usage)
            self._stop_reason = (event.delta.stop_reason if event.delta else None) or self._stop_reason
        elif event.type == "message_stop":
            self._finish()
        elif event.type == "error":
            self._fail(event.error.type if event.error else "")

    def _begin(self) -> None:
        """The role comes first."""
        if not self._begun:
            self._begun = True
            self._say({"role": "assistant", "content": ""})

    def _open(self, block: Block) -> None:
        self._begin()
        self._block, self._arguments = block, False
        if block.type == "text" and block.text:
            self._say({"content": block.text})
        elif block.type == "thinking" and block.thinking:
            self._say({"reasoning_content": block.thinking})
        elif block.type == "tool_use":
            # The index counts calls, not blocks.
            function = {"name": self._tools.own_name(block.name), "arguments": ""}
            call = {"index": self._calls, "id": block.id, "type": "function", "function": function}
            self._say({"tool_calls": [call]})
            self._calls += 1

    def _change(self, delta: Delta) -> None:
        type_ = self._block.type if self._block else ""
        if delta.type == "text_delta" and type_ == "text" and delta.text:
            self._say({"content": delta.text})
        elif delta.type == "thinking_delta" and type_ == "thinking" and delta.thinking:
            self._say({"reasoning_content": delta.thinking})
        elif delta.type == "input_json_delta" and type_ == "tool_use" and delta.partial_json:
            self._say_arguments(delta.partial_json)

    def _close(self) -> None:
        """The end of a block. Arguments that did not come in pieces came with it."""
        block, self._block = self._block, None
        if block is not None and block.type == "tool_use" and not self._arguments:
            self._say_arguments(_input(block))

    def _say_arguments(self, text: str) -> None:
        self._arguments = True
        self._say({"tool_calls": [{"index": self._calls - 1, "function": {"arguments": text}}]})

    def _finish(self) -> None:
        if self._ended:
            return
        self._begin()
        self._close()
        self._ended = True
        self._say({}, _finish_reason(self._stop_reason))
        if self._usage_asked:
            usage = msgspec.json.encode(_usage(self._count))
            self._out.append(b'%b,"choices":[],"usage":%b}\n\n' % (self._chunk, usage))
        self._out.append(_DONE)

    def _fail(self, type_: str) -> None:
        """Ends the stream without [DONE]: the answer is not whole."""
        self._ended = True
        code, message = failure(type_)
        error = {"message": message, "type": "server_error", "param": None, "code": code}
        self._out.append(b"data: " + msgspec.json.encode({"error": error}) + b"\n\n")

    def _say(self, delta: Fields, finish_reason: str | None = None) -> None:
        said, reason = msgspec.json.encode(delta), msgspec.json.encode(finish_reason)
        choice = b'{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}' % (said, reason)
        self._out.append(b'%b,"choices":[%b]%b' % (self._chunk, choice, self._chunk_end))

    def _revise(self, said: Count | None) -> None:
        """A later statement replaces an earlier one, field by field."""
        for field in Count.__struct_fields__ if said else ():
            value = getattr(said, field)
            if value is not None:
                setattr(self._count, field, max(0, value))


def _finish_reason(stop_reason: str | None) -> str:
    return _FINISH_REASONS.get(stop_reason or "", "stop")


def _call(block: Block, tools: Tools) -> Fields:
    function = {"name": tools.own_name(block.name), "arguments": _input(block)}
    return {"id": block.id, "type": "function", "function": function}


def _input(block: Block) -> str:
    return bytes(block.input).decode() if is_given(block.input) else "{}"


def _usage(count: Count) -> Fields:
    """OpenAI counts what came from the cache and what went into it as prompt."""
    read_, written = count.cache_read_input_tokens or 0, count.cache_creation_input_tokens or 0
    prompt, completion = (count.input_tokens or 0) + read_ + written, count.output_tokens or 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": read_, "cache_write_tokens": written},
    }
