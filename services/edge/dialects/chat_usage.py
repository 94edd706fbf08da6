"""The usage chunk of a streamed chat completion, taken out again for clients that did not ask for it. Pure."""

import re
from typing import Final

_USAGE_CHUNK: Final = re.compile(rb'data:.*"choices":\s*\[\s*\]')
_USAGE_MAX_BYTES: Final = 64 * 1024
"""An event that is longer is no usage chunk: it goes on as it comes, so that nothing is gathered without a limit."""
_END: Final = re.compile(rb"(?<=\n)\r?\n")
_PART_OF_END: Final = re.compile(rb"\r?\n\r?\Z|\r\Z")


class UsageChunkFilter:
    """Takes whole events out of a stream and leaves every other byte as it is. Events end with a blank line."""

    __slots__ = ("_carry", "_in_long_event")

    def __init__(self) -> None:
        self._carry = b""
        self._in_long_event = False

    def feed(self, chunk: bytes) -> bytes:
        """The chunk without usage; what may still become a usage chunk waits for its end."""
        passed, data = b"", self._carry + chunk
        if self._in_long_event:
            passed, data = self._pass_long_event(data)
            if self._in_long_event:
                return passed
        events = _events(data)
        self._carry = events.pop()
        said = passed + b"".join([event for event in events if not _is_usage(event)])
        if len(self._carry) > _USAGE_MAX_BYTES:
            self._in_long_event = True
            more, _ = self._pass_long_event(self._carry)
            said += more
        return said

    def end(self) -> bytes:
        """What is left."""
        left, self._carry = self._carry, b""
        return b"" if _is_usage(left) else left

    def _pass_long_event(self, data: bytes) -> tuple[bytes, bytes]:
        """What goes on of an event that is too long to be looked at, and what follows it. The line ends it may be
        ending with wait for what comes next."""
        end = _END.search(data)
        if end is not None:
            self._in_long_event, self._carry = False, b""
            return data[: end.end()], data[end.end() :]
        ending = _PART_OF_END.search(data, max(0, len(data) - 3))
        cut = ending.start() if ending else len(data)
        self._carry = data[cut:]
        return data[:cut], b""


def _events(data: bytes) -> list[bytes]:
    """Whole events with the blank line at their end, and what follows the last of them."""
    if data.find(b"\r") < 0:
        events = data.split(b"\n\n")
        return [event + b"\n\n" for event in events[:-1]] + events[-1:]
    bounds = [0, *(end.end() for end in _END.finditer(data))]
    return [data[begin:end] for begin, end in zip(bounds, [*bounds[1:], len(data)], strict=True)]


def _is_usage(event: bytes) -> bool:
    return _USAGE_CHUNK.match(event.lstrip(b"\r\n")) is not None
