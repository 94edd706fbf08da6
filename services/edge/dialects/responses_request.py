"""OpenAI's Responses API, the client's side of a request: fields, input items and parts of content. Pure.

Shapes: https://platform.openai.com/docs/api-reference/responses/create
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from services.edge.dialects.request_fields import decode, is_given, refuse

_NOTHING: Final = msgspec.Raw(b"")
_MAX_TOKENS_MAX: Final = (1 << 31) - 1
ENCRYPTED_REASONING: Final = "reasoning.encrypted_content"
"""The member of `include` with which a client asks for reasoning that it can send back."""


class Text(msgspec.Struct, frozen=True):
    """A part that is text, whoever wrote it."""

    text: str


class Image(msgspec.Struct, frozen=True):
    """A part that is an image: an http(s) or data URL."""

    url: str
    detail: str | None


class File(msgspec.Struct, frozen=True):
    """A part that is a file: a data URL (`data`) or an http(s) one (`url`), one of them empty."""

    name: str
    data: str
    url: str


Part = Text | Image | File


class Message(msgspec.Struct, frozen=True):
    """What somebody said: user, assistant, system or developer."""

    role: str
    parts: list[Part]


class Call(msgspec.Struct, frozen=True):
    """A call of a tool in an earlier turn. `text` is JSON for a function, free for a custom tool."""

    field: str
    call_id: str
    name: str
    namespace: str | None
    text: str
    custom: bool


class Result(msgspec.Struct, frozen=True):
    """What a tool answered."""

    call_id: str
    parts: list[Part]


class Reasoning(msgspec.Struct, frozen=True):
    """What the model thought in an earlier turn, as it was told to the client."""

    encrypted: str


Item = Message | Call | Result | Reasoning


class ReasoningOptions(msgspec.Struct):
    """`reasoning`."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None

    @property
    def shown(self) -> bool:
        """Whether the client wants to read what was thought."""
        return bool(self.summary or self.generate_summary)


class Format(msgspec.Struct):
    """`text.format`."""

    type: str = "text"
    name: str | None = None
    schema: msgspec.Raw = _NOTHING
    description: str | None = None
    strict: bool | None = None


class TextOptions(msgspec.Struct):
    """`text`."""

    format: Format | None = None
    verbosity: str | None = None


class Request(msgspec.Struct):
    """What is read of a Responses request."""

    model: str
    input: msgspec.Raw = _NOTHING
    instructions: str | None = None
    stream: bool | None = None
    tools: list[msgspec.Raw] | None = None
    tool_choice: msgspec.Raw = _NOTHING
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    reasoning: ReasoningOptions | None = None
    text: TextOptions | None = None
    include: list[str] | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: str | None = None
    truncation: str | None = None
    top_logprobs: int | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: msgspec.Raw = _NOTHING
    prompt: msgspec.Raw = _NOTHING

    @property
    def encrypted_reasoning(self) -> bool:
        """Whether the client will send reasoning back with the next turn."""
        return ENCRYPTED_REASONING in (self.include or ())

    @property
    def summary(self) -> bool:
        """Whether the client wants to read what was thought."""
        return self.reasoning is not None and self.reasoning.shown

    @property
    def effort(self) -> str | None:
        """How hard the model shall think, in the client's words."""
        return self.reasoning.effort if self.reasoning else None


class _Probe(msgspec.Struct):
    type: str | None = None


class _MessageItem(msgspec.Struct):
    role: str
    content: msgspec.Raw


class _CallItem(msgspec.Struct):
    call_id: str
    name: str
    arguments: str
    namespace: str | None = None


class _CustomCallItem(msgspec.Struct):
    call_id: str
    name: str
    input: str
    namespace: str | None = None


class _OutputItem(msgspec.Struct):
    call_id: str
    output: msgspec.Raw


class _ReasoningItem(msgspec.Struct):
    encrypted_content: str | None = None


class _Part(msgspec.Struct):
    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None


_ROLES: Final = frozenset(("user", "assistant", "system", "developer"))
_TEXTS: Final = frozenset(("input_text", "output_text", "text", "summary_text"))
_DROPPED_ITEMS: Final = frozenset(
    ("web_search_call", "image_generation_call", "tool_search_call", "tool_search_output", "additional_tools")
)
_KEPT_NOTHING: Final = "nothing is kept here between requests; send the whole conversation as input"
_STATES: Final = ("previous_response_id", "conversation", "prompt")


def read(body: bytes) -> Request:
    """Reads a Responses request. Raises Refusal for what is malformed or needs something that is kept."""
    request = decode(body, Request, "")
    if not request.model:
        refuse("model", "is empty")
    for field in _STATES:
        value = getattr(request, field)
        if value is not None and not (isinstance(value, msgspec.Raw) and not is_given(value)):
            refuse(field, _KEPT_NOTHING)
    if request.background:
        refuse("background", _KEPT_NOTHING)
    if request.top_logprobs:
        refuse("top_logprobs", "log probabilities cannot be had from this model")
    if request.max_output_tokens is not None and not 1 <= request.max_output_tokens <= _MAX_TOKENS_MAX:
        refuse("max_output_tokens", f"must be between 1 and {_MAX_TOKENS_MAX}")
    return request


def items(request: Request) -> list[Item]:
    """The conversation: `input`, item by item. Raises Refusal."""
    raw = bytes(request.input).strip()
    if raw[:1] == b'"':
        return [Message("user", [Text(decode(raw, str, "input"))])]
    if not raw or raw == b"null":
        refuse("input", "field is required")
    read_items = [
        item
        for index, one in enumerate(decode(raw, list[msgspec.Raw], "input"))
        if (item := _item(one, f"input[{index}]")) is not None
    ]
    if not read_items:
        refuse("input", "is empty")
    return read_items


def _item(raw: bytes, field: str) -> Item | None:
    type_ = decode(raw, _Probe, field).type or "message"
    if type_ == "message":
        message = decode(raw, _MessageItem, field)
        if message.role not in _ROLES:
            refuse(f"{field}.role", f"{message.role!r} is none of assistant, developer, system, user")
        return Message(message.role, _parts(message.content, f"{field}.content"))
    if type_ == "function_call":
        call = decode(raw, _CallItem, field)
        return Call(f"{field}.arguments", call.call_id, call.name, call.namespace, call.arguments, custom=False)
    if type_ == "custom_tool_call":
        custom = decode(raw, _CustomCallItem, field)
        return Call(f"{field}.input", custom.call_id, custom.name, custom.namespace, custom.input, custom=True)
    if type_ in ("function_call_output", "custom_tool_call_output"):
        output = decode(raw, _OutputItem, field)
        return Result(output.call_id, _parts(output.output, f"{field}.output"))
    if type_ == "reasoning":
        return Reasoning(decode(raw, _ReasoningItem, field).encrypted_content or "")
    if type_ == "item_reference":
        refuse(field, _KEPT_NOTHING)
    if type_ not in _DROPPED_ITEMS:
        refuse(f"{field}.type", f"items of type {type_!r} cannot be sent to this model")
    return None


def _parts(raw: bytes, field: str) -> list[Part]:
    if bytes(raw).lstrip()[:1] == b'"':
        return [Text(decode(raw, str, field))]
    return [_part(part, f"{field}[{index}]") for index, part in enumerate(decode(raw, list[_Part], field))]


def _part(part: _Part, field: str) -> Part:
    if part.type in _TEXTS:
        return Text(_needed(part.text, f"{field}.text"))
    if part.type == "refusal":
        return Text(_needed(part.refusal, f"{field}.refusal"))
    if part.type == "input_image":
        return Image(_needed(part.image_url, f"{field}.image_url"), part.detail)
    if part.type != "input_file":
        refuse(f"{field}.type", f"content of type {part.type!r} cannot be sent to this model")
    if not part.file_data and not part.file_url:
        refuse(field, "needs file_data or file_url; files are not kept here")
    return File(part.filename or "file", part.file_data or "", part.file_url or "")


def _needed(value: str | None, field: str) -> str:
    if value is None:
        refuse(field, "field is required")
    return value


def echo(request: Request) -> Mapping[str, object]:
    """The fields of the answer that repeat the request, as the API repeats them."""
    text = request.text or TextOptions()
    format_: dict[str, object] = {"type": "text"}
    if text.format is not None:
        format_ = {k: v for k, v in msgspec.structs.asdict(text.format).items() if v not in (None, _NOTHING)}
    reasoning = request.reasoning or ReasoningOptions()
    summary = reasoning.summary or reasoning.generate_summary
    return {
        "background": False,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "metadata": request.metadata or {},
        "model": request.model,
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": None,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {"effort": reasoning.effort, "summary": summary},
        "safety_identifier": request.safety_identifier,
        "service_tier": "default",
        "temperature": request.temperature,
        "text": {"format": format_, **({"verbosity": text.verbosity} if text.verbosity else {})},
        "top_p": request.top_p,
        "truncation": request.truncation or "disabled",
        "user": request.user,
    }
