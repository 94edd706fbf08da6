"""Schemas of OpenAI's Chat Completions, Responses and Embeddings, as far as they are read here.

Shapes: https://platform.openai.com/docs/api-reference.
"""

from typing import Final

from services.edge.openapi.anthropic import BOUND, MODEL
from services.edge.openapi.schema import (
    BOOLEAN,
    COUNT,
    INTEGER,
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

CHAT_EVENTS_TEXT: Final = (
    "Chunks, `chat.completion.chunk` each, then `data: [DONE]`. The usage comes as a chunk of its own if "
    "`stream_options.include_usage` asks for it. Lines that begin with a colon are comments. A stream that broke ends "
    "with an error object and without `[DONE]`."
)
RESPONSES_EVENTS_TEXT: Final = (
    "`response.created`, items and their deltas, then `response.completed` with the usage, `response.incomplete` or "
    "`response.failed`. Lines that begin with a colon are comments. `error` ends a stream that broke."
)
_ROLES: Final = ("developer", "system", "user", "assistant", "tool", "function")
_CHAT_FIELDS: Final[dict[str, Schema]] = {
    "stream": or_null(described(BOOLEAN, "Whether the answer comes as server-sent events.")),
    "stream_options": or_null(record({}, {"include_usage": or_null(BOOLEAN)})),
    "max_completion_tokens": or_null(BOUND),
    "max_tokens": or_null(described(BOUND, "Read where `max_completion_tokens` is not there.")),
    "temperature": or_null(NUMBER),
    "top_p": or_null(NUMBER),
    "stop": or_null(either(STRING, array(STRING))),
    "tools": array(record({"type": STRING}, {"function": record({"name": STRING})})),
    "tool_choice": either(STRING, {"type": "object"}),
    "parallel_tool_calls": BOOLEAN,
    "response_format": record({"type": STRING}),
    "reasoning_effort": or_null(STRING),
    "prompt_cache_key": or_null(STRING),
    "user": STRING,
}
_RESPONSES_FIELDS: Final[dict[str, Schema]] = {
    "instructions": or_null(STRING),
    "stream": or_null(described(BOOLEAN, "Whether the answer comes as server-sent events.")),
    "max_output_tokens": or_null(BOUND),
    "temperature": or_null(NUMBER),
    "top_p": or_null(NUMBER),
    "tools": array(record({"type": STRING}, {"name": STRING})),
    "tool_choice": either(STRING, {"type": "object"}),
    "parallel_tool_calls": or_null(BOOLEAN),
    "text": or_null({"type": "object"}),
    "reasoning": or_null(record({}, {"effort": or_null(STRING), "summary": or_null(STRING)})),
    "include": or_null(array(STRING)),
    "store": or_null(BOOLEAN),
    "prompt_cache_key": or_null(STRING),
}
_CHAT_USAGE: Final = record({"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT})
_RESPONSE_USAGE: Final = record({"input_tokens": COUNT, "output_tokens": COUNT, "total_tokens": COUNT})
_CHOICE: Final = record(
    {
        "index": COUNT,
        "message": record({"role": {"const": "assistant"}, "content": or_null(STRING)}),
        "finish_reason": or_null(STRING),
    },
)

SCHEMAS: Final[dict[str, Schema]] = {
    "ChatMessage": record(
        {"role": one_of_words(_ROLES)},
        {"content": or_null(either(STRING, array(record({"type": STRING})))), "name": STRING, "tool_call_id": STRING},
    ),
    "ChatCompletionRequest": record({"model": MODEL, "messages": array(of("ChatMessage"), least=1)}, _CHAT_FIELDS),
    "ChatCompletion": record(
        {
            "id": STRING,
            "object": {"const": "chat.completion"},
            "created": INTEGER,
            "model": STRING,
            "choices": array(_CHOICE),
        },
        {"usage": or_null(_CHAT_USAGE)},
    ),
    "ResponsesRequest": record(
        {"model": MODEL, "input": either(STRING, array(record({}, {"type": STRING, "role": STRING})))},
        _RESPONSES_FIELDS,
    ),
    "Response": record(
        {
            "id": STRING,
            "object": {"const": "response"},
            "created_at": NUMBER,
            "model": STRING,
            "status": STRING,
            "output": array(record({"type": STRING})),
        },
        {"usage": or_null(_RESPONSE_USAGE), "error": or_null(record({"code": STRING, "message": STRING}))},
    ),
    "EmbeddingsRequest": record(
        {"model": MODEL, "input": either(STRING, array(either(STRING, COUNT, array(COUNT)), least=1))},
        {"encoding_format": one_of_words(("float", "base64")), "dimensions": {"type": "integer", "minimum": 1}},
    ),
    "Embeddings": record(
        {
            "object": {"const": "list"},
            "data": array(
                record(
                    {"object": {"const": "embedding"}, "index": COUNT, "embedding": either(array(NUMBER), STRING)},
                )
            ),
            "model": STRING,
            "usage": record({"prompt_tokens": COUNT, "total_tokens": COUNT}),
        }
    ),
}
"""What clients send and get, by name."""
