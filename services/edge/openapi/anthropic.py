"""Schemas of Anthropic's Messages API, as far as it is read here.

Shapes: https://docs.anthropic.com/en/api/messages and .../messages-count-tokens.
"""

from typing import Final

from services.edge.brand import Brand
from services.edge.dialects.asked import MODEL_MAX_LENGTH, TOKENS_MAX
from services.edge.openapi.schema import (
    ANYTHING,
    BOOLEAN,
    COUNT,
    NUMBER,
    STRING,
    Schema,
    array,
    described,
    either,
    of,
    one_of_words,
    or_null,
    record,
)

MODEL: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": MODEL_MAX_LENGTH}
BOUND: Final[Schema] = {"type": "integer", "minimum": 1, "maximum": TOKENS_MAX}
"""How many tokens may be produced."""

_CONTENT: Final = either(STRING, array(of("ContentBlock")))
_FIELDS: Final[dict[str, Schema]] = {
    "stream": described(BOOLEAN, "Whether the answer comes as server-sent events."),
    "system": _CONTENT,
    "tools": array(record({}, {"name": STRING, "description": STRING, "input_schema": {"type": "object"}})),
    "tool_choice": record({"type": STRING}, {"name": STRING, "disable_parallel_tool_use": BOOLEAN}),
    "thinking": record({"type": STRING}, {"budget_tokens": {"type": "integer"}}),
    "output_config": {"type": "object"},
    "stop_sequences": array(STRING),
    "temperature": NUMBER,
    "top_p": NUMBER,
    "top_k": {"type": "integer"},
    "metadata": record({}, {"user_id": or_null(STRING)}),
}
_USAGE: Final = record(
    {"input_tokens": COUNT, "output_tokens": COUNT},
    {
        "cache_read_input_tokens": or_null(COUNT),
        "cache_creation_input_tokens": or_null(COUNT),
        "cache_creation": or_null(
            record({"ephemeral_5m_input_tokens": COUNT, "ephemeral_1h_input_tokens": COUNT}),
        ),
    },
)
EVENTS_TEXT: Final = (
    "`message_start`, then for each block `content_block_start`, its deltas and `content_block_stop`, then "
    "`message_delta` with the final usage and `message_stop`. `ping` may stand anywhere; `error` ends a stream that "
    "broke."
)


def schemas(brand: Brand) -> dict[str, Schema]:
    """What the brand's clients send and get, by name."""
    needed: dict[str, Schema] = {"model": MODEL, "messages": array(of("InputMessage"), least=1)}
    bounded = needed | {"max_tokens": BOUND}
    filled = described(BOUND, f"{brand.default_max_tokens} where it is left out.")
    bounds_itself = brand.default_max_tokens > 0
    return {
        "ContentBlock": record({"type": STRING}, {"text": STRING}),
        "InputMessage": record({"role": one_of_words(("user", "assistant", "system")), "content": _CONTENT}),
        "MessagesRequest": record(needed, {"max_tokens": filled} | _FIELDS)
        if bounds_itself
        else record(bounded, _FIELDS),
        "CountTokensRequest": record(needed, {name: field for name, field in _FIELDS.items() if name != "stream"}),
        "Message": record(
            {
                "id": STRING,
                "type": {"const": "message"},
                "role": {"const": "assistant"},
                "model": STRING,
                "content": array(of("ContentBlock")),
                "stop_reason": or_null(STRING),
                "usage": _USAGE,
            },
            {"stop_sequence": or_null(STRING), "container": ANYTHING},
        ),
        "TokenCount": record({"input_tokens": COUNT}),
    }
