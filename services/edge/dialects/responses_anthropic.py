"""Clients of OpenAI's Responses API on upstreams of Anthropic's Messages API. Pure.

What becomes of every field, and why: docs/TRANSLATION.md.
"""

from typing import Final

from services.edge.dialects import anthropic_thinking as thinking
from services.edge.dialects.anthropic_answers import Block, Count, Delta, Event, decode_event, decode_message
from services.edge.dialects.openai_errors import client_error, failure
from services.edge.dialects.request_fields import is_given
from services.edge.dialects.responses_messages import request_body
from services.edge.dialects.responses_output import Output, Usage
from services.edge.dialects.responses_request import echo, items, read
from services.edge.dialects.responses_tools import Tools
from services.edge.dialects.sse import Events

_INCOMPLETE: Final = {
    "max_tokens": "max_output_tokens",
    "model_context_window_exceeded": "max_output_tokens",
    "refusal": "content_filter",
}
"""Reasons to stop that leave an answer incomplete; every other one, known or not, completes it."""


class Translation:
    """One request and its answer.

    Args:
        body: the client's request.
        upstream_model: what the upstream calls the model.
        default_max_tokens: how much may be written when the client does not say; Anthropic must be told.
        now_s: Unix seconds, told as `created_at`.
        answer_id: what the ids in the answer are made from.

    Raises:
        Refusal: INVALID_REQUEST that names the field which is malformed or cannot be expressed.
    """

    def __init__(
        self, body: bytes, *, upstream_model: str, default_max_tokens: int, now_s: int, answer_id: str
    ) -> None:
        request = read(body)
        self._tools = Tools(request)
        self._encrypted, self._shown = request.encrypted_reasoning, request.summary
        self.stream = bool(request.stream)
        self.body = request_body(request, items(request), self._tools, upstream_model, default_max_tokens)
        choice = request.tool_choice if is_given(request.tool_choice) else "auto"
        echoed = {**echo(request), "tools": self._tools.echoed, "tool_choice": choice}
        self._output = Output(answer_id, now_s, echoed, streamed=self.stream)
        self._events = Events()
        self._count = Count()
        self._stop_reason = ""
        self._block: Block | None = None
        self._thought: list[str] = []
        self._signature = ""
        self._arguments = False

    def answer(self, body: bytes) -> bytes:
        """The Response object of a Message. Raises ValueError when it is none."""
        message = decode_message(body)
        for block in message.content:
            self._open(block)
            self._close()
        self._revise(message.usage)
        return self._output.plain(self._usage(), self._incomplete(message.stop_reason))

    def error(self, status: int, body: bytes) -> bytes:
        """An error that is the client's own fault, in OpenAI's shape."""
        return client_error(status, body)

    def feed(self, chunk: bytes) -> bytes:
        """The events that the client can be told after this chunk."""
        for _, data in self._events.feed(chunk):
            if self._output.ended:
                break
            try:
                event = decode_event(data)
            except (ValueError, RecursionError):
                continue  # of no shape that is known: it is dropped, as events of an unknown type are
            self._take(event)
        return self._output.take()

    def end(self) -> bytes:
        """The last events, if the upstream ended without saying message_stop."""
        self._finish()
        return self._output.take()

    def _take(self, event: Event) -> None:
        if event.type == "message_start":
            self._revise(event.message.usage if event.message else None)
            self._output.begin()
        elif event.type == "content_block_start" and event.content_block:
            self._output.begin()
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
            code, message = failure(event.error.type if event.error else "")
            self._output.fail(code, message, self._usage())

    def _finish(self) -> None:
        self._output.finish(self._usage(), self._incomplete(self._stop_reason))

    def _open(self, block: Block) -> None:
        self._block, self._arguments = block, False
        if block.type == "text":
            self._output.text(block.text)
        elif block.type == "thinking":
            self._thought, self._signature = [], block.signature
            self._output.open_reasoning()
            self._think(block.thinking)
        elif block.type == "redacted_thinking":
            self._output.open_reasoning()
        elif block.type == "tool_use":
            self._output.open_call(self._tools.called(block.name), block.id)

    def _change(self, delta: Delta) -> None:
        type_ = self._block.type if self._block else ""
        if delta.type == "text_delta" and type_ == "text":
            self._output.text(delta.text)
        elif delta.type == "thinking_delta" and type_ == "thinking":
            self._think(delta.thinking)
        elif delta.type == "signature_delta" and type_ == "thinking":
            self._signature += delta.signature
        elif delta.type == "input_json_delta" and type_ == "tool_use":
            self._arguments = self._arguments or bool(delta.partial_json)
            self._output.arguments(delta.partial_json)

    def _think(self, text: str) -> None:
        self._thought.append(text)
        if self._shown:
            self._output.reason(text)

    def _close(self) -> None:
        """The end of a block. Text stays open: blocks of text that follow each other are one message."""
        block, self._block = self._block, None
        if block is None or block.type == "text":
            return
        if block.type == "thinking":
            said: thinking.Block = {
                "type": "thinking",
                "thinking": "".join(self._thought),
                "signature": self._signature,
            }
            self._output.close_reasoning(thinking.seal([said]) if self._encrypted and self._signature else None)
        elif block.type == "redacted_thinking":
            redacted: thinking.Block = {"type": "redacted_thinking", "data": block.data}
            self._output.close_reasoning(thinking.seal([redacted]) if self._encrypted else None)
        elif block.type == "tool_use":
            self._close_call(block)

    def _close_call(self, block: Block) -> None:
        """Arguments that did not come in pieces came with the block. Those that are no JSON were cut off: the reason
        to stop, which would say so, comes later."""
        whole = bytes(block.input) or b"{}"
        if not self._arguments:
            self._output.arguments(whole.decode())
        self._output.close("completed" if self._output.arguments_whole else "incomplete")

    def _revise(self, said: Count | None) -> None:
        """A later statement replaces an earlier one, field by field."""
        for field in Count.__struct_fields__ if said else ():
            value = getattr(said, field)
            if value is not None:
                setattr(self._count, field, max(0, value))

    def _usage(self) -> Usage:
        count = self._count
        read_, written = count.cache_read_input_tokens or 0, count.cache_creation_input_tokens or 0
        whole = (count.input_tokens or 0) + read_ + written
        return Usage(input=whole, cached=read_, output=count.output_tokens or 0, cache_write=written)

    @staticmethod
    def _incomplete(stop_reason: str | None) -> str | None:
        return _INCOMPLETE.get(stop_reason or "")
