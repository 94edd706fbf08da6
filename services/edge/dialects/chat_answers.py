"""Answers of Chat Completions, plain and streamed, as far as translations read them. Pure.

https://platform.openai.com/docs/api-reference/chat/object and .../chat-streaming
"""

from typing import Final

import msgspec


class PromptDetails(msgspec.Struct):
    """What of the prompt came from a cache or went into it."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionDetails(msgspec.Struct):
    """What of the answer was thought."""

    reasoning_tokens: int | None = None


class Count(msgspec.Struct):
    """Usage; what was not said is None."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None

    @property
    def output_tokens(self) -> int:
        """All that was produced. Google leaves out of the completion what was thought, and has it in the total."""
        thought_too = (self.total_tokens or 0) - max(0, self.prompt_tokens or 0)
        return max(0, self.completion_tokens or 0, thought_too)


class Function(msgspec.Struct):
    """What is called, or a piece of it."""

    name: str | None = None
    arguments: str | None = None


class Call(msgspec.Struct):
    """A call of a tool, or a piece of one."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Said(msgspec.Struct):
    """A message of a plain answer, or what a chunk adds to it. Compatible upstreams tell thoughts as
    `reasoning_content` or `reasoning`."""

    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[Call] | None = None


class Choice(msgspec.Struct):
    """One answer, or what a chunk adds to it."""

    message: Said | None = None
    delta: Said | None = None
    finish_reason: str | None = None
    index: int = 0


class Completion(msgspec.Struct):
    """A plain answer."""

    choices: list[Choice]
    usage: Count | None = None


class Error(msgspec.Struct):
    """What ends a stream that failed."""

    type: str | None = None
    code: str | int | None = None


class Chunk(msgspec.Struct):
    """One chunk of a stream."""

    choices: list[Choice] | None = None
    usage: Count | None = None
    error: Error | str | None = None

    @property
    def failed_by(self) -> tuple[str, str] | None:
        """Type and code of the error that ends the stream, if this is one; some upstreams say a sentence instead."""
        if self.error is None or isinstance(self.error, str):
            return None if self.error is None else ("", "")
        return self.error.type or "", str(self.error.code)


decode_completion: Final = msgspec.json.Decoder(Completion).decode
decode_chunk: Final = msgspec.json.Decoder(Chunk).decode
