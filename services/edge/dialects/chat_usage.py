"""The usage chunk of a streamed chat completion, taken out again for clients that did not ask for it. Pure."""

import re
from typing import Final

_USAGE_CHUNK: Final = re.compile(rb'data:.*"choices":\s*\[\s*\]')
_MAYBE: Final = b'"choices"'


class UsageChunkFilter:
    """Takes whole events out of a stream and leaves every other byte as it is. Events end with a blank line."""

    __slots__ = ("_carry",)

    def __init__(self) -> None:
        self._carry = b""

    def feed(self, chunk: bytes) -> bytes:
        """The chunk without usage; what may still become a usage chunk waits for its end."""
        data = self._carry + chunk
        if b"\r" in data:
            return self._feed_lines(data)
        events = data.split(b"\n\n")
        self._carry = events.pop()
        return b"".join([event + b"\n\n" for event in events if not _is_usage(event)])

    def end(self) -> bytes:
        """What is left."""
        left, self._carry = self._carry, b""
        return b"" if _is_usage(left) else left

    def _feed_lines(self, data: bytes) -> bytes:
        """The same where lines end with CRLF."""
        events = re.split(rb"(?<=\n)\r?\n", data)
        self._carry = events.pop()
        return b"".join([event + b"\r\n" for event in events if not _is_usage(event)])


def _is_usage(event: bytes) -> bool:
    return _USAGE_CHUNK.match(event.lstrip(b"\r\n")) is not None
