"""What a request asks for, in words that all of the APIs share: answers depend on this alone. Pure."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec


class Invalid(Exception):
    """A request that the API refuses.

    Args:
        message: why; it begins with the field where Anthropic's messages do.
        param: the field, as OpenAI's errors name it apart from the message.
        code: OpenAI's word for the fault.
        status: 400, or what the API answers instead.
    """

    def __init__(self, message: str, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param = param
        self.code = code
        self.status = status


class Call(msgspec.Struct, frozen=True):
    """A tool call among the messages; `arguments` is JSON text, or a custom tool's free text."""

    id: str
    name: str
    arguments: str


class Result(msgspec.Struct, frozen=True):
    """What a tool gave; `images` are media types, or `url`."""

    id: str
    text: str
    images: tuple[str, ...] = ()
    error: bool = False


class Turn(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message as it was understood; `images` and `files` are media types, or `url` or `id`."""

    role: str
    texts: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    thoughts: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    results: tuple[Result, ...] = ()


class Tool(NamedTuple):
    """A tool that may be called; a custom one is given free text."""

    name: str
    custom: bool = False


class Choice(NamedTuple):
    """Whether a tool has to be called (and which), or must not, and whether at most one."""

    forced: bool = False
    name: str = ""
    none: bool = False
    single: bool = False


_FREE: Final = Choice()


@dataclass(frozen=True)
class Asked:
    """A valid request.

    `prompt` is all of its text and its tools, where scripts are looked for and tokens are counted. `fields` are the
    request's own, for what an answer repeats of them. `copies` is how many answers are wanted. `json` says that an
    answer has to be JSON, of the form of `schema` where there is one. `refused` is why the provider would not take a
    thought that it did not sign; `thoughtful` is the same for the first thought, whoever signed it.
    """

    model: str
    stream: bool
    prompt: str
    fields: Mapping[str, Any]
    max_tokens: int | None = None
    copies: int = 1
    turns: tuple[Turn, ...] = ()
    tools: tuple[Tool, ...] = ()
    choice: Choice = _FREE
    json: bool = False
    schema: Mapping[str, Any] = field(default_factory=dict)
    refused: Invalid | None = None
    thoughtful: Invalid | None = None

    @property
    def results(self) -> tuple[Result, ...]:
        """Results of tools that the request ends with: it is the second turn of a tool's use."""
        found: list[Result] = []
        for turn in reversed(self.turns):
            if turn.role in _INSTRUCTING:
                continue
            if not turn.results:
                break
            found[:0] = turn.results
        return tuple(found)


_INSTRUCTING: Final = ("system", "developer")


class _Echo(msgspec.Struct, omit_defaults=True):
    turns: tuple[Turn, ...]
    tools: tuple[str, ...] = ()
    tool_choice: str = ""
    max_tokens: int | None = None
    temperature: float | None = None
    stop: tuple[str, ...] = ()
    schema: Mapping[str, Any] = {}


def echo(asked: Asked) -> str:
    """What was understood, as compact JSON; the same whichever API it came through, but for roles as they were sent."""
    choice = asked.choice
    stop = asked.fields.get("stop") or asked.fields.get("stop_sequences") or ()
    told = _Echo(
        turns=asked.turns,
        tools=tuple(tool.name for tool in asked.tools),
        tool_choice="none" if choice.none else choice.name or ("any" if choice.forced else ""),
        max_tokens=asked.max_tokens,
        temperature=asked.fields.get("temperature"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        schema=asked.schema,
    )
    return msgspec.json.encode(told).decode()


def signature(thought: str) -> str:
    """What the simulator signs a thought with; like the real one it holds for these words only."""
    digest = hashlib.sha256(b"simulator:" + thought.encode("utf-8", "surrogatepass")).digest()
    return base64.b64encode(digest).decode()
