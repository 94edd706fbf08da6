"""Tools of a Chat Completions request, for upstreams of Anthropic's Messages API. Pure.

Shapes: https://platform.openai.com/docs/guides/function-calling and
https://docs.anthropic.com/en/docs/agents-and-tools/tool-use/implement-tool-use
"""

from typing import Final

import msgspec

from services.edge.dialects.chat_request import Request, Tool
from services.edge.dialects.request_fields import decode, is_given, refuse
from services.edge.dialects.tool_names import fitted

Block = dict[str, object]

NO_PARAMETERS: Final = msgspec.Raw(b'{"type":"object","properties":{}}')
"""The schema of a function that takes nothing: both APIs want an object's."""
_CHOICES: Final = {"none": "none", "auto": "auto", "required": "any"}


class _Named(msgspec.Struct):
    name: str


class _Allowed(msgspec.Struct):
    tools: list["_Choice"]
    mode: str = "auto"


class _Choice(msgspec.Struct):
    type: str
    function: _Named | None = None
    allowed_tools: _Allowed | None = None


class Tools:
    """The tools of one request under the names that the upstream takes. `forced`: one of them must be called."""

    __slots__ = ("_choice", "_own_names", "_parallel", "_told", "forced")

    def __init__(self, request: Request) -> None:
        self._told: dict[str, Block] = {}
        self._own_names: dict[str, str] = {}
        self._parallel = request.parallel_tool_calls is not False
        for index, raw in enumerate(request.tools or ()):
            self._add(decode(raw, Tool, f"tools[{index}]"), f"tools[{index}]")
        self._choice = self._read_choice(request.tool_choice)
        self.forced = bool(self._told) and self._choice.get("type") in ("any", "tool")
        if self._choice.get("type") == "any" and not self._told:
            refuse("tool_choice", "requires a tool, and there is none")

    @property
    def fields(self) -> Block:
        """`tools` and `tool_choice` of the upstream's request."""
        if not self._told:
            return {}
        choice = self._choice
        if not self._parallel and choice.get("type") != "none":
            choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
        fields: Block = {"tools": list(self._told.values())}
        return {**fields, "tool_choice": choice} if choice else fields

    def own_name(self, name: str) -> str:
        """What the client calls the tool that the upstream calls `name`."""
        return self._own_names.get(name, name)

    def _add(self, tool: Tool, field: str) -> None:
        if tool.type != "function":
            refuse(f"{field}.type", f"tools of type {tool.type!r} cannot be used with this model")
        function = tool.function
        if function is None or not function.name:
            refuse(f"{field}.function.name", "field is required")
        name = fitted(function.name)
        if name in self._told:
            refuse(f"{field}.function.name", f"{function.name!r} is defined twice")
        given = is_given(function.parameters) and bytes(function.parameters) != b"{}"
        told: Block = {"name": name, "input_schema": function.parameters.copy() if given else NO_PARAMETERS}
        if function.description:
            told["description"] = function.description
        if function.strict:
            told["strict"] = True
        if is_given(tool.cache_control):
            told["cache_control"] = tool.cache_control.copy()  # without the body that it is a part of, as above
        self._told[name], self._own_names[name] = told, function.name

    def _read_choice(self, given: msgspec.Raw) -> Block:
        if not is_given(given):
            return {}
        if bytes(given).lstrip()[:1] == b'"':
            mode = decode(given, str, "tool_choice")
            if mode not in _CHOICES:
                refuse("tool_choice", f"{mode!r} is none of auto, none, required")
            return {"type": _CHOICES[mode]}
        choice = decode(given, _Choice, "tool_choice")
        if choice.type == "allowed_tools" and choice.allowed_tools is not None:
            allowed = choice.allowed_tools
            if allowed.mode not in ("auto", "required"):
                refuse("tool_choice.allowed_tools.mode", f"{allowed.mode!r} is none of auto, required")
            names = {self._chosen(one, "tool_choice.allowed_tools.tools") for one in allowed.tools}
            self._told = {name: tool for name, tool in self._told.items() if name in names}
            return {"type": _CHOICES[allowed.mode]}
        return {"type": "tool", "name": self._chosen(choice, "tool_choice")}

    def _chosen(self, choice: _Choice, field: str) -> str:
        if choice.type != "function" or choice.function is None:
            refuse(f"{field}.type", f"{choice.type!r} cannot be chosen with this model")
        name = fitted(choice.function.name)
        if name not in self._told:
            refuse(f"{field}.function.name", f"{choice.function.name!r} is not among the tools")
        return name
