"""Server-sent events, framed on bytes. Pure.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""


class Events:
    """Cuts a stream into events, whatever the chunks are that it comes in."""

    __slots__ = ("_data", "_event", "_line")

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._event = ""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[tuple[str, bytes]]:
        """The events (name, data) that are whole with this chunk; an unnamed one has the name ""."""
        lines = chunk.split(b"\n")
        events: list[tuple[str, bytes]] = []
        for rest in lines[:-1]:
            self._line.append(rest)
            line, self._line = b"".join(self._line).removesuffix(b"\r"), []
            if line:
                self._take(line)
            elif self._data:
                events.append((self._event, b"\n".join(self._data)))
            if not line:
                self._event, self._data = "", []
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
