"""OpenAI's Chat Completions, the client's side of a request: fields, messages and parts of content. Pure.

Shapes: https://platform.openai.com/docs/api-reference/chat/create
"""

from typing import Final

import msgspec

from services.edge.dialects.request_fields import decode, is_given, refuse

_NOTHING: Final = msgspec.Raw(b"")
_MAX_TOKENS_MAX: Final = (1 << 31) - 1
_ROLES: Final = frozenset(("user", "assistant", "system", "developer", "tool"))


class StreamOptions(msgspec.Struct):
    """`stream_options`."""

    include_usage: bool | None = None


class JsonSchema(msgspec.Struct):
    """`response_format.json_schema`."""

    schema: msgspec.Raw = _NOTHING


class ResponseFormat(msgspec.Struct):
    """`response_format`."""

    type: str
    json_schema: JsonSchema | None = None


class ToolFunction(msgspec.Struct):
    """A function that the model may call."""

    name: str
    description: str | None = None
    parameters: msgspec.Raw = _NOTHING
    strict: bool | None = None


class Tool(msgspec.Struct):
    """A member of `tools`."""

    type: str
    function: ToolFunction | None = None
    cache_control: msgspec.Raw = _NOTHING


class Request(msgspec.Struct):
    """What is read of a request."""

    model: str
    messages: list[msgspec.Raw]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: msgspec.Raw = _NOTHING
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: str | list[str] | None = None
    n: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    logit_bias: dict[str, float] | None = None
    response_format: ResponseFormat | None = None
    reasoning_effort: str | None = None
    modalities: list[str] | None = None
    functions: msgspec.Raw = _NOTHING
    function_call: msgspec.Raw = _NOTHING
    web_search_options: msgspec.Raw = _NOTHING
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    cache_control: msgspec.Raw = _NOTHING


class ImageUrl(msgspec.Struct):
    """`image_url` of a part."""

    url: str


class FileData(msgspec.Struct):
    """`file` of a part."""

    file_data: str | None = None
    filename: str | None = None


class Part(msgspec.Struct):
    """A part of a message's content, of any type."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: ImageUrl | None = None
    file: FileData | None = None
    cache_control: msgspec.Raw = _NOTHING


class CalledFunction(msgspec.Struct):
    """What an earlier answer called."""

    name: str
    arguments: str


class Call(msgspec.Struct):
    """A call in an earlier answer."""

    id: str
    function: CalledFunction | None = None
    type: str = "function"


class Message(msgspec.Struct):
    """A member of `messages`, of any role."""

    role: str
    content: msgspec.Raw = _NOTHING
    refusal: str | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    function_call: msgspec.Raw = _NOTHING
    audio: msgspec.Raw = _NOTHING


def read(body: bytes) -> Request:
    """Reads a request. Raises Refusal for what is malformed, and for what no upstream of another API can do."""
    request = decode(body, Request, "")
    if not request.model:
        refuse("model", "is empty")
    if not request.messages:
        refuse("messages", "is empty")
    if request.n is not None and request.n != 1:
        refuse("n", "must be 1 with this model")
    if request.logprobs or request.top_logprobs:
        refuse("logprobs" if request.logprobs else "top_logprobs", "log probabilities cannot be had from this model")
    if request.logit_bias:
        refuse("logit_bias", "cannot be used with this model")
    if any(modality != "text" for modality in request.modalities or ()):
        refuse("modalities", "only text can be had from this model")
    for field, instead in (("functions", "tools"), ("function_call", "tool_choice"), ("web_search_options", "tools")):
        if is_given(getattr(request, field)):
            refuse(field, f"cannot be used with this model; see {instead}")
    for field in ("max_completion_tokens", "max_tokens"):
        value = getattr(request, field)
        if value is not None and not 1 <= value <= _MAX_TOKENS_MAX:
            refuse(field, f"must be between 1 and {_MAX_TOKENS_MAX}")
    return request


def message(raw: bytes, field: str) -> Message:
    """Reads one message. Raises Refusal that names it."""
    read_message = decode(raw, Message, field)
    if read_message.role not in _ROLES:
        refuse(f"{field}.role", f"{read_message.role!r} is none of {', '.join(sorted(_ROLES))}")
    for name in ("function_call", "audio"):
        if is_given(getattr(read_message, name)):
            refuse(f"{field}.{name}", "cannot be sent to this model")
    return read_message


def parts(raw: bytes, field: str) -> list[Part]:
    """Content as parts: none of null, one of a string. Raises Refusal."""
    stripped = bytes(raw).lstrip()
    if not stripped or stripped == b"null":
        return []
    if stripped[:1] == b'"':
        return [Part("text", decode(raw, str, field))]
    return decode(raw, list[Part], field)
