"""A request of Anthropic's Messages API as one of Chat Completions. Pure.

https://platform.openai.com/docs/api-reference/chat/create
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from services.edge.dialects.messages_request import Block, Request, Source, Tool, blocks
from services.edge.dialects.request_fields import is_given, refuse
from services.edge.dialects.tool_names import fitted

Fields = dict[str, object]

_NO_PARAMETERS: Final = msgspec.Raw(b'{"type":"object","properties":{}}')
_CHOICES: Final = {"auto": "auto", "any": "required", "none": "none"}
_STOPS_MAX: Final = 4
"""https://platform.openai.com/docs/api-reference/chat/create#chat-create-stop"""
_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_BUDGET_LOW_MAX: Final = 4096
_BUDGET_MEDIUM_MAX: Final = 12288
_THINKING: Final = frozenset(("enabled", "adaptive"))
_THOUGHTS: Final = frozenset(("thinking", "redacted_thinking"))
_HOSTED: Final = ("server_tool_use", "mcp_tool_use")
_HOSTED_RESULT: Final = "_tool_result"
_FAILED: Final = "Error: "


def request_body(request: Request, upstream_model: str, default_max_tokens: int) -> bytes:
    """The body for the upstream. Raises Refusal for what the API has no words for."""
    body: Fields = {
        "model": upstream_model,
        "messages": _messages(request),
        "max_completion_tokens": request.max_tokens or default_max_tokens,
    }
    if request.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    for field in ("temperature", "top_p"):
        if (value := getattr(request, field)) is not None:
            body[field] = value
    if request.stop_sequences:
        if len(request.stop_sequences) > _STOPS_MAX:
            refuse("stop_sequences", f"must be at most {_STOPS_MAX} with this model")
        body["stop"] = request.stop_sequences
    if request.metadata is not None and request.metadata.user_id:
        body["user"] = request.metadata.user_id
    if effort := _effort(request):
        body["reasoning_effort"] = effort
    return msgspec.json.encode(body | _tool_fields(request) | _response_format(request))


def own_names(request: Request) -> dict[str, str]:
    """The client's name of each tool, by the one that the upstream is told."""
    return {fitted(tool.name): tool.name for tool in request.tools or ()}


def thoughts_shown(request: Request) -> bool:
    """Whether the client asked the model to think, and wants to read it."""
    thought = request.thinking
    return thought is not None and thought.type in _THINKING and thought.display != "omitted"


def _effort(request: Request) -> str | None:
    """Only of a request that asks for thinking: models that do not think refuse the field."""
    thought = request.thinking
    if thought is None or thought.type not in _THINKING:
        return None
    effort = request.output_config.effort if request.output_config else None
    if effort is not None:
        if effort not in _EFFORTS:
            refuse("output_config.effort", f"{effort!r} is none of {', '.join(_EFFORTS)}")
        return _EFFORTS[effort]
    if thought.type == "adaptive":
        return None
    if thought.budget_tokens <= _BUDGET_LOW_MAX:
        return "low"
    return "medium" if thought.budget_tokens <= _BUDGET_MEDIUM_MAX else "high"


def _response_format(request: Request) -> Fields:
    format_ = (request.output_config.format if request.output_config else None) or request.output_format
    if format_ is None:
        return {}
    if format_.type != "json_schema" or not is_given(format_.schema):
        refuse("output_config.format", "must be a json_schema with a schema")
    schema = {"name": "answer", "schema": format_.schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _tool_fields(request: Request) -> Fields:
    tools: dict[str, Fields] = {}
    for index, tool in enumerate(request.tools or ()):
        if tool.type is not None and tool.type.startswith("tool_search_tool"):
            continue  # the tools that it would find are all told
        told = _tool(tool, f"tools[{index}]")
        if fitted(tool.name) in tools:
            refuse(f"tools[{index}].name", f"{tool.name!r} is defined twice")
        tools[fitted(tool.name)] = told
    choice = request.tool_choice
    if not tools:
        if choice is not None and choice.type in ("any", "tool"):
            refuse("tool_choice", "requires a tool, and there is none")
        return {}
    fields: Fields = {"tools": list(tools.values())}
    if choice is None:
        return fields
    if choice.type == "tool":
        name = fitted(choice.name)
        if name not in tools:
            refuse("tool_choice.name", f"{choice.name!r} is not among the tools")
        fields["tool_choice"] = {"type": "function", "function": {"name": name}}
    elif choice.type in _CHOICES:
        fields["tool_choice"] = _CHOICES[choice.type]
    else:
        refuse("tool_choice.type", f"{choice.type!r} is none of any, auto, none, tool")
    return {**fields, "parallel_tool_calls": False} if choice.disable_parallel_tool_use else fields


def _tool(tool: Tool, field: str) -> Fields:
    if tool.type not in (None, "custom"):
        refuse(f"{field}.type", f"tools of type {tool.type!r} cannot be used with this model")
    if not tool.name:
        refuse(f"{field}.name", "field is required")
    given = is_given(tool.input_schema) and bytes(tool.input_schema) != b"{}"
    function: Fields = {"name": fitted(tool.name), "parameters": tool.input_schema if given else _NO_PARAMETERS}
    if tool.description:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _messages(request: Request) -> list[Fields]:
    system = _texts(blocks(request.system, "system"), "system")
    messages: list[Fields] = [{"role": "system", "content": system}] if system else []
    for index, message in enumerate(request.messages):
        field = f"messages[{index}].content"
        told = blocks(message.content, field)
        if message.role == "system":
            messages.append({"role": "system", "content": _texts(told, field)})
        elif message.role == "assistant":
            messages += _answered(told, field)
        else:
            messages += _asked(told, field)
    return messages


def _answered(told: Sequence[Block], field: str) -> list[Fields]:
    """The assistant's message; none of a turn of which nothing is left."""
    texts: list[Block] = []
    calls: list[Fields] = []
    for index, block in enumerate(told):
        if block.type == "tool_use":
            calls.append(_call(block, f"{field}[{index}]"))
        elif block.type not in _THOUGHTS and block.type not in _HOSTED and not block.type.endswith(_HOSTED_RESULT):
            texts.append(block)
    text = _texts(texts, field)
    if not text and not calls:
        return []
    message: Fields = {"role": "assistant", "content": text or None}
    return [{**message, "tool_calls": calls} if calls else message]


def _call(block: Block, field: str) -> Fields:
    if not block.id or not block.name:
        refuse(f"{field}.{'name' if block.id else 'id'}", "field is required")
    arguments = bytes(block.input).decode() if is_given(block.input) else "{}"
    function = {"name": fitted(block.name), "arguments": arguments}
    return {"type": "function", "id": block.id, "function": function}


def _asked(told: Sequence[Block], field: str) -> list[Fields]:
    """What the tools answered, each a message, then what the user said. Results can only be text, so that images in
    them are told with the user's words."""
    results: list[Fields] = []
    content: list[Fields] = []
    said: list[Fields] = []
    for index, block in enumerate(told):
        place = f"{field}[{index}]"
        if block.type == "tool_result":
            result, shown = _result(block, place)
            results.append(result)
            content += shown
        else:
            said += _parts(block, place)
    content += said
    if not content:
        return results
    alone = len(content) == 1 and content[0]["type"] == "text"
    # Text alone is a string, which every upstream takes.
    return [*results, {"role": "user", "content": content[0]["text"] if alone else content}]


def _result(block: Block, field: str) -> tuple[Fields, list[Fields]]:
    if not block.tool_use_id:
        refuse(f"{field}.tool_use_id", "field is required")
    parts: list[Fields] = []
    for index, inner in enumerate(blocks(block.content, f"{field}.content")):
        parts += _parts(inner, f"{field}.content[{index}]")
    text = "\n".join(str(part["text"]) for part in parts if part["type"] == "text")
    shown = [part for part in parts if part["type"] != "text"]
    if shown:
        text = f"{text}\n(The images or files of this result follow.)".lstrip()
    if block.is_error:
        text = _FAILED + text
    return {"role": "tool", "tool_call_id": block.tool_use_id, "content": text}, shown


def _texts(told: Sequence[Block], field: str) -> str:
    """Content that can only be text there; many upstreams take it as a string only."""
    for index, block in enumerate(told):
        if block.type != "text":
            refuse(f"{field}[{index}]", "only text can be sent here to this model")
    return "\n".join(block.text for block in told if block.text)


def _parts(block: Block, field: str) -> list[Fields]:
    if block.type == "text":
        return [{"type": "text", "text": block.text}] if block.text else []
    if block.type == "image" and block.source is not None:
        return [{"type": "image_url", "image_url": {"url": _image_url(block.source, f"{field}.source")}}]
    if block.type != "document" or block.source is None:
        refuse(f"{field}.type", f"content of type {block.type!r} cannot be sent to this model")
    return _document(block.source, block.title, f"{field}.source")


def _image_url(source: Source, field: str) -> str:
    if source.type == "base64":
        return f"data:{source.media_type};base64,{source.data}"
    if source.type != "url":
        refuse(f"{field}.type", f"sources of type {source.type!r} cannot be sent to this model")
    return source.url


def _document(source: Source, title: str | None, field: str) -> list[Fields]:
    if source.type == "base64":
        data = f"data:{source.media_type};base64,{source.data}"
        return [{"type": "file", "file": {"filename": title or "document.pdf", "file_data": data}}]
    if source.type == "text":
        return [{"type": "text", "text": f"{title}\n{source.data}" if title else source.data}]
    if source.type != "content":
        refuse(f"{field}.type", f"sources of type {source.type!r} cannot be sent to this model")
    inner = enumerate(blocks(source.content, f"{field}.content"))
    return [part for index, block in inner for part in _parts(block, f"{field}.content[{index}]")]
