"""Requests of Anthropic's Messages API: what the real one refuses is refused, by the name of the field. Pure.

https://docs.anthropic.com/en/api/messages ; what is said of tools: .../agents-and-tools/tool-use/implement-tool-use
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from services.simulator import fields as of
from services.simulator.asked import Asked, Choice, Invalid, Tool
from services.simulator.messages_turns import read_system, read_turns, thoughts

_KNOWN: Final = frozenset(
    (
        *("model", "max_tokens", "messages", "system", "stream", "metadata", "stop_sequences", "temperature", "top_p"),
        *(
            "top_k",
            "tools",
            "tool_choice",
            "thinking",
            "service_tier",
            "container",
            "context_management",
            "mcp_servers",
        ),
        *("output_config", "output_format", "cache_control", "inference_geo", "speed", "fallbacks", "diagnostics"),
        *("billing_policy", "compaction", "fallback_credit_token", "thread", "user_profile_id", "workspace_id"),
    )
)
_ONLY_ANSWERED: Final = frozenset(
    ("max_tokens", "stream", "metadata", "stop_sequences", "temperature", "top_p", "top_k")
)
_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_CHOICES: Final = ("auto", "any", "tool", "none")
_THINKING: Final = ("enabled", "disabled", "adaptive")
_MIN_BUDGET: Final = 1024
_CACHE_MARKS_MAX: Final = 4


def read(body: bytes, betas: str = "") -> Asked:
    """Reads a request; `betas` is its header anthropic-beta. Raises Invalid."""
    given, tools = of.decode(body)
    _check_known(given, _KNOWN)
    if not of.is_whole(given.get("max_tokens")) or given["max_tokens"] < 1:
        raise Invalid("max_tokens: integer of at least 1 is required")
    _check_sampling(given)
    if given.get("thread") is not None:
        raise Invalid("thread: this request cannot be part of a thread", code="thread_unsupported_request")
    return _asked(given, tools, betas)


def read_counting(body: bytes, betas: str = "") -> Asked:
    """Reads a request of count_tokens, which takes what makes the input and no more. Raises Invalid.

    https://docs.anthropic.com/en/api/messages-count-tokens
    """
    given, tools = of.decode(body)
    _check_known(given, _KNOWN - _ONLY_ANSWERED)
    return _asked(given, tools, betas)


def _asked(given: dict[str, Any], tools_text: str, betas: str) -> Asked:
    if not isinstance(given.get("model"), str) or not given["model"]:
        raise Invalid("model: string is required")
    turns, texts = read_turns(given.get("messages"), mid_system="mid-conversation" in betas)
    system = read_system(given.get("system"))
    tools = _read_tools(given.get("tools"))
    choice = _read_choice(given, tools)
    _check_thinking(given, choice, interleaved="interleaved-thinking" in betas)
    _check_cache_marks(given)
    schema = _schema(given)
    unsigned, thoughtful = thoughts(given["messages"])
    return Asked(
        model=given["model"],
        stream=given.get("stream", False),
        prompt="\n".join(filter(None, [*texts, *(text for turn in system for text in turn.texts), tools_text])),
        fields=given,
        max_tokens=given.get("max_tokens"),
        turns=(*system, *turns),
        tools=tools,
        choice=choice,
        json=schema is not None,
        schema=schema or {},
        refused=unsigned,
        thoughtful=thoughtful,
    )


def _check_known(given: Mapping[str, Any], known: frozenset[str]) -> None:
    unknown = of.unknown(given, known)
    if unknown is not None:
        raise Invalid(f"{unknown}: Extra inputs are not permitted")


def _check_sampling(given: Mapping[str, Any]) -> None:
    if not isinstance(given.get("stream", False), bool):
        raise Invalid("stream: must be a boolean")
    for name in ("temperature", "top_p"):
        if given.get(name) is not None and not of.is_within(given[name], 0, 1):
            raise Invalid(f"{name}: range: 0..1")
    if given.get("top_k") is not None and (not of.is_whole(given["top_k"]) or given["top_k"] < 0):
        raise Invalid("top_k: Input should be a valid integer of at least 0")
    stops = given.get("stop_sequences")
    if stops is None:
        return
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise Invalid("stop_sequences: Input should be a valid list of strings")
    if not all(stop.strip() for stop in stops):
        raise Invalid("stop_sequences: each stop sequence must contain non-whitespace")


def _read_tools(value: Any) -> tuple[Tool, ...]:
    """Tools that the client runs; those of the provider are taken as they are."""
    if value is None:
        return ()
    tools = of.objects(value)
    if tools is None:
        raise Invalid("tools: Input should be a valid list of objects")
    for index, tool in enumerate(tools):
        if tool.get("type", "custom") != "custom":
            continue
        if not isinstance(tool.get("name"), str) or not _TOOL_NAME.fullmatch(tool["name"]):
            raise Invalid(f"tools.{index}.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        schema = tool.get("input_schema")
        if not isinstance(schema, dict):
            raise Invalid(f"tools.{index}.input_schema: Field required")
        if schema.get("type") != "object":
            raise Invalid(f"tools.{index}.input_schema.type: Input should be 'object'")
    names = [tool["name"] for tool in tools if isinstance(tool.get("name"), str)]
    if len(set(names)) < len(names):
        raise Invalid("tools: Tool names must be unique.")
    return tuple(Tool(tool["name"]) for tool in tools if tool.get("type", "custom") == "custom")


def _read_choice(given: Mapping[str, Any], tools: tuple[Tool, ...]) -> Choice:
    choice = given.get("tool_choice")
    if choice is None:
        return Choice()
    if not isinstance(choice, dict) or choice.get("type") not in _CHOICES:
        raise Invalid(f"tool_choice.type: must be one of {', '.join(_CHOICES)}")
    if not given.get("tools"):
        raise Invalid("tool_choice: may only be specified while providing `tools`")
    kind, single = choice["type"], choice.get("disable_parallel_tool_use", False)
    if not isinstance(single, bool) or (kind == "none" and "disable_parallel_tool_use" in choice):
        raise Invalid("tool_choice.disable_parallel_tool_use: Extra inputs are not permitted")
    name = choice.get("name", "") if kind == "tool" else ""
    if kind == "tool" and name not in [tool.get("name") for tool in given["tools"]]:
        raise Invalid(f"tool_choice.name: Tool '{name}' not found in provided tools")
    return Choice(forced=kind in ("any", "tool"), name=name, none=kind == "none", single=single)


def _check_thinking(given: Mapping[str, Any], choice: Choice, *, interleaved: bool) -> None:
    """https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking"""
    thinking = given.get("thinking")
    if thinking is None:
        return
    if not isinstance(thinking, dict) or thinking.get("type") not in _THINKING:
        raise Invalid(f"thinking.type: must be one of {', '.join(_THINKING)}")
    if thinking["type"] == "disabled":
        return
    if choice.forced:
        raise Invalid("tool_choice: Thinking may not be enabled when tool_choice forces tool use.")
    if thinking["type"] == "adaptive":
        return
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int) or isinstance(budget, bool) or budget < _MIN_BUDGET:
        raise Invalid(f"thinking.enabled.budget_tokens: Input should be greater than or equal to {_MIN_BUDGET}")
    if "max_tokens" in given and budget >= given["max_tokens"] and not interleaved:
        raise Invalid("max_tokens: `max_tokens` must be greater than `thinking.budget_tokens`")
    if given.get("temperature") not in (None, 1):
        raise Invalid("temperature: `temperature` may only be set to 1 when thinking is enabled")


def _check_cache_marks(given: Mapping[str, Any]) -> None:
    """https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching"""
    marks = sum(_marks(given.get(name)) for name in ("tools", "system", "messages"))
    if marks > _CACHE_MARKS_MAX:
        raise Invalid(f"cache_control: A maximum of 4 blocks with cache_control may be provided. Found {marks}.")


def _marks(value: Any) -> int:
    """Marks in a list of blocks or messages; a message's are in its content."""
    if not isinstance(value, list):
        return 0
    blocks = [one for one in value if isinstance(one, dict)]
    own = sum(block.get("cache_control") is not None for block in blocks)
    return own + sum(_marks(block.get("content")) for block in blocks)


def _schema(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """The JSON schema that the answer has to obey.

    https://docs.anthropic.com/en/docs/build-with-claude/structured-outputs
    """
    config = given.get("output_config")
    format_ = given.get("output_format") or (config.get("format") if isinstance(config, dict) else None)
    if format_ is None:
        return None
    if not isinstance(format_, dict) or format_.get("type") != "json_schema":
        raise Invalid("output_config.format.type: Input should be 'json_schema'")
    if not isinstance(format_.get("schema"), dict):
        raise Invalid("output_config.format.schema: Field required")
    schema: dict[str, Any] = format_["schema"]
    return schema
