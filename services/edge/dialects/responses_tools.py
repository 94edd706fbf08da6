"""Tools of the Responses API: what of them an upstream is told, and how its calls are named for the client. Pure.

Upstreams know functions only. A custom tool becomes a function of one string; a namespace's tools become functions
whose names begin with the namespace's. Shapes: https://platform.openai.com/docs/guides/function-calling
"""

from typing import Final

import msgspec

from services.edge.dialects.custom_input import FIELD
from services.edge.dialects.request_fields import decode, is_given, refuse
from services.edge.dialects.responses_request import Request
from services.edge.dialects.tool_names import fitted, hashed

_CUSTOM_SCHEMA: Final = msgspec.Raw(
    b'{"type":"object","properties":{"input":{"type":"string"}},"required":["input"],"additionalProperties":false}'
)
_NO_PARAMETERS: Final = msgspec.Raw(b'{"type":"object","properties":{}}')
_DROPPED: Final = ("web_search", "image_generation", "tool_search")
"""Begin the types of hosted tools that coding agents send with every request, and do without."""
_MODES: Final = frozenset(("none", "auto", "required"))


class Tool(msgspec.Struct, frozen=True):
    """A tool under the name that the upstream knows (`name`) and the one that the client does (`own_name`)."""

    name: str
    own_name: str
    namespace: str | None
    custom: bool
    description: str | None
    schema: msgspec.Raw
    strict: bool | None


class Choice(msgspec.Struct, frozen=True):
    """tool_choice: `none`, `auto`, `required`, or `named` with the upstream's name of the tool."""

    mode: str
    name: str = ""


class _Format(msgspec.Struct):
    type: str = "text"
    syntax: str = ""
    definition: str = ""


class _Tool(msgspec.Struct):
    type: str
    name: str = ""
    description: str | None = None
    parameters: msgspec.Raw = msgspec.Raw(b"")
    strict: bool | None = None
    format: _Format | None = None
    tools: list[msgspec.Raw] | None = None


class _Choice(msgspec.Struct):
    type: str
    name: str = ""
    namespace: str | None = None
    mode: str = "auto"
    tools: list["_Choice"] | None = None


class Tools:
    """The tools of one request. `echoed` are the client's own definitions of those that the upstream is told."""

    __slots__ = ("_by_name", "_by_own", "choice", "echoed", "told")

    def __init__(self, request: Request) -> None:
        self._by_name: dict[str, Tool] = {}
        self._by_own: dict[tuple[str | None, str], Tool] = {}
        self.echoed: list[msgspec.Raw] = []
        for index, raw in enumerate(request.tools or ()):
            if self._read(raw, f"tools[{index}]", None):
                self.echoed.append(raw.copy())  # without the body that it is a part of, here and below
        self.told = list(self._by_name.values())
        self.choice = self._read_choice(request)
        if not self.told and self.choice is not None and self.choice.mode == "required":
            refuse("tool_choice", "requires a tool, and there is none that this model can use")

    def upstream_name(self, own_name: str, namespace: str | None) -> str:
        """What the upstream calls a tool of the client's, even one that the request does not define any more."""
        known = self._by_own.get((namespace, own_name))
        return known.name if known else _fitted(own_name, namespace)

    def called(self, name: str) -> Tool:
        """The tool that the upstream calls. An unknown one is told to the client as a function of that name."""
        return self._by_name.get(name) or Tool(name, name, None, False, None, _NO_PARAMETERS, None)

    def _read(self, raw: msgspec.Raw, field: str, namespace: str | None) -> bool:
        tool = decode(raw, _Tool, field)
        if tool.type in ("function", "custom"):
            if not tool.name:
                refuse(f"{field}.name", "field is required")
            self._add(tool, field, namespace)
            return True
        if tool.type == "namespace" and namespace is None:
            for index, inner in enumerate(tool.tools or ()):
                self._read(inner, f"{field}.tools[{index}]", tool.name)
            return True
        if not tool.type.startswith(_DROPPED):
            refuse(f"{field}.type", f"tools of type {tool.type!r} cannot be used with this model")
        return False

    def _add(self, tool: _Tool, field: str, namespace: str | None) -> None:
        if (namespace, tool.name) in self._by_own:
            refuse(f"{field}.name", f"{tool.name!r} is defined twice")
        name = _fitted(tool.name, namespace)
        if name in self._by_name:
            name = hashed(name, f"{namespace}/{tool.name}")
        custom = tool.type == "custom"
        schema = _CUSTOM_SCHEMA if custom else _schema(tool.parameters)
        description = _custom_description(tool) if custom else tool.description
        added = Tool(name, tool.name, namespace, custom, description, schema, None if custom else tool.strict)
        self._by_name[name] = self._by_own[namespace, tool.name] = added

    def _read_choice(self, request: Request) -> Choice | None:
        if not is_given(request.tool_choice):
            return None
        raw = bytes(request.tool_choice).strip()
        if raw[:1] == b'"':
            mode = decode(raw, str, "tool_choice")
            if mode not in _MODES:
                refuse("tool_choice", f"{mode!r} is none of auto, none, required")
            return Choice(mode)
        choice = decode(raw, _Choice, "tool_choice")
        if choice.type == "allowed_tools":
            if choice.mode not in ("auto", "required"):
                refuse("tool_choice.mode", f"{choice.mode!r} is none of auto, required")
            allowed = {self._chosen(one, "tool_choice.tools") for one in choice.tools or ()}
            self.told = [tool for tool in self.told if tool.name in allowed]
            return Choice(choice.mode)
        return Choice("named", self._chosen(choice, "tool_choice"))

    def _chosen(self, choice: _Choice, field: str) -> str:
        if choice.type not in ("function", "custom"):
            refuse(f"{field}.type", f"tools of type {choice.type!r} cannot be chosen with this model")
        found = self._by_own.get((choice.namespace, choice.name))
        if found is None:
            refuse(f"{field}.name", f"{choice.name!r} is not among the tools")
        return found.name


def custom_arguments(text: str) -> bytes:
    """The free text of a custom tool's call as the arguments of the function that stands for the tool."""
    return msgspec.json.encode({FIELD: text})


def _schema(parameters: msgspec.Raw) -> msgspec.Raw:
    """Both APIs want an object's schema, with properties, of a function that takes nothing."""
    if not is_given(parameters) or bytes(parameters) == b"{}":
        return _NO_PARAMETERS
    return parameters.copy()


def _custom_description(tool: _Tool) -> str | None:
    """A grammar cannot bind the upstream, but the model can be told it."""
    if tool.format is None or tool.format.type != "grammar":
        return tool.description
    grammar = f"The input must match this {tool.format.syntax} grammar:\n{tool.format.definition}"
    return f"{tool.description}\n\n{grammar}" if tool.description else grammar


def _fitted(own_name: str, namespace: str | None) -> str:
    name = f"{namespace}__{own_name}" if namespace else own_name
    return fitted(name)
