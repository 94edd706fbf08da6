"""Server-sent events, framed on bytes. Pure.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from typing import Final

EVENT_MAX_BYTES: Final = 32 * 1024 * 1024
"""No model says so much at once."""


class EventTooLarge(Exception):
    """An event is over the limit."""


class Events:
    """Cuts a stream into events, whatever the chunks are that it comes in."""

    __slots__ = ("_bytes", "_data", "_event", "_line")

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._event = ""
        self._data: list[bytes] = []
        self._bytes = 0

    def feed(self, chunk: bytes) -> list[tuple[str, bytes]]:
        """The events (name, data) that are whole with this chunk; an unnamed one has the name "". Raises
        EventTooLarge."""
        lines = chunk.split(b"\n")
        events: list[tuple[str, bytes]] = []
        for rest in lines[:-1]:
            self._bytes += len(rest)
            if self._line:
                rest = b"".join((*self._line, rest))
                self._line.clear()
            line = rest.removesuffix(b"\r")
            if line:
                self._take(line)
            elif self._data:
                events.append((self._event, b"\n".join(self._data)))
            if not line:
                self._event, self._data, self._bytes = "", [], 0
        self._bytes += len(lines[-1])
        if self._bytes > EVENT_MAX_BYTES:
            raise EventTooLarge
        if lines[-1]:
            self._line.append(lines[-1])
        return events

    def _take(self, line: bytes) -> None:
        field, _, value = line.partition(b":")  # a comment begins with the colon: its field is empty
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
        elif field == b"event":
            self._event = value.decode("utf-8", "replace")
