"""Anthropic's Messages API, the client's side of a request: fields, messages and blocks of content. Pure.

Shapes: https://docs.anthropic.com/en/api/messages
"""

from typing import Final

import msgspec

from services.edge.dialects.request_fields import decode, is_given, refuse
from services.shared.errors import Kind, Refusal

_NOTHING: Final = msgspec.Raw(b"")
_ROLES: Final = frozenset(("user", "assistant", "system"))
_MAX_TOKENS_MAX: Final = (1 << 31) - 1
_NO_THREADS: Final = "thread: nothing is kept between requests with this model; send the whole conversation as messages"
_THREAD_UNSUPPORTED: Final = "thread_unsupported_request"
"""What Anthropic's SDKs know from: their tool runners, which begin a thread unasked, go on without one."""


class Thinking(msgspec.Struct):
    """`thinking`."""

    type: str
    budget_tokens: int = 0
    display: str | None = None


class Format(msgspec.Struct):
    """`output_config.format`."""

    type: str
    schema: msgspec.Raw = _NOTHING


class OutputConfig(msgspec.Struct):
    """`output_config`."""

    effort: str | None = None
    format: Format | None = None


class Metadata(msgspec.Struct):
    """`metadata`."""

    user_id: str | None = None


class Tool(msgspec.Struct):
    """A member of `tools`; one without a type is the client's own."""

    name: str = ""
    type: str | None = None
    description: str | None = None
    input_schema: msgspec.Raw = _NOTHING
    strict: bool | None = None


class ToolChoice(msgspec.Struct):
    """`tool_choice`."""

    type: str
    name: str = ""
    disable_parallel_tool_use: bool | None = None


class Message(msgspec.Struct):
    """A member of `messages`."""

    role: str
    content: msgspec.Raw


class Request(msgspec.Struct):
    """What is read of a request."""

    model: str
    messages: list[Message]
    max_tokens: int | None = None
    system: msgspec.Raw = _NOTHING
    stream: bool | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: Format | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] | None = None
    metadata: Metadata | None = None
    mcp_servers: list[msgspec.Raw] | None = None
    container: msgspec.Raw = _NOTHING
    thread: msgspec.Raw = _NOTHING


class Source(msgspec.Struct):
    """Where the bytes of an image or document are."""

    type: str
    media_type: str = ""
    data: str = ""
    url: str = ""
    content: msgspec.Raw = _NOTHING


class Block(msgspec.Struct):
    """A block of content, of any type."""

    type: str
    text: str = ""
    source: Source | None = None
    title: str | None = None
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")
    tool_use_id: str = ""
    content: msgspec.Raw = _NOTHING
    is_error: bool | None = None


def read(body: bytes) -> Request:
    """Reads a request. Raises Refusal for what is malformed, and for what no upstream of another API can do."""
    request = decode(body, Request, "")
    if not request.model:
        refuse("model", "is empty")
    if not request.messages:
        refuse("messages", "is empty")
    if request.max_tokens is not None and not 1 <= request.max_tokens <= _MAX_TOKENS_MAX:
        refuse("max_tokens", f"must be between 1 and {_MAX_TOKENS_MAX}")
    for field, given in (("mcp_servers", bool(request.mcp_servers)), ("container", is_given(request.container))):
        if given:
            refuse(field, "cannot be used with this model")
    if is_given(request.thread):
        raise Refusal(Kind.INVALID_REQUEST, _NO_THREADS, param="thread", error_code=_THREAD_UNSUPPORTED)
    for index, message in enumerate(request.messages):
        if message.role not in _ROLES:
            refuse(f"messages[{index}].role", f"{message.role!r} is none of {', '.join(sorted(_ROLES))}")
    return request


def blocks(raw: bytes, field: str) -> list[Block]:
    """Content as blocks: none of null, one of a string. Raises Refusal."""
    if not is_given(msgspec.Raw(raw)):
        return []
    if bytes(raw).lstrip()[:1] == b'"':
        return [Block("text", decode(raw, str, field))]
    return decode(raw, list[Block], field)
