"""Server-sent events as bytes, with what they mean for the books. Pure.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from typing import Any, NamedTuple

import msgspec


class Event(NamedTuple):
    """One event of a stream: its bytes, whether the answer begins with it, how many output tokens it brings."""

    data: bytes
    starts: bool = False
    output: int = 0


def named(data: dict[str, Any]) -> bytes:
    """An event whose name is its data's `type`, as Anthropic's and the Responses API's are."""
    name: str = data["type"]
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


def unnamed(data: dict[str, Any]) -> bytes:
    """An event that is data only, as Chat Completions' are."""
    return b"data: " + msgspec.json.encode(data) + b"\n\n"
