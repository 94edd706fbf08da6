"""Requests of OpenAI's Chat Completions: what the real API refuses is refused, by the name of the field. Pure.

https://platform.openai.com/docs/api-reference/chat/create
"""

from collections.abc import Iterator
from typing import Any, Final

from services.simulator import fields as of
from services.simulator import openai_fields as openai
from services.simulator.asked import Asked, Choice, Invalid, Tool
from services.simulator.chat_turns import read_turns

_KNOWN: Final = frozenset(
    (
        *("model", "messages", "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs"),
        *("max_completion_tokens", "max_tokens", "metadata", "modalities", "moderation", "n", "parallel_tool_calls"),
        *("prediction", "presence_penalty", "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
        *("reasoning_effort", "response_format", "safety_identifier", "seed", "service_tier", "stop", "store"),
        *("stream", "stream_options", "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user"),
        *("verbosity", "web_search_options"),
    )
)
_ALSO_KNOWN: Final = frozenset(
    (
        *("models", "route", "provider", "transforms", "plugins", "reasoning", "include_reasoning", "usage", "top_k"),
        *("min_p", "top_a", "repetition_penalty", "session_id", "trace", "extra_body", "google"),
    )
)
"""Fields of https://openrouter.ai/docs/api-reference/parameters and
https://ai.google.dev/gemini-api/docs/openai, which take more than OpenAI does."""
_FORMATS: Final = ("text", "json_object", "json_schema")
_STOPS_MAX: Final = 4
_CHOICES_MAX: Final = 128


def read(body: bytes, *, lenient: bool = False) -> Asked:
    """Reads a request; `lenient` as OpenRouter's and Gemini's endpoints are to fields of their own. Raises Invalid."""
    given, tools_text = of.decode(body)
    openai.check_known(given, _KNOWN | _ALSO_KNOWN if lenient else _KNOWN)
    openai.check_sampling(given)
    _check_rest(given)
    turns, texts = read_turns(given.get("messages"), lenient=lenient)
    prompt = "\n".join(filter(None, [*texts, tools_text]))
    tools = tuple(_tools(given.get("tools")))
    if given.get("tools") == []:
        raise Invalid("[] is too short - 'tools'", "tools", "empty_array")
    wants_json, schema = _format(given.get("response_format"), prompt)
    return Asked(
        model=given["model"],
        stream=bool(given.get("stream")),
        prompt=prompt,
        fields=given,
        max_tokens=_limit(given),
        copies=given.get("n") or 1,
        turns=tuple(turns),
        tools=tools,
        choice=_choice(given, tools),
        json=wants_json,
        schema=schema,
    )


def _limit(given: dict[str, Any]) -> int | None:
    old, new = given.get("max_tokens"), given.get("max_completion_tokens")
    if old is not None and new is not None:
        raise Invalid(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            "max_tokens",
            "invalid_parameter_combination",
        )
    openai.check_whole("max_tokens", old, 1)
    openai.check_whole("max_completion_tokens", new, 1)
    return new if old is None else old


def _check_rest(given: dict[str, Any]) -> None:
    openai.check_whole("n", given.get("n"), 1, _CHOICES_MAX)
    openai.check_effort("reasoning_effort", given.get("reasoning_effort"))
    if given.get("top_logprobs") is not None and not given.get("logprobs"):
        raise openai.invalid_value("top_logprobs", "'logprobs' must be true")
    options = given.get("stream_options")
    if options is not None and (
        not isinstance(options, dict) or not isinstance(options.get("include_usage"), bool | None)
    ):
        raise openai.invalid_type("stream_options", "an object with 'include_usage'")
    stop = given.get("stop")
    stops = stop if isinstance(stop, list) else [stop]
    if len(stops) > _STOPS_MAX:
        raise Invalid(f"Invalid 'stop': at most {_STOPS_MAX} are supported.", "stop", "array_above_max_length")
    if stop is not None and not all(isinstance(one, str) for one in stops):
        raise openai.invalid_type("stop", "a string or an array of strings")


def _tools(value: Any) -> Iterator[Tool]:
    for index, tool in enumerate(openai.check_tools(value)):
        where = f"tools[{index}]"
        if tool["type"] == "function":
            yield openai.check_function(f"{where}.function", tool.get("function"))
        elif tool["type"] == "custom":
            custom = tool.get("custom")
            openai.check_name(f"{where}.custom.name", custom.get("name") if isinstance(custom, dict) else None)
            yield Tool(tool["custom"]["name"], custom=True)
        else:
            raise openai.invalid_value(f"{where}.type", "must be one of function, custom")


def _choice(given: dict[str, Any], tools: tuple[Tool, ...]) -> Choice:
    for field in ("tool_choice", "parallel_tool_calls"):
        if given.get(field) is not None and not tools:
            raise openai.invalid_value(field, f"'{field}' is only allowed when 'tools' are specified")
    choice, name = given.get("tool_choice"), ""
    if isinstance(choice, dict):
        kind = choice.get("type")
        if kind not in ("function", "custom", "allowed_tools"):
            raise openai.invalid_value("tool_choice.type", "must be one of function, custom, allowed_tools")
        if kind != "allowed_tools":
            named = choice.get(kind)
            name = named.get("name", "") if isinstance(named, dict) else ""
            openai.check_name(f"tool_choice.{kind}.name", name or None)
    return openai.read_choice(given, name, tools)


def _format(value: Any, prompt: str) -> tuple[bool, dict[str, Any]]:
    """Whether the answer has to be JSON, and its schema. Raises Invalid."""
    if value is None:
        return False, {}
    if not isinstance(value, dict) or value.get("type") not in _FORMATS:
        raise openai.invalid_value("response_format.type", f"must be one of {', '.join(_FORMATS)}")
    if value["type"] == "json_schema":
        if not isinstance(value.get("json_schema"), dict):
            raise openai.missing("response_format.json_schema")
        return True, openai.check_schema("response_format.json_schema", value["json_schema"])
    if value["type"] == "json_object":
        openai.check_mentions_json("messages", prompt)
    return value["type"] == "json_object", {}
