"""Calls of tools as Chat Completions streams them, put in order for an API that tells one after the other. Pure."""

from collections.abc import Iterator
from typing import NamedTuple


class Told(NamedTuple):
    """More of a call: `begins` with the first of it."""

    begins: bool
    name: str
    call_id: str
    arguments: str


class _Call:
    __slots__ = ("call_id", "name", "pieces", "told")

    def __init__(self) -> None:
        self.call_id = self.name = ""
        self.pieces: list[str] = []
        self.told = False


class Calls:
    """The calls of one answer. Upstreams may mix the pieces of parallel calls; the client is told one call after the
    other: the first as it comes, the others at the end, as a piece of the first could still come until then."""

    __slots__ = ("_at_place", "_calls")

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._at_place: dict[int, _Call] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(self, place: int, call_id: str | None, name: str | None, arguments: str | None) -> None:
        """Takes a piece. Some upstreams number every call 0: another id is another call then."""
        call = self._at_place.get(place)
        if call is None or (call_id and call.call_id and call_id != call.call_id):
            call = self._at_place[place] = _Call()
            self._calls.append(call)
        call.call_id = call.call_id or call_id or ""
        call.name = call.name or name or ""
        if arguments:
            call.pieces.append(arguments)

    def known(self, *, last: bool) -> Iterator[Told]:
        """What can be told now; everything when nothing more comes. What was told once is not again."""
        for call in self._calls if last else self._calls[:1]:
            if not call.name or (call.told and not call.pieces):
                continue  # a call without a name is none
            arguments = "".join(call.pieces)
            call.pieces.clear()
            yield Told(not call.told, call.name, call.call_id, arguments)
            call.told = True
