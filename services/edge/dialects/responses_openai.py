"""Clients of OpenAI's Responses API on upstreams that speak Chat Completions: OpenAI's own, and what is compatible with
it. Pure.

What becomes of every field, and why: docs/TRANSLATION.md. Shapes:
https://platform.openai.com/docs/api-reference/chat/object and .../chat-streaming
"""

from collections.abc import Callable
from typing import Final

from services.edge.dialects.chat_answers import Chunk, Count, Function, Said, decode_chunk, decode_completion
from services.edge.dialects.chat_calls import Calls
from services.edge.dialects.openai_errors import client_error, failure
from services.edge.dialects.request_fields import is_given
from services.edge.dialects.responses_chat import request_body
from services.edge.dialects.responses_output import Output, Usage
from services.edge.dialects.responses_request import echo, items, read
from services.edge.dialects.responses_tools import Tools
from services.edge.dialects.sse import Events

_DONE: Final = b"[DONE]"
_INCOMPLETE: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Reasons to finish that leave an answer incomplete; every other one, known or not, completes it."""


class Translation:
    """One request and its answer.

    Args:
        body: the client's request.
        upstream_model: what the upstream calls the model.
        default_max_tokens: how much may be written when the client does not say.
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
        self._shown = request.summary
        self.stream = bool(request.stream)
        self.body = request_body(request, items(request), self._tools, upstream_model, default_max_tokens)
        choice = request.tool_choice if is_given(request.tool_choice) else "auto"
        echoed = {**echo(request), "tools": self._tools.echoed, "tool_choice": choice}
        self._output = Output(answer_id, now_s, echoed, streamed=self.stream)
        self._answer_id = answer_id
        self._events = Events()
        self._usage = Usage()
        self._finish_reason: str | None = None
        self._calls = Calls()
        self._count_calls = 0
        self._late: list[tuple[Callable[[str], None], str]] = []

    def answer(self, body: bytes) -> bytes:
        """The Response object of a chat completion. Raises ValueError when it is none."""
        completion = decode_completion(body)
        if not completion.choices or completion.choices[0].message is None:
            raise ValueError("a completion without a message")
        choice = completion.choices[0]
        self._add(completion.choices[0].message)
        self._tell_calls(last=True)
        if completion.usage is not None:
            self._usage = _usage(completion.usage)
        return self._output.plain(self._usage, _INCOMPLETE.get(choice.finish_reason or ""))

    def error(self, status: int, body: bytes) -> bytes:
        """An error that is the client's own fault, in the shape that both of OpenAI's APIs have."""
        return client_error(status, body)

    def feed(self, chunk: bytes) -> bytes:
        """The events that the client can be told after this chunk."""
        for _, data in self._events.feed(chunk):
            if self._output.ended:
                break
            if data.strip() == _DONE:
                self._finish()
                continue
            try:
                self._take(decode_chunk(data))
            except (ValueError, RecursionError):
                continue  # of no shape that is known: it is dropped, as unknown fields are
        return self._output.take()

    def end(self) -> bytes:
        """The last events, if the upstream ended without saying [DONE]."""
        self._finish()
        return self._output.take()

    def _take(self, chunk: Chunk) -> None:
        if (names := chunk.failed_by) is not None:
            self._tell_calls(last=True)
            code, message = failure(*names)
            self._output.fail(code, message, self._usage)
            return
        self._output.begin()
        if chunk.usage is not None:
            self._usage = _usage(chunk.usage)
        for choice in chunk.choices or ():
            if choice.index:
                continue  # a second answer, which was not asked for
            if choice.delta is not None:
                self._add(choice.delta)
            self._finish_reason = choice.finish_reason or self._finish_reason

    def _finish(self) -> None:
        """At the end of the stream, not at the reason to finish: usage comes between them."""
        if not self._output.ended:
            self._tell_calls(last=True)
            self._output.finish(self._usage, _INCOMPLETE.get(self._finish_reason or ""))

    def _add(self, said: Said) -> None:
        thought = said.reasoning_content or said.reasoning
        if thought and self._shown:
            self._say(self._output.reason, thought)
        if said.content:
            self._say(self._output.text, said.content)
        if said.refusal:
            self._say(self._output.refusal, said.refusal)
        for position, call in enumerate(said.tool_calls or ()):
            function = call.function or Function()
            place = position if call.index is None else call.index  # a plain answer's calls are not numbered
            self._calls.add(place, call.id, function.name, function.arguments)
        self._tell_calls(last=False)

    def _say(self, say: Callable[[str], None], text: str) -> None:
        """Text ends an open call, of which more may come: what is said after a call waits for the end of the calls."""
        if self._calls:
            self._late.append((say, text))
        else:
            say(text)

    def _tell_calls(self, *, last: bool) -> None:
        for told in self._calls.known(last=last):
            if told.begins:
                self._count_calls += 1
                call_id = told.call_id or f"call_{self._answer_id}_{self._count_calls}"
                self._output.open_call(self._tools.called(told.name), call_id)
            self._output.arguments(told.arguments)
        if last:
            for say, text in self._late:
                say(text)
            self._late.clear()


def _usage(count: Count) -> Usage:
    """The same in the client's API; what was not said is 0."""
    prompt, completion = count.prompt_tokens_details, count.completion_tokens_details
    return Usage(
        input=max(0, count.prompt_tokens or 0),
        cached=max(0, (prompt.cached_tokens if prompt else 0) or 0),
        output=count.output_tokens,
        reasoning=max(0, (completion.reasoning_tokens if completion else 0) or 0),
        cache_write=max(0, (prompt.cache_write_tokens if prompt else 0) or 0),
    )
