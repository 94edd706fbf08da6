"""What OpenAI's two APIs for text share: sampling, tools, schemas, and the words in which they are refused. Pure.

https://platform.openai.com/docs/api-reference/chat/create and .../responses/create
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from services.simulator import fields as of
from services.simulator import schemas
from services.simulator.asked import Choice, Invalid, Tool

_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_PATTERN: Final = "^[a-zA-Z0-9_-]+$"
_TOOLS_MAX: Final = 128
_RANGES: Final = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "top_logprobs": (0, 20),
}
_FLAGS: Final = ("stream", "parallel_tool_calls", "store", "logprobs", "background")
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

Fields = Mapping[str, Any]


def invalid_type(param: str, expected: str) -> Invalid:
    """A value of another type than the API wants."""
    return Invalid(f"Invalid type for '{param}': expected {expected}.", param, "invalid_type")


def invalid_value(param: str, why: str) -> Invalid:
    """A value that the API does not take."""
    return Invalid(f"Invalid value for '{param}': {why}.", param, "invalid_value")


def missing(param: str) -> Invalid:
    """A field that has to be there."""
    return Invalid(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def check_known(given: Fields, known: frozenset[str], where: str = "") -> None:
    """Fields that the API does not know are refused. Raises Invalid."""
    unknown = of.unknown(given, known)
    if unknown is not None:
        raise Invalid(f"Unknown parameter: '{where}{unknown}'.", f"{where}{unknown}", "unknown_parameter")


def check_sampling(given: Fields) -> None:
    """Numbers in their ranges, flags that are flags. Raises Invalid."""
    if not isinstance(given.get("model"), str) or not given["model"]:
        raise Invalid("you must provide a model parameter", "model", "missing_required_parameter")
    for name, (low, high) in _RANGES.items():
        value = given.get(name)
        if value is not None and not of.is_within(value, low, high):
            raise Invalid(
                f"Invalid '{name}': decimal outside of the range {low} to {high}.", name, "decimal_out_of_range"
            )
    for name in _FLAGS:
        if not isinstance(given.get(name), bool | None):
            raise invalid_type(name, "a boolean")
    if given.get("stream_options") is not None and not given.get("stream"):
        raise Invalid("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
    if not isinstance(given.get("metadata"), dict | None):
        raise invalid_type("metadata", "an object")


def check_effort(param: str, value: Any) -> None:
    """How hard a model is to think. Raises Invalid."""
    if value is not None and value not in _EFFORTS:
        raise invalid_value(param, f"must be one of {', '.join(_EFFORTS)}")


def check_whole(param: str, value: Any, low: int, high: int = 10_000_000) -> None:
    """A number of things, where it is given. Raises Invalid."""
    if value is None:
        return
    if not of.is_whole(value):
        raise invalid_type(param, "an integer")
    if not low <= value <= high:
        raise Invalid(
            f"Invalid '{param}': integer out of the range {low} to {high}.",
            param,
            "integer_below_min_value" if value < low else "integer_above_max_value",
        )


def check_name(param: str, value: Any) -> None:
    """A function's or a schema's name. Raises Invalid."""
    if not isinstance(value, str):
        raise missing(param)
    if not _NAME.fullmatch(value):
        raise Invalid(
            f"Invalid '{param}': string does not match pattern. Expected a string of at most 64 characters that matches"
            f" the pattern '{_PATTERN}'.",
            param,
            "invalid_value",
        )


def check_image(param: str, url: Any) -> str:
    """An image's address; answers its media type, or `url`. Raises Invalid."""
    if of.is_web(url):
        return "url"
    media_type, data = of.data_url(url) if isinstance(url, str) else ("", "")
    if media_type not in of.IMAGE_TYPES or not of.is_base64(data):
        raise Invalid(
            f"Invalid '{param}': expected a URL, or a base64-encoded data URL with one of the media types"
            f" {', '.join(of.IMAGE_TYPES)}.",
            param,
            "invalid_image_url" if not media_type else "invalid_image_format",
        )
    return media_type


def check_function(param: str, function: Any) -> Tool:
    """A function that may be called. Raises Invalid."""
    if not isinstance(function, dict):
        raise missing(param)
    check_name(f"{param}.name", function.get("name"))
    parameters = function.get("parameters")
    if not isinstance(parameters, dict | None):
        raise invalid_type(f"{param}.parameters", "an object")
    if parameters and parameters.get("type") != "object":
        raise Invalid(
            f"Invalid schema for function '{function['name']}': schema must be a JSON Schema of 'type: \"object\"',"
            f" got 'type: \"{parameters.get('type')}\"'.",
            f"{param}.parameters",
            "invalid_function_parameters",
        )
    if not isinstance(function.get("strict"), bool | None):
        raise invalid_type(f"{param}.strict", "a boolean")
    fault = schemas.fault(parameters or {}) if function.get("strict") else None
    if fault:
        raise Invalid(
            f"Invalid schema for function '{function['name']}': {fault}",
            f"{param}.parameters",
            "invalid_function_parameters",
        )
    return Tool(function["name"])


def check_tools(tools: Any) -> list[dict[str, Any]]:
    """A list of tools, each an object with a type; empty where none is given. Raises Invalid."""
    if tools is None:
        return []
    found = of.objects(tools)
    if found is None:
        raise invalid_type("tools", "an array of objects")
    if len(found) > _TOOLS_MAX:
        raise Invalid(
            f"Invalid 'tools': array too long. Expected at most {_TOOLS_MAX}.", "tools", "array_above_max_length"
        )
    for index, tool in enumerate(found):
        if not isinstance(tool.get("type"), str):
            raise missing(f"tools[{index}].type")
    return found


def read_choice(given: Fields, name: str, tools: tuple[Tool, ...]) -> Choice:
    """Whether tools are to be called; `name` is the one that tool_choice names, if it does. Raises Invalid."""
    choice = given.get("tool_choice")
    single = given.get("parallel_tool_calls") is False
    if isinstance(choice, str) and choice not in ("auto", "none", "required"):
        raise invalid_value("tool_choice", "must be one of auto, none, required, or an object")
    if not isinstance(choice, str | dict | None):
        raise invalid_type("tool_choice", "a string or an object")
    if name and name not in [tool.name for tool in tools]:
        raise Invalid(f"Tool choice '{name}' not found in 'tools' parameter.", "tool_choice", "invalid_value")
    return Choice(forced=choice == "required" or bool(name), name=name, none=choice == "none", single=single)


def check_schema(param: str, format_: Fields) -> dict[str, Any]:
    """A `json_schema` format's schema. Raises Invalid."""
    check_name(f"{param}.name", format_.get("name"))
    schema = format_.get("schema")
    if not isinstance(schema, dict | None):
        raise invalid_type(f"{param}.schema", "an object")
    fault = schemas.fault(schema or {}) if format_.get("strict") else None
    if fault:
        raise Invalid(f"Invalid schema for {param.split('.')[0]} '{format_['name']}': {fault}", param, None)
    return schema or {}


def check_mentions_json(param: str, prompt: str) -> None:
    """A json_object answer has to be asked for in words too. Raises Invalid."""
    if "json" not in prompt.lower():
        raise Invalid(
            f"'{param}' must contain the word 'json' in some form, to use a format of type 'json_object'.", param
        )
