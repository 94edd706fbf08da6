"""Requests of OpenAI's Responses API: what the real API refuses is refused, by the name of the field. Pure.

https://platform.openai.com/docs/api-reference/responses/create
"""

from collections.abc import Callable, Iterator
from typing import Any, Final

from services.simulator import fields as of
from services.simulator import openai_fields as openai
from services.simulator.asked import Asked, Choice, Invalid, Tool, Turn
from services.simulator.responses_items import read_items, thoughts

_KNOWN: Final = frozenset(
    (
        *("access_programs", "background", "client_metadata", "context_management", "conversation", "image", "include"),
        *("input", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "model", "moderation"),
        *("parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_options"),
        *("prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store", "stream"),
        *(
            "stream_options",
            "temperature",
            "text",
            "tool_choice",
            "tools",
            "top_logprobs",
            "top_p",
            "truncation",
            "user",
        ),
    )
)
"""`client_metadata` is what coding agents send beside the documented fields."""
_ALSO_KNOWN: Final = frozenset(
    ("provider", "models", "route", "plugins", "top_k", "session_id", "frequency_penalty", "presence_penalty")
)
"""https://openrouter.ai/docs/api-reference/responses/overview"""
_MIN_OUTPUT: Final = 16
_FORMATS: Final = ("text", "json_object", "json_schema")
_TRUNCATIONS: Final = (None, "auto", "disabled")
_NAMING: Final = ("function", "custom")


def read(body: bytes, previous: Callable[[str], frozenset[str] | None], *, lenient: bool = False) -> Asked:
    """Reads a request; `previous` tells the tool calls of an earlier answer by its id. Raises Invalid."""
    given, tools_text = of.decode(body)
    openai.check_known(given, _KNOWN | _ALSO_KNOWN if lenient else _KNOWN)
    openai.check_sampling(given)
    _check_rest(given)
    called = _called(given.get("previous_response_id"), previous)
    instructions = given.get("instructions")
    if not isinstance(instructions, str | None):
        raise openai.invalid_type("instructions", "a string")
    turns, texts = read_items(given.get("input"), called)
    if instructions:
        turns, texts = [Turn("system", texts=(instructions,)), *turns], [instructions, *texts]
    prompt = "\n".join(filter(None, [*texts, tools_text]))
    tools = tuple(_tools(given.get("tools")))
    wants_json, schema = _format(given.get("text"), prompt)
    unverified, thoughtful = thoughts(given["input"])
    return Asked(
        model=given["model"],
        stream=bool(given.get("stream")),
        prompt=prompt,
        fields=given,
        max_tokens=given.get("max_output_tokens"),
        turns=tuple(turns),
        tools=tools,
        choice=_choice(given, tools),
        json=wants_json,
        schema=schema,
        refused=unverified,
        thoughtful=thoughtful,
    )


def _called(id_: Any, previous: Callable[[str], frozenset[str] | None]) -> frozenset[str]:
    if id_ is None:
        return frozenset()
    found = previous(id_) if isinstance(id_, str) else None
    if found is None:
        raise Invalid(
            f"Previous response with id '{id_}' not found.", "previous_response_id", "previous_response_not_found"
        )
    return found


def _check_rest(given: dict[str, Any]) -> None:
    openai.check_whole("max_output_tokens", given.get("max_output_tokens"), _MIN_OUTPUT)
    openai.check_whole("max_tool_calls", given.get("max_tool_calls"), 1)
    if given.get("conversation") is not None and given.get("previous_response_id") is not None:
        raise Invalid(
            "Mutually exclusive parameters: 'previous_response_id' and 'conversation'.",
            "previous_response_id",
            "mutually_exclusive_parameters",
        )
    reasoning = given.get("reasoning")
    if not isinstance(reasoning, dict | None):
        raise openai.invalid_type("reasoning", "an object")
    openai.check_effort("reasoning.effort", (reasoning or {}).get("effort"))
    if given.get("truncation") not in _TRUNCATIONS:
        raise openai.invalid_value("truncation", "must be one of auto, disabled")
    include = given.get("include")
    if not isinstance(include, list | None) or not all(isinstance(one, str) for one in include or ()):
        raise openai.invalid_type("include", "an array of strings")


def _tools(value: Any) -> Iterator[Tool]:
    """Tools that the client runs; those that OpenAI runs are taken as they are."""
    for index, tool in enumerate(openai.check_tools(value)):
        if tool["type"] == "function":
            yield openai.check_function(f"tools[{index}]", tool)
        elif tool["type"] == "custom":
            openai.check_name(f"tools[{index}].name", tool.get("name"))
            yield Tool(tool["name"], custom=True)


def _choice(given: dict[str, Any], tools: tuple[Tool, ...]) -> Choice:
    choice, name = given.get("tool_choice"), ""
    if isinstance(choice, dict):
        if not isinstance(choice.get("type"), str):
            raise openai.missing("tool_choice.type")
        if choice["type"] in _NAMING:
            openai.check_name("tool_choice.name", choice.get("name"))
            name = choice["name"]
    if choice == "required" and not given.get("tools"):
        raise Invalid("Tool choice 'required' must be specified with 'tools' parameter.", "tool_choice")
    return openai.read_choice(given, name, tools)


def _format(text: Any, prompt: str) -> tuple[bool, dict[str, Any]]:
    """Whether the answer has to be JSON, and its schema. Raises Invalid."""
    if not isinstance(text, dict | None):
        raise openai.invalid_type("text", "an object")
    format_ = (text or {}).get("format")
    if format_ is None:
        return False, {}
    if not isinstance(format_, dict) or format_.get("type") not in _FORMATS:
        raise openai.invalid_value("text.format.type", f"must be one of {', '.join(_FORMATS)}")
    if format_["type"] == "json_schema":
        if not isinstance(format_.get("schema"), dict):
            raise openai.missing("text.format.schema")
        return True, openai.check_schema("text.format", format_)
    if format_["type"] == "json_object":
        openai.check_mentions_json("input", prompt)
    return format_["type"] == "json_object", {}
