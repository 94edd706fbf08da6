"""Pages of lists: a limit, and a cursor that says where the page before ended. Pure."""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from services.console.problems import Problem

T = TypeVar("T")
Position = tuple[int, str]
"""Where something stands in its list: when it was made, or 0, and its id."""

USUAL: Final = 100
MOST: Final = 1000
_CURSOR_MOST: Final = 500
_DIGITS: Final = 9


@dataclass(frozen=True, slots=True)
class Page:
    """What is on a page, and the cursor of the next one; empty at the end."""

    items: list[Any]
    next_cursor: str


def limit_of(query: Mapping[str, str]) -> int:
    """How many the caller wants. Raises Problem."""
    said = query.get("limit", str(USUAL))
    if not said.isascii() or not said.isdigit() or len(said) > _DIGITS or not 1 <= int(said) <= MOST:
        raise Problem(400, f"limit: an integer from 1 to {MOST} is needed", param="limit")
    return int(said)


def page_of(items: Iterable[T], position: Callable[[T], Position], query: Mapping[str, str]) -> Page:
    """The page that a query asks for of a whole list. It goes on behind its cursor even if what stood there is gone."""
    limit, cursor = limit_of(query), query.get("cursor", "")
    ordered = sorted(items, key=position)
    if cursor:
        after = _position(cursor)
        ordered = [item for item in ordered if position(item) > after]
    more = len(ordered) > limit
    return Page(list(ordered[:limit]), _cursor(position(ordered[limit - 1])) if more else "")


def _cursor(position: Position) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).rstrip(b"=").decode()


def _position(cursor: str) -> Position:
    try:
        padded = cursor[:_CURSOR_MOST].encode() + b"=" * (-len(cursor) % 4)
        found: Position = msgspec.json.decode(base64.urlsafe_b64decode(padded), type=Position)
        return found
    except (msgspec.DecodeError, binascii.Error, ValueError):
        raise Problem(400, "cursor: is not one of ours", param="cursor") from None
