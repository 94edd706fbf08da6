"""A Responses request as a request of Chat Completions. Pure.

https://platform.openai.com/docs/api-reference/chat/create
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from services.edge.dialects.request_fields import is_given, refuse
from services.edge.dialects.responses_request import (
    Call,
    File,
    Format,
    Image,
    Item,
    Message,
    Part,
    Request,
    Result,
    Text,
)
from services.edge.dialects.responses_tools import Tool, Tools, custom_arguments

Fields = dict[str, object]

_PASSED_ON: Final = ("temperature", "top_p", "user", "safety_identifier", "prompt_cache_key")
_INSTRUCTING: Final = frozenset(("system", "developer"))


def request_body(
    request: Request, items: Sequence[Item], tools: Tools, upstream_model: str, default_max_tokens: int
) -> bytes:
    """The body for the upstream. Raises Refusal for what the API has no words for."""
    body: Fields = {
        "model": upstream_model,
        "messages": _messages(request, items, tools),
        "max_completion_tokens": request.max_output_tokens or default_max_tokens,
    }
    if request.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    body |= {field: value for field in _PASSED_ON if (value := getattr(request, field)) is not None}
    if request.effort is not None:
        body["reasoning_effort"] = request.effort
    if request.text is not None and request.text.verbosity is not None:
        body["verbosity"] = request.text.verbosity
    if request.text is not None and request.text.format is not None:
        body |= _response_format(request.text.format)
    return msgspec.json.encode(body | _tool_fields(request, tools))


def _response_format(format_: Format) -> Fields:
    if format_.type == "text":
        return {}
    if format_.type == "json_object":
        return {"response_format": {"type": "json_object"}}
    if format_.type != "json_schema":
        refuse("text.format.type", f"{format_.type!r} is none of json_object, json_schema, text")
    if not is_given(format_.schema):
        refuse("text.format.schema", "field is required")
    schema: Fields = {"name": format_.name or "answer", "schema": format_.schema}
    if format_.description is not None:
        schema["description"] = format_.description
    if format_.strict is not None:
        schema["strict"] = format_.strict
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def _tool_fields(request: Request, tools: Tools) -> Fields:
    if not tools.told:
        return {}
    fields: Fields = {"tools": [_tool(tool) for tool in tools.told]}
    if tools.choice is not None and tools.choice.mode == "named":
        fields["tool_choice"] = {"type": "function", "function": {"name": tools.choice.name}}
    elif tools.choice is not None:
        fields["tool_choice"] = tools.choice.mode
    if request.parallel_tool_calls is not None:
        fields["parallel_tool_calls"] = request.parallel_tool_calls
    return fields


def _tool(tool: Tool) -> Fields:
    function: Fields = {"name": tool.name, "parameters": tool.schema}
    if tool.description:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _messages(request: Request, items: Sequence[Item], tools: Tools) -> list[Fields]:
    """Instructions are messages of the system, which every upstream knows; `developer` only OpenAI's own do."""
    turns = _Turns()
    if request.instructions:
        turns.messages.append({"role": "system", "content": request.instructions})
    for index, item in enumerate(items):
        field = f"input[{index}]"
        if isinstance(item, Message) and item.role == "assistant":
            turns.say(_texts(item.parts, f"{field}.content"))
        elif isinstance(item, Message) and item.role in _INSTRUCTING:
            turns.messages.append({"role": "system", "content": _texts(item.parts, f"{field}.content")})
        elif isinstance(item, Message):
            turns.messages.append({"role": "user", "content": _content(item.parts, f"{field}.content")})
        elif isinstance(item, Call):
            turns.call(_call(item, tools))
        elif isinstance(item, Result):
            turns.result(item, f"{field}.output")
    turns.end()
    return turns.messages


class _Turns:
    """Messages, as items come in: one of the assistant a turn, and after it at once what its tools answered. Results
    can only be text, so that images in them are told in a message of the user's after the last of them."""

    def __init__(self) -> None:
        self.messages: list[Fields] = []
        self._calls: list[Fields] = []
        self._place = 0
        self._images: list[Part] = []

    def say(self, text: str) -> None:
        """Adds to the assistant's message."""
        message = self._assistant()
        said = message.get("content")
        message["content"] = f"{said}\n{text}" if said else text

    def call(self, call: Fields) -> None:
        """Adds a call to the assistant's message."""
        message = self._assistant()
        if "tool_calls" not in message:
            self._calls = []
            message["tool_calls"] = self._calls
        self._calls.append(call)

    def result(self, result: Result, field: str) -> None:
        """Puts a result behind those that are there, before what else was said since the calls."""
        texts = [part for part in result.parts if isinstance(part, Text)]
        others = [part for part in result.parts if not isinstance(part, Text)]
        content = _texts(texts, field)
        if others:
            content = f"{content}\n(The images or files of this result follow.)".lstrip()
            self._images += others
        place = self._place or len(self.messages)
        self.messages.insert(place, {"role": "tool", "tool_call_id": result.call_id, "content": content})
        self._place = place + 1

    def end(self) -> None:
        """Tells the images of the last results."""
        if self._images:
            self.messages.insert(self._place, {"role": "user", "content": _content(self._images, "input")})
            self._images = []

    def _assistant(self) -> Fields:
        if not self.messages or self.messages[-1]["role"] != "assistant":
            self.end()
            self.messages.append({"role": "assistant", "content": None})
        self._place = len(self.messages)
        return self.messages[-1]


def _texts(parts: Sequence[Part], field: str) -> str:
    texts = []
    for part in parts:
        if not isinstance(part, Text):
            refuse(field, "only text can be sent here to this model")
        texts.append(part.text)
    return "\n".join(texts)


def _content(parts: Sequence[Part], field: str) -> str | list[Fields]:
    """Text alone is a string, which every upstream takes."""
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    return [_part(part, field) for part in parts]


def _part(part: Part, field: str) -> Fields:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Image):
        image = {"url": part.url} if part.detail is None else {"url": part.url, "detail": part.detail}
        return {"type": "image_url", "image_url": image}
    return _file(part, field)


def _file(file: File, field: str) -> Fields:
    if file.url:
        refuse(field, "files by URL cannot be sent to this model; send file_data")
    return {"type": "file", "file": {"filename": file.name, "file_data": file.data}}


def _call(call: Call, tools: Tools) -> Fields:
    arguments = custom_arguments(call.text).decode() if call.custom else call.text
    function = {"name": tools.upstream_name(call.name, call.namespace), "arguments": arguments}
    return {"type": "function", "id": call.call_id, "function": function}
