"""OpenAI's requests, as far as they are read: Chat Completions, Responses, Embeddings.

Shapes: https://platform.openai.com/docs/api-reference.
"""

from typing import Final

import msgspec

from services.edge.dialects.asked import NOTHING, Asked, Defaults, Reader, Request, bounded, fault

_STREAM_MAX: Final = 128 * 1024
"""What a stream that sets itself no bound may produce before it ends: its hold grows with it."""
_CHOICES_MAX: Final = 128
"""https://platform.openai.com/docs/api-reference/chat/create#chat-create-n"""


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Chat(Request):
    messages: list[msgspec.Raw]
    stream: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    n: int | None = None
    stream_options: _StreamOptions | None = None
    reasoning_effort: str | None = None
    prompt_cache_key: str | None = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None


class _Responses(Request):
    input: msgspec.Raw = NOTHING
    instructions: msgspec.Raw = NOTHING
    stream: bool | None = None
    max_output_tokens: int | None = None
    background: bool | None = None
    reasoning: _Reasoning | None = None
    prompt_cache_key: str | None = None


class _Embeddings(Request):
    input: msgspec.Raw


_chat: Final = Reader(
    _Chat,
    *("audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "metadata", "modalities"),
    *("parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_retention", "response_format"),
    *("safety_identifier", "seed", "service_tier", "stop", "store", "temperature", "tool_choice", "tools"),
    *("top_logprobs", "top_p", "user", "verbosity", "web_search_options"),
)
_responses: Final = Reader(
    _Responses,
    *(
        "client_metadata",
        "context_management",
        "conversation",
        "include",
        "max_tool_calls",
        "metadata",
        "parallel_tool_calls",
    ),
    *("previous_response_id", "prompt", "prompt_cache_retention", "safety_identifier", "service_tier", "store"),
    *("stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user"),
)
_embeddings: Final = Reader(_Embeddings, "dimensions", "encoding_format", "user")
_decode_items: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode


def read_chat(body: bytes, defaults: Defaults) -> Asked:
    """Reads a request for a chat completion. Raises Refusal that names the field."""
    request = _chat.read(body)
    if not request.messages:
        raise fault("messages", "at least one message is required")
    field, bound = _bound(request)
    asked = _asked(request.model, field, bound, bool(request.stream), request.reasoning_effort, defaults)
    asked.choices = _choices(request.n)
    asked.wants_usage = request.stream_options is not None and bool(request.stream_options.include_usage)
    asked.session = request.prompt_cache_key or ""
    asked.beginning = request.messages[0], request.messages[1] if len(request.messages) > 1 else NOTHING
    return asked


def read_responses(body: bytes, defaults: Defaults) -> Asked:
    """Reads a request for a response. Raises Refusal that names the field."""
    request = _responses.read(body)
    if request.background:  # it is worked on when its answer has come, and nobody would ever say what that used
        raise fault("background", "cannot be asked for: nothing is kept here")
    effort = request.reasoning.effort if request.reasoning else None
    asked = _asked(
        request.model, "max_output_tokens", request.max_output_tokens, bool(request.stream), effort, defaults
    )
    asked.session = request.prompt_cache_key or ""
    asked.beginning = request.instructions, _first(request.input)
    return asked


def read_embeddings(body: bytes, defaults: Defaults) -> Asked:
    """Reads a request for embeddings, which produces no tokens. Raises Refusal that names the field."""
    request = _embeddings.read(body)
    return Asked(request.model, 0, beginning=(NOTHING, request.input))


def _asked(model: str, field: str, bound: int | None, stream: bool, effort: str | None, defaults: Defaults) -> Asked:
    filled = 0
    if bound is None:
        bound = _STREAM_MAX if stream else defaults.output_tokens
        filled = 0 if stream else bound
    asked = Asked(model, bounded(field, bound), stream, filled)
    # What a model that reasons thinks is never shown in full.
    asked.unseen = min(asked.max_tokens, defaults.thinking_tokens) if effort not in (None, "none", "minimal") else 0
    return asked


def _bound(request: _Chat) -> tuple[str, int | None]:
    """The field that bounds the answer. Of both the larger counts: an upstream may know but one of them."""
    said = {"max_completion_tokens": request.max_completion_tokens, "max_tokens": request.max_tokens}
    bounds = {field: bounded(field, tokens) for field, tokens in said.items() if tokens is not None}
    return max(bounds.items(), key=lambda bound: bound[1]) if bounds else ("max_tokens", None)


def _choices(n: int | None) -> int:
    """How many answers may be produced. Raises Refusal."""
    if n is not None and not 1 <= n <= _CHOICES_MAX:
        raise fault("n", f"must be from 1 to {_CHOICES_MAX}")
    return n or 1


def _first(items: msgspec.Raw) -> msgspec.Raw:
    """The first item of the input; all of it where it is a text."""
    try:
        listed = _decode_items(items)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return items
    return listed[0] if listed else NOTHING
