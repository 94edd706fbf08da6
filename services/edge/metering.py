"""Metering: tokens read from the bytes of an answer while they pass. Pure.

Only lines that hold `"usage"` are decoded. In text that a model produced the quotes are escaped, so such text never
looks like usage. What is common to all APIs is here, and Anthropic's: it says usage in `message_start` and corrects it
in `message_delta`; a plain answer has it in its body.
"""

from collections.abc import Iterable
from typing import Annotated, ClassVar, Final

import msgspec

from services.shared.pricing import Tokens

_TEXT_BYTES_PER_TOKEN: Final = 4
_DENSE_BYTES_PER_TOKEN: Final = 3
"""Of text that takes more tokens than most: what a hold is measured against."""
_BEGIN_BYTES: Final = 64
_COMPACTION: Final = b"compaction"
"""The iterations of an answer that its usage leaves out, though they are paid for:
https://docs.anthropic.com/en/docs/build-with-claude/compaction#understanding-usage"""
_LINE_ENDS_BYTES: Final = 4
"""Lines shorter than this are the blank ones between events."""

_MOST_TOKENS: Final = 1 << 39
TokenCount = Annotated[int, msgspec.Meta(le=_MOST_TOKENS)]
"""A statement above half of what the ledger books is not believed: two of them may be added."""


class _CacheCreation(msgspec.Struct):
    ephemeral_5m_input_tokens: TokenCount | None = None
    ephemeral_1h_input_tokens: TokenCount | None = None


class _Iteration(msgspec.Struct):
    type: str = ""
    input_tokens: TokenCount | None = None
    output_tokens: TokenCount | None = None
    cache_read_input_tokens: TokenCount | None = None
    cache_creation_input_tokens: TokenCount | None = None


class _Usage(msgspec.Struct):
    input_tokens: TokenCount | None = None
    output_tokens: TokenCount | None = None
    cache_read_input_tokens: TokenCount | None = None
    cache_creation_input_tokens: TokenCount | None = None
    cache_creation: _CacheCreation | None = None
    iterations: msgspec.Raw = msgspec.Raw(b"null")


class _Message(msgspec.Struct):
    usage: _Usage | None = None


class _Event(msgspec.Struct):
    type: str = ""
    message: _Message | None = None
    usage: _Usage | None = None


_decode_event: Final = msgspec.json.Decoder(_Event).decode
_decode_message: Final = msgspec.json.Decoder(_Message).decode
_decode_iterations: Final = msgspec.json.Decoder(list[_Iteration]).decode


class Counts:
    """Token counts as the upstream said them so far; a later statement replaces an earlier one, field by field."""

    __slots__ = (
        "_cache_read",
        "_cache_write",
        "_cache_write_1h",
        "_cache_write_5m",
        "_compaction",
        "_input",
        "_output",
        "said",
    )

    def __init__(self) -> None:
        self.said = False
        self._input = self._output = self._cache_read = 0
        self._cache_write = self._cache_write_5m = self._cache_write_1h = 0
        self._compaction = Tokens()

    def revise(self, usage: _Usage) -> None:
        """Takes what `usage` says; what it leaves out stays."""
        self.said = True
        if usage.input_tokens is not None:
            self._input = max(0, usage.input_tokens)
        if usage.output_tokens is not None:
            self._output = max(0, usage.output_tokens)
        if usage.cache_read_input_tokens is not None:
            self._cache_read = max(0, usage.cache_read_input_tokens)
        if usage.cache_creation_input_tokens is not None:
            self._cache_write = max(0, usage.cache_creation_input_tokens)
        split = usage.cache_creation
        if split is not None:
            self._cache_write_5m = max(0, split.ephemeral_5m_input_tokens or 0)
            self._cache_write_1h = max(0, split.ephemeral_1h_input_tokens or 0)
        if bytes(usage.iterations).find(_COMPACTION) >= 0:
            self._compaction = _compaction(usage.iterations)

    def replace(self, tokens: Tokens) -> None:
        """Takes what `tokens` says instead of all that was said before."""
        self.said = True
        self._input, self._output, self._cache_read = tokens.input, tokens.output, tokens.cache_read
        self._cache_write = self._cache_write_5m = tokens.cache_write_5m

    def tokens(self, output_at_least: int = 0) -> Tokens:
        """The counts; cache writes that the upstream did not split were for five minutes."""
        unsplit = max(0, self._cache_write - self._cache_write_5m - self._cache_write_1h)
        more = self._compaction
        return Tokens(
            input=self._input + more.input,
            output=max(self._output, output_at_least) + more.output,
            cache_read=self._cache_read + more.cache_read,
            cache_write_5m=self._cache_write_5m + unsplit + more.cache_write_5m,
            cache_write_1h=self._cache_write_1h,
        )


def _compaction(iterations: msgspec.Raw) -> Tokens:
    """What was spent on making the conversation shorter; nothing where that cannot be read."""
    try:
        of = [one for one in _decode_iterations(iterations) if one.type.encode() == _COMPACTION]
    except (ValueError, RecursionError):
        return Tokens()
    return Tokens(
        input=_sum(one.input_tokens for one in of),
        output=_sum(one.output_tokens for one in of),
        cache_read=_sum(one.cache_read_input_tokens for one in of),
        cache_write_5m=_sum(one.cache_creation_input_tokens for one in of),
    )


def _sum(counts: Iterable[int | None]) -> int:
    return min(_MOST_TOKENS, sum(max(0, count or 0) for count in counts))


class StreamMeter:
    """Meters one stream. `feed` takes every chunk as it came, however the upstream's events are cut into chunks. This
    one is of Anthropic's Messages; others of other APIs."""

    delta: ClassVar[bytes] = b'"content_block_delta"'
    """What stands in every event that brings output."""
    delta_frame_bytes: ClassVar[int] = 120
    """What the shortest frame of such an event takes beside its text."""
    carry_max_bytes: ClassVar[int] = 256 * 1024
    """What a line that says usage takes at most."""

    __slots__ = (
        "_begin",
        "_carry",
        "_carry_bytes",
        "_deltas",
        "_frame_bytes",
        "_last",
        "_produced_bytes",
        "complete",
        "counts",
        "size_bytes",
    )

    def __init__(self) -> None:
        self._begin = b""
        self._carry: list[bytes] = []
        self._carry_bytes = 0
        self._last = b""
        self.complete = False
        self.counts = Counts()
        self._deltas = 0
        self._frame_bytes = self.delta_frame_bytes
        self._produced_bytes = 0
        self.size_bytes = 0

    def feed(self, chunk: bytes) -> None:
        """Looks at a chunk; costs two searches when no line in it holds usage."""
        self.size_bytes += len(chunk)
        if len(self._begin) < _BEGIN_BYTES:
            self._begin += chunk[: _BEGIN_BYTES - len(self._begin)]
        if self._carry or chunk[-1:] != b"\n":
            chunk = self._whole_lines(chunk)
            if not chunk:
                return
        if len(chunk) > _LINE_ENDS_BYTES:
            self._last = chunk
        self._count_output(chunk)
        at = chunk.find(b'"usage"')
        while at >= 0:
            end = chunk.find(b"\n", at)
            line = chunk[chunk.rfind(b"\n", 0, at) + 1 : end]
            if line.startswith(b"data:"):
                self._usage_line(line[5:])
            at = chunk.find(b'"usage"', end)

    def _whole_lines(self, chunk: bytes) -> bytes:
        """The lines that end in a chunk, and with it the one that is carried; what follows them is carried on."""
        whole = chunk.rfind(b"\n") + 1
        rest = chunk[whole:]
        lines = self._carried() + chunk[:whole] if whole else b""
        if rest:
            self._carry.append(rest)
            self._carry_bytes += len(rest)
            if self._carry_bytes > self.carry_max_bytes:  # lines that say usage are short; longer ones are content
                self._count_output(self._carried())
        return lines

    def _carried(self) -> bytes:
        """The line that has not ended yet, which is carried no longer. Joined once, however small its pieces are."""
        carried = b"".join(self._carry)
        self._carry.clear()
        self._carry_bytes = 0
        return carried

    def _count_output(self, lines: bytes) -> None:
        """Counts deltas, and bytes from the first one on."""
        if self._deltas:
            self._produced_bytes += len(lines)
        else:
            first = lines.find(self.delta)
            if first < 0:
                return
            self._produced_bytes = len(lines) - lines.rfind(b"\n", 0, first) - 1
        self._deltas += lines.count(self.delta)

    def _usage_line(self, data: bytes) -> None:
        """Reads the data of an event that holds usage."""
        try:
            event = _decode_event(data)
        except (ValueError, RecursionError):
            return
        if event.type == "message_start" and event.message is not None and event.message.usage is not None:
            self.counts.revise(event.message.usage)
        elif event.type == "message_delta" and event.usage is not None:
            self.counts.revise(event.usage)
            self.complete = True

    @property
    def produced_at_most(self) -> int:
        """Output tokens so far, estimated from above by what can be seen of them."""
        text_bytes = self._produced_bytes - self._deltas * self._frame_bytes
        return max(self._deltas, text_bytes // _DENSE_BYTES_PER_TOKEN)

    @property
    def begun(self) -> bool:
        """Whether content has come, or the end of an answer without any."""
        return self._deltas > 0 or self.complete

    @property
    def all_said(self) -> bool:
        """Whether nothing more is to be learned of its usage."""
        return self.complete

    @property
    def last_data(self) -> bytes:
        """The data of the last event; empty when that cannot be told."""
        data = [line for line in self._last.split(b"\n") if line.startswith(b"data:") and b"{" in line]
        return data[-1][5:] if data else b""

    @property
    def ended_with_error(self) -> bool:
        """Whether the upstream itself ended the stream with an error event."""
        try:
            return _decode_event(self.last_data).type == "error"
        except (ValueError, RecursionError):
            return False

    def result(self, likely_input: int) -> tuple[Tokens, bool]:
        """Tokens to charge, and whether some are estimated because the stream ended before the upstream said them.

        `likely_input` stands in for input that the upstream never said.
        """
        if self.complete:
            return self.counts.tokens(), False
        self._count_output(self._carried())
        if not self._begin or (not self.counts.said and not self._deltas and self._refused()):
            return Tokens(), False  # refused in the form of a stream
        return self.so_far(likely_input), True

    def _refused(self) -> bool:
        return self._begin.startswith(b"event: error")

    def so_far(self, likely_input: int) -> Tokens:
        """Tokens as they stand in mid-stream: what the upstream said, and an estimate of the output."""
        text_bytes = max(0, self._produced_bytes - self._deltas * self._frame_bytes)
        produced = max(self._deltas, text_bytes // _TEXT_BYTES_PER_TOKEN)
        if self.counts.said:
            return self.counts.tokens(output_at_least=produced)
        return Tokens(input=likely_input, output=produced)


def estimated(answer: bytes, likely_input: int) -> Tokens:
    """Tokens of a plain answer that does not say them."""
    return Tokens(input=likely_input, output=len(answer) // _TEXT_BYTES_PER_TOKEN)


def of_answer(answer: bytes, likely_input: int) -> tuple[Tokens, bool]:
    """Tokens of a plain answer, and whether they are estimated because it does not say them."""
    try:
        usage = _decode_message(answer).usage
    except (ValueError, RecursionError):
        usage = None
    if usage is None:
        return estimated(answer, likely_input), True
    counts = Counts()
    counts.revise(usage)
    return counts.tokens(), False
