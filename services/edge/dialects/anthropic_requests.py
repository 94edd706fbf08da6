"""Requests of Anthropic's Messages API, as far as they are read; everything else passes through unread.

Shapes: https://docs.anthropic.com/en/api/messages and .../messages-count-tokens.
"""

from typing import Final

import msgspec

from services.edge.dialects.asked import NOTHING, Asked, Defaults, Reader, Request, bounded, fault


class _Thinking(msgspec.Struct):
    type: str = ""
    budget_tokens: int = 0


class _Messages(Request):
    messages: list[msgspec.Raw]
    max_tokens: int | None = None
    stream: bool = False
    thinking: _Thinking | None = None
    system: msgspec.Raw = NOTHING
    metadata: msgspec.Raw = NOTHING


class _Metadata(msgspec.Struct):
    user_id: str = ""


_reader: Final = Reader(
    _Messages,
    *("cache_control", "container", "context_management", "inference_geo", "mcp_servers", "output_config"),
    *(
        "output_format",
        "service_tier",
        "speed",
        "stop_sequences",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    ),
)
_decode_metadata: Final = msgspec.json.Decoder(_Metadata).decode


def read_messages(body: bytes, defaults: Defaults) -> Asked:
    """Reads a Messages request. Raises Refusal that names the field."""
    request = _reader.read(body)
    if request.max_tokens is None and not defaults.max_tokens:
        raise fault("max_tokens", "field is required")
    filled = defaults.max_tokens if request.max_tokens is None else 0
    asked = _asked(request, bounded("max_tokens", filled or request.max_tokens or 0))
    asked.filled = filled
    asked.unseen = _unseen(request.thinking, asked.max_tokens, defaults.thinking_tokens)
    return asked


def read_count_tokens(body: bytes, defaults: Defaults) -> Asked:
    """Reads a request to count tokens, which produces none. Raises Refusal that names the field."""
    return _asked(_reader.read(body), 0)


def _asked(request: _Messages, max_tokens: int) -> Asked:
    if not request.messages:
        raise fault("messages", "at least one message is required")
    return Asked(
        request.model,
        max_tokens,
        request.stream,
        session=_session(request.metadata),
        beginning=(request.system, request.messages[0]),
    )


def _unseen(thinking: _Thinking | None, max_tokens: int, unbounded: int) -> int:
    """What it may think before it writes: such tokens may not be seen while they are produced."""
    if thinking is None or thinking.type == "disabled":
        return 0
    return min(max_tokens, max(0, thinking.budget_tokens) or unbounded)


def _session(metadata: msgspec.Raw) -> str:
    """The session that a coding agent names in `metadata.user_id`, with which user it is of; empty without one. A
    user's id alone is none: it may stand for everybody who uses an application."""
    if bytes(metadata).find(b"session") < 0:
        return ""
    try:
        return _decode_metadata(metadata).user_id
    except (ValueError, RecursionError):
        return ""  # the upstream will complain
