"""A Responses request as a request of Anthropic's Messages API. Pure.

https://docs.anthropic.com/en/api/messages
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from services.edge.dialects import anthropic_thinking as thinking
from services.edge.dialects.anthropic_turns import (
    Turns,
    end_without_space,
    mid_loop_without_thinking,
    says_something,
    without_last_thoughts,
)
from services.edge.dialects.request_fields import data_url, is_given, refuse
from services.edge.dialects.responses_request import (
    Call,
    File,
    Image,
    Item,
    Message,
    Part,
    Reasoning,
    Request,
    Result,
    Text,
)
from services.edge.dialects.responses_tools import Tools, custom_arguments
from services.edge.dialects.tool_names import fitted_id

Block = dict[str, object]

_TEMPERATURE_MAX: Final = 1.0
_INSTRUCTING: Final = frozenset(("system", "developer"))
_PDF: Final = "application/pdf"


def request_body(
    request: Request, items: Sequence[Item], tools: Tools, upstream_model: str, default_max_tokens: int
) -> bytes:
    """The body for the upstream. Raises Refusal for what the API has no words for."""
    max_tokens = request.max_output_tokens or default_max_tokens
    system, messages = _conversation(request, items, tools)
    if not messages:
        refuse("input", "holds no message of a user")
    body: Block = {"model": upstream_model, "max_tokens": max_tokens, "messages": messages}
    if system:
        body["system"] = system
    if request.stream:
        body["stream"] = True
    if request.prompt_cache_key:
        # OpenAI caches by itself; Anthropic must be asked, and finds the longest prefix it knows.
        body["cache_control"] = {"type": "ephemeral"}
    if request.user or request.safety_identifier:
        body["metadata"] = {"user_id": request.safety_identifier or request.user}
    body |= _tool_fields(request, tools)
    thought = _thinking(request, tools, messages, upstream_model, max_tokens)
    return msgspec.json.encode(body | _sampling(request, thought) | _output_fields(request, thought))


def _tool_fields(request: Request, tools: Tools) -> Block:
    if not tools.told:
        return {}
    fields: Block = {"tools": [_tool(tool.name, tool.description, tool.schema, tool.strict) for tool in tools.told]}
    choice: Block = {}
    if tools.choice is not None:
        names = {"none": "none", "auto": "auto", "required": "any", "named": "tool"}
        choice = {"type": names[tools.choice.mode]}
        if tools.choice.mode == "named":
            choice["name"] = tools.choice.name
    if request.parallel_tool_calls is False and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return fields | ({"tool_choice": choice} if choice else {})


def _tool(name: str, description: str | None, schema: msgspec.Raw, strict: bool | None) -> Block:
    tool: Block = {"name": name, "input_schema": schema}
    if description:
        tool["description"] = description
    if strict:
        tool["strict"] = True
    return tool


def _thinking(
    request: Request, tools: Tools, messages: list[Block], upstream_model: str, max_tokens: int
) -> thinking.Thinking:
    effort = request.effort
    if effort is not None and effort not in thinking.EFFORTS:
        refuse("reasoning.effort", f"{effort!r} is none of {', '.join(sorted(thinking.EFFORTS))}")
    asked = thinking.asked(effort, upstream_model, max_tokens, shown=request.summary)
    forced = tools.choice is not None and tools.choice.mode in ("required", "named") and bool(tools.told)
    if forced or (asked.budgeted and mid_loop_without_thinking(messages)):
        # The API refuses thinking with a forced tool, and a budget in a loop of tools that began without thinking.
        return thinking.Thinking(None, asked.effort)
    return asked


def _sampling(request: Request, thought: thinking.Thinking) -> Block:
    """Thinking fixes the temperature, and leaves top_p hardly free: both are dropped with it."""
    fields: Block = {}
    if request.temperature is not None:
        if not 0 <= request.temperature <= _TEMPERATURE_MAX:
            refuse("temperature", "must be between 0 and 1 with this model")
        fields["temperature"] = request.temperature
    if request.top_p is not None:
        if not 0 <= request.top_p <= 1:
            refuse("top_p", "must be between 0 and 1")
        fields["top_p"] = request.top_p
    return {"thinking": thought.thinking} if thought.thinking else fields


def _output_fields(request: Request, thought: thinking.Thinking) -> Block:
    config: Block = {"effort": thought.effort} if thought.effort else {}
    format_ = request.text.format if request.text else None
    if format_ is not None and format_.type == "json_schema":
        if not is_given(format_.schema):
            refuse("text.format.schema", "field is required")
        config["format"] = {"type": "json_schema", "schema": format_.schema}
    elif format_ is not None and format_.type != "text":
        refuse("text.format.type", f"{format_.type!r} cannot be had from this model; json_schema can")
    return {"output_config": config} if config else {}


def _conversation(request: Request, items: Sequence[Item], tools: Tools) -> tuple[list[Block], list[Block]]:
    """System blocks, and messages whose roles alternate. Instructions in mid-conversation, which not every model
    takes as a message of their own, are told in the user's turn."""
    instructions = request.instructions or ""
    system: list[Block] = [_text(instructions)] if instructions.strip() else []
    turns = Turns()
    for index, item in enumerate(items):
        if isinstance(item, Message) and item.role in _INSTRUCTING:
            texts = [text for part in item.parts if (text := _instruction(part, index)).strip()]
            if turns.messages:
                turns.add("user", [_text(f"<system>\n{text}\n</system>") for text in texts])
            else:
                system += map(_text, texts)
        elif isinstance(item, Message):
            turns.add(item.role, _said(item.parts, f"input[{index}].content"))
        elif isinstance(item, Call):
            turns.add("assistant", [_call(item, tools)])
        elif isinstance(item, Result):
            turns.add_result(_result(item, f"input[{index}].output"))
        elif isinstance(item, Reasoning):
            turns.add("assistant", thinking.unseal(item.encrypted))
    messages = [told for one in turns.messages if (told := without_last_thoughts(one))["content"]]
    end_without_space(messages)
    return system, messages


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _instruction(part: Part, index: int) -> str:
    if not isinstance(part, Text):
        refuse(f"input[{index}].content", "instructions can only be text with this model")
    return part.text


def _said(parts: Sequence[Part], field: str) -> list[Block]:
    """Parts as blocks."""
    return [block for part in parts if says_something(block := _part(part, field))]


def _part(part: Part, field: str) -> Block:
    if isinstance(part, Text):
        return _text(part.text)
    if isinstance(part, Image):
        return {"type": "image", "source": _source(part.url, field)}
    return _document(part, field)


def _source(url: str, field: str) -> Block:
    inline = data_url(url)
    if inline is not None:
        return {"type": "base64", "media_type": inline[0], "data": inline[1]}
    if not url.startswith(("https://", "http://")):
        refuse(field, "an image or file must be a base64 data URL or an http(s) URL")
    return {"type": "url", "url": url}


def _document(file: File, field: str) -> Block:
    url = file.url or file.data
    if file.data and not file.data.startswith("data:"):
        url = f"data:{_PDF};base64,{file.data}"
    source = _source(url, field)
    if source.get("media_type", _PDF) != _PDF:
        refuse(field, "only PDF files can be sent to this model")
    return {"type": "document", "source": source, "title": file.name}


def _call(call: Call, tools: Tools) -> Block:
    arguments = custom_arguments(call.text) if call.custom else call.text.strip().encode() or b"{}"
    if not call.custom:
        try:
            msgspec.json.decode(arguments, type=dict[str, msgspec.Raw])
        except (ValueError, RecursionError):
            refuse(call.field, "is not a JSON object")
    name = tools.upstream_name(call.name, call.namespace)
    return {"type": "tool_use", "id": fitted_id(call.call_id), "name": name, "input": msgspec.Raw(arguments)}


def _result(result: Result, field: str) -> Block:
    return {"type": "tool_result", "tool_use_id": fitted_id(result.call_id), "content": _said(result.parts, field)}
