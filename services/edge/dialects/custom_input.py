"""The free text of a custom tool's call, out of the arguments of the function that stands for the tool. Pure.

The text is told while it is written: an agent shows a patch as it grows.
"""

import json
import re
from typing import Final

FIELD: Final = "input"
"""The function's only parameter."""
_BEGIN: Final = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_WHOLE: Final = re.compile(
    r'(?:[^"\\]+|\\["\\/bfnrt]|\\u(?![dD][89a-fA-F])[0-9a-fA-F]{4}'
    r"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})*"
)
"""Characters of a JSON string that are there to the last byte of their escapes; two surrogates are one character."""


_BEGIN_MAX: Final = 1024
_ESCAPE_MAX: Final = len("\\ud83d\\ude00")
"""What more is left over is malformed, or another shape: it is not looked at again with each piece."""


class CustomInput:
    """Reads `{"input": "text"}` piece by piece. Arguments of any other shape are the text, at the end."""

    __slots__ = ("_began", "_closed", "_malformed", "_rest", "_told")

    def __init__(self) -> None:
        self._rest = ""
        self._told: list[str] = []
        self._malformed: list[str] = []
        self._began = self._closed = False

    @property
    def text(self) -> str:
        """All that was told."""
        return "".join(self._told)

    def feed(self, piece: str) -> str:
        """What is known of the text with this piece, and was not before."""
        if self._closed:
            return ""
        if self._malformed:
            self._malformed.append(piece)
            return ""
        self._rest += piece
        begin = None if self._began else _BEGIN.match(self._rest)
        if begin is not None:
            self._began, self._rest = True, self._rest[begin.end() :]
        told = self._read() if self._began else ""
        if len(self._rest) > (_ESCAPE_MAX if self._began else _BEGIN_MAX) and not self._closed:
            self._malformed.append(self._rest)
            self._rest = ""
        return told

    def end(self) -> str:
        """What is left when nothing more comes: of a text that was cut off or malformed, its last characters as they
        are."""
        rest = "" if self._closed else "".join(self._malformed) + self._rest
        self._malformed, self._rest, self._closed = [], "", True
        return self._tell(rest)

    def _read(self) -> str:
        whole = _WHOLE.match(self._rest)
        raw = whole[0] if whole else ""
        self._rest = self._rest[len(raw) :]
        self._closed = self._rest.startswith('"')
        return self._tell(json.loads(f'"{raw}"', strict=False))

    def _tell(self, text: str) -> str:
        if text:
            self._told.append(text)
        return text
