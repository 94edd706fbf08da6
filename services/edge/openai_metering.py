"""Metering of OpenAI's APIs. Pure.

A streamed chat completion says its usage in a chunk of its own at the end, where it was asked for; a streamed response
in the event that ends it, however it ends. Plain answers have it in their body.
Shapes: https://platform.openai.com/docs/api-reference/chat/object and .../responses/object.
"""

import re
from abc import ABC, abstractmethod
from typing import ClassVar, Final

import msgspec

from services.edge.dialects.chat_answers import Said, decode_chunk
from services.edge.metering import StreamMeter, TokenCount, estimated
from services.shared.pricing import Tokens

_SAMPLES: Final = 8
_DATA_BYTES: Final = len(b"data:\n\n")
_FINISHED: Final = re.compile(rb'"finish_reason":\s*"(?!error")')
"""OpenRouter gives the reason `error` to a stream that failed: https://openrouter.ai/docs/api-reference/errors"""


_DONE: Final = b"data: [DONE]"
_NULL: Final = msgspec.Raw(b"null")


class _Details(msgspec.Struct):
    cached_tokens: TokenCount | None = None
    cache_write_tokens: TokenCount | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: TokenCount | None = None
    completion_tokens: TokenCount | None = None
    total_tokens: TokenCount | None = None
    prompt_tokens_details: _Details | None = None
    input_tokens: TokenCount | None = None
    output_tokens: TokenCount | None = None
    input_tokens_details: _Details | None = None


class _Said(msgspec.Struct):
    usage: _Usage | None = None


class _Failed(msgspec.Struct):
    error: msgspec.Raw = _NULL


class _Response(msgspec.Struct):
    response: _Said | None = None


class _Delta(msgspec.Struct):
    type: str = ""
    delta: str = ""


_NO_DETAILS: Final = _Details()
_decode_delta: Final = msgspec.json.Decoder(_Delta).decode
_decode_said: Final = msgspec.json.Decoder(_Said).decode
_decode_failed: Final = msgspec.json.Decoder(_Failed).decode
_decode_response: Final = msgspec.json.Decoder(_Response).decode


class _FrameMeter(StreamMeter, ABC):
    """A meter that measures what frames take beside their text: upstreams of one API differ by hundreds of bytes, which
    would be taken for many tokens. The shortest of the first frames counts."""

    __slots__ = ("_samples",)

    def __init__(self) -> None:
        super().__init__()
        self._samples: list[int] = []

    @abstractmethod
    def _frame_of(self, data: bytes) -> int:
        """Bytes of an event beside its text, by its data; 0 where it has none. Raises ValueError, RecursionError."""

    def _count_output(self, lines: bytes) -> None:
        super()._count_output(lines)
        if self._deltas and len(self._samples) < _SAMPLES:
            self._measure(lines)

    def _measure(self, lines: bytes) -> None:
        for line in lines.split(b"\n"):
            if len(self._samples) == _SAMPLES:
                break
            if not line.startswith(b"data:") or line.find(self.delta) < 0:
                continue
            try:
                frame_bytes = self._frame_of(line[5:])
            except (ValueError, RecursionError):
                continue
            if frame_bytes:
                self._samples.append(frame_bytes)
        if self._samples:
            self._frame_bytes = max(self.delta_frame_bytes, min(self._samples))


class ChatMeter(_FrameMeter):
    """Meters a streamed chat completion.

    Args:
        choices: how many answers it was asked for; upstreams that know one only end it all the same.
    """

    __slots__ = ("_choices", "_finished")

    delta: ClassVar[bytes] = b'"choices"'
    delta_frame_bytes: ClassVar[int] = 180

    def __init__(self, choices: int = 1) -> None:
        super().__init__()
        self._choices = choices
        self._finished = 0

    @property
    def begun(self) -> bool:
        """The first chunk only names the role."""
        return self._deltas > 1 or self.complete

    @property
    def all_said(self) -> bool:
        """Usage comes after the reason to finish, of which there is one for each of several answers."""
        return self.complete and self.counts.said

    def result(self, likely_input: int) -> tuple[Tokens, bool]:
        """See StreamMeter. A stream may end well and say no usage all the same."""
        if self.complete and not self.counts.said:
            return self.so_far(likely_input), True
        return super().result(likely_input)

    def _usage_line(self, data: bytes) -> None:
        try:
            usage = _decode_said(data).usage
        except (ValueError, RecursionError):
            return
        if usage is not None:
            _revise(self, usage)

    def _frame_of(self, data: bytes) -> int:
        """See _FrameMeter."""
        said = [choice.delta for choice in decode_chunk(data).choices or () if choice.delta is not None]
        text_bytes = sum(_text_bytes(delta) for delta in said)
        return _DATA_BYTES + len(data) - text_bytes if text_bytes else 0

    @property
    def ended_with_error(self) -> bool:
        """See StreamMeter."""
        try:
            return _decode_failed(self.last_data).error != _NULL
        except (ValueError, RecursionError):
            return False

    def _count_output(self, lines: bytes) -> None:
        super()._count_output(lines)
        if not self.complete:
            self._finished += len(_FINISHED.findall(lines))
            self.complete = self._finished >= self._choices or (self._finished > 0 and lines.find(_DONE) >= 0)

    def _refused(self) -> bool:
        return self._begin.startswith(b'data: {"error"')


class ResponsesMeter(_FrameMeter):
    """Meters a streamed response."""

    __slots__ = ()

    delta: ClassVar[bytes] = b'.delta"'
    delta_frame_bytes: ClassVar[int] = 200
    carry_max_bytes: ClassVar[int] = 16 * 1024 * 1024  # the event with the usage has the whole response

    @property
    def ended_with_error(self) -> bool:
        """See StreamMeter."""
        return self._last.startswith((b"event: error", b"event: response.failed"))

    def _frame_of(self, data: bytes) -> int:
        """See _FrameMeter."""
        event = _decode_delta(data)
        if not event.delta:
            return 0
        named = len(b"event: \n") + len(event.type)
        return _DATA_BYTES + named + len(data) - len(event.delta.encode())

    def _usage_line(self, data: bytes) -> None:
        try:
            said = _decode_response(data).response
        except (ValueError, RecursionError):
            return
        if said is not None and said.usage is not None:
            _revise(self, said.usage)
            self.complete = True


def _text_bytes(said: Said) -> int:
    """What a chunk adds to the answer, in bytes."""
    calls = [call.function.arguments for call in said.tool_calls or () if call.function is not None]
    texts = (said.content, said.refusal, said.reasoning_content or said.reasoning, *calls)
    return sum(len(text.encode()) for text in texts if text)


def of_openai_answer(answer: bytes, likely_input: int) -> tuple[Tokens, bool]:
    """Tokens of a plain answer of any of OpenAI's APIs, and whether they are estimated."""
    try:
        usage = _decode_said(answer).usage
    except (ValueError, RecursionError):
        usage = None
    if usage is None:
        return estimated(answer, likely_input), True
    return _tokens(usage), False


def of_embeddings(answer: bytes, likely_input: int) -> tuple[Tokens, bool]:
    """The same of embeddings, whose numbers are no tokens."""
    tokens, is_estimated = of_openai_answer(answer, likely_input)
    return msgspec.structs.replace(tokens, output=0), is_estimated


def _revise(meter: StreamMeter, usage: _Usage) -> None:
    tokens = _tokens(usage)
    meter.counts.replace(tokens)


def _tokens(usage: _Usage) -> Tokens:
    """OpenAI's input holds what was read from a cache and what was written to one; ours does not. How long it is kept
    there is not said: for five minutes, as with Anthropic. Google's output leaves out what was thought, which its total
    holds, and which is paid for as output: https://ai.google.dev/gemini-api/docs/openai#thinking"""
    details = usage.prompt_tokens_details or usage.input_tokens_details or _NO_DETAILS
    given = max(0, usage.prompt_tokens or usage.input_tokens or 0)
    cached = min(given, max(0, details.cached_tokens or 0))
    written = min(given - cached, max(0, details.cache_write_tokens or 0))
    output = max(0, usage.completion_tokens or usage.output_tokens or 0)
    return Tokens(
        input=given - cached - written,
        output=max(output, (usage.total_tokens or 0) - given),
        cache_read=cached,
        cache_write_5m=written,
    )
