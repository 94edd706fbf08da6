"""A Chat Completions request as a request of Anthropic's Messages API. Pure.

https://docs.anthropic.com/en/api/messages
"""

from typing import Final

import msgspec

from services.edge.dialects import anthropic_thinking as thinking
from services.edge.dialects.anthropic_turns import (
    Turns,
    end_without_space,
    mid_loop_without_thinking,
    says_something,
)
from services.edge.dialects.chat_request import Call, Message, Part, Request, message, parts
from services.edge.dialects.chat_tools import Tools
from services.edge.dialects.request_fields import data_url, is_given, refuse
from services.edge.dialects.tool_names import fitted, fitted_id

Block = dict[str, object]

_TEMPERATURE_MAX: Final = 1.0
_PDF: Final = "application/pdf"
_TEXTS: Final = frozenset(("text", "refusal"))
_EPHEMERAL: Final = {"type": "ephemeral"}


def request_body(request: Request, tools: Tools, upstream_model: str, default_max_tokens: int) -> bytes:
    """The body for the upstream. Raises Refusal for what the API has no words for."""
    max_tokens = request.max_completion_tokens or request.max_tokens or default_max_tokens
    system, messages = _conversation(request)
    if not messages:
        refuse("messages", "holds no message of a user")
    body: Block = {"model": upstream_model, "max_tokens": max_tokens, "messages": messages}
    if system:
        body["system"] = system
    if request.stream:
        body["stream"] = True
    if is_given(request.cache_control):
        body["cache_control"] = request.cache_control
    elif request.prompt_cache_key:
        # OpenAI caches by itself; Anthropic must be asked, and finds the longest prefix it knows.
        body["cache_control"] = _EPHEMERAL
    if user := request.safety_identifier or request.user:
        body["metadata"] = {"user_id": user}
    if stops := _stops(request):
        body["stop_sequences"] = stops
    thought = _thinking(request, tools, messages, upstream_model, max_tokens)
    body |= tools.fields | _sampling(request, thought) | _output_fields(request, thought)
    return msgspec.json.encode(body)


def _stops(request: Request) -> list[str]:
    """Where the answer ends. Without a sequence that the API refuses it would run on, and be paid for: a client that
    sends one is told."""
    stops = [request.stop] if isinstance(request.stop, str) else request.stop or []
    if any(stop.isspace() for stop in stops):
        refuse("stop", "a sequence of nothing but white space cannot be sent to this model")
    return [stop for stop in stops if stop]


def _thinking(
    request: Request, tools: Tools, messages: list[Block], upstream_model: str, max_tokens: int
) -> thinking.Thinking:
    effort = request.reasoning_effort
    if effort is not None and effort not in thinking.EFFORTS:
        refuse("reasoning_effort", f"{effort!r} is none of {', '.join(sorted(thinking.EFFORTS))}")
    asked = thinking.asked(effort, upstream_model, max_tokens, shown=True)
    if tools.forced or (asked.budgeted and (mid_loop_without_thinking(messages) or _begun(messages))):
        # The API refuses thinking with a forced tool, and a budget where the assistant's turn began without thinking.
        return thinking.Thinking(None, asked.effort)
    return asked


def _begun(messages: list[Block]) -> bool:
    """Whether the client wrote the beginning of the answer."""
    return messages[-1]["role"] == "assistant"


def _sampling(request: Request, thought: thinking.Thinking) -> Block:
    """Thinking fixes temperature and top_k, and leaves top_p hardly free: they are dropped with it."""
    fields: Block = {}
    if request.temperature is not None:
        if not 0 <= request.temperature <= _TEMPERATURE_MAX:
            refuse("temperature", "must be between 0 and 1 with this model")
        fields["temperature"] = request.temperature
    if request.top_p is not None:
        if not 0 <= request.top_p <= 1:
            refuse("top_p", "must be between 0 and 1")
        fields["top_p"] = request.top_p
    if request.top_k is not None:
        fields["top_k"] = request.top_k
    return {"thinking": thought.thinking} if thought.thinking else fields


def _output_fields(request: Request, thought: thinking.Thinking) -> Block:
    config: Block = {"effort": thought.effort} if thought.effort else {}
    format_ = request.response_format
    if format_ is not None and format_.type == "json_schema":
        if format_.json_schema is None or not is_given(format_.json_schema.schema):
            refuse("response_format.json_schema.schema", "field is required")
        config["format"] = {"type": "json_schema", "schema": format_.json_schema.schema}
    elif format_ is not None and format_.type != "text":
        refuse("response_format.type", f"{format_.type!r} cannot be had from this model; json_schema can")
    return {"output_config": config} if config else {}


def _conversation(request: Request) -> tuple[list[Block], list[Block]]:
    """System blocks, and messages whose roles alternate. Instructions in mid-conversation, which not every model
    takes as a message of their own, are told in the user's turn."""
    system: list[Block] = []
    turns = Turns()
    for index, raw in enumerate(request.messages):
        field = f"messages[{index}]"
        said = message(raw, field)
        if said.role == "tool":
            turns.add_result(_result(said, field))
        elif said.role == "user":
            turns.add("user", _blocks(said, field))
        elif said.role == "assistant":
            turns.add("assistant", _answer(said, field))
        elif turns.messages:
            texts = _texts(said, field)
            turns.add("user", [{**block, "text": f"<system>\n{block['text']}\n</system>"} for block in texts])
        else:
            system += _texts(said, field)
    end_without_space(turns.messages)
    return system, turns.messages


def _blocks(said: Message, field: str) -> list[Block]:
    """Parts as blocks."""
    numbered = enumerate(parts(said.content, f"{field}.content"))
    told = [_block(part, f"{field}.content[{index}]") for index, part in numbered]
    return [block for block in told if says_something(block)]


def _texts(said: Message, field: str) -> list[Block]:
    """Content that can only be text there."""
    for index, part in enumerate(parts(said.content, f"{field}.content")):
        if part.type not in _TEXTS:
            refuse(f"{field}.content[{index}]", "only text can be sent here to this model")
    return _blocks(said, field)


def _answer(said: Message, field: str) -> list[Block]:
    refusal: list[Block] = [{"type": "text", "text": said.refusal}] if said.refusal and said.refusal.strip() else []
    calls = [_call(call, f"{field}.tool_calls[{index}]") for index, call in enumerate(said.tool_calls or ())]
    return _texts(said, field) + refusal + calls


def _call(call: Call, field: str) -> Block:
    if call.function is None:
        refuse(f"{field}.type", f"calls of type {call.type!r} cannot be sent to this model")
    arguments = call.function.arguments.strip().encode() or b"{}"
    try:
        msgspec.json.decode(arguments, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError):
        refuse(f"{field}.function.arguments", "is not a JSON object")
    name = fitted(call.function.name)
    return {"type": "tool_use", "id": fitted_id(call.id), "name": name, "input": msgspec.Raw(arguments)}


def _result(said: Message, field: str) -> Block:
    if not said.tool_call_id:
        refuse(f"{field}.tool_call_id", "field is required")
    return {"type": "tool_result", "tool_use_id": fitted_id(said.tool_call_id), "content": _blocks(said, field)}


def _block(part: Part, field: str) -> Block:
    block = _content(part, field)
    return {**block, "cache_control": part.cache_control} if is_given(part.cache_control) else block


def _content(part: Part, field: str) -> Block:
    if part.type in _TEXTS:
        text = part.text if part.type == "text" else part.refusal
        if text is None:
            refuse(f"{field}.{part.type}", "field is required")
        return {"type": "text", "text": text}
    if part.type == "image_url":
        if part.image_url is None:
            refuse(f"{field}.image_url", "field is required")
        return {"type": "image", "source": _source(part.image_url.url, f"{field}.image_url.url")}
    if part.type != "file":
        refuse(f"{field}.type", f"content of type {part.type!r} cannot be sent to this model")
    return _document(part, field)


def _source(url: str, field: str) -> Block:
    inline = data_url(url)
    if inline is not None:
        return {"type": "base64", "media_type": inline[0], "data": inline[1]}
    if not url.startswith(("https://", "http://")):
        refuse(field, "must be a base64 data URL or an http(s) URL")
    return {"type": "url", "url": url}


def _document(part: Part, field: str) -> Block:
    if part.file is None or not part.file.file_data:
        refuse(f"{field}.file.file_data", "field is required; files are not kept here")
    data = part.file.file_data
    url = data if data.startswith("data:") else f"data:{_PDF};base64,{data}"
    source = _source(url, f"{field}.file.file_data")
    if source.get("media_type", _PDF) != _PDF:
        refuse(f"{field}.file.file_data", "only PDF files can be sent to this model")
    document: Block = {"type": "document", "source": source}
    return {**document, "title": part.file.filename} if part.file.filename else document
