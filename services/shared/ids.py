"""Ids: time-ordered, so that a request id tells its age and usage records fall into their partition by it.

A request id is `req_` and 26 characters of Crockford's base 32: 48 bits of Unix milliseconds, 80 random bits (the
layout of ULID, https://github.com/ulid/spec).
"""

import os
from typing import Final

from services.shared import clock

_ALPHABET: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_VALUES: Final = {char: index for index, char in enumerate(_ALPHABET)}
_PAIRS: Final = [a + b for a in _ALPHABET for b in _ALPHABET]
_RANDOM_DIGITS: Final = (_ALPHABET * 8).encode()
"""By random byte, of which five bits count."""
_LENGTH: Final = 26
TIME_LENGTH: Final = 10
"""So many characters of a ULID are its time."""
REQUEST_PREFIX: Final = "req_"
FIRST_ATTEMPT: Final = 1
LAST_MS: Final = 253_402_300_799_999  # the year 9999, where dates end


def ulid(unix_ms: int | None = None) -> str:
    """26 characters that sort by time."""
    stamp = clock.now_ms() if unix_ms is None else unix_ms
    time = "".join([_PAIRS[stamp >> shift & 1023] for shift in (40, 30, 20, 10, 0)])
    return time + os.urandom(_LENGTH - TIME_LENGTH).translate(_RANDOM_DIGITS).decode()


def request_id(unix_ms: int | None = None) -> str:
    """A new request id."""
    return REQUEST_PREFIX + ulid(unix_ms)


def created_ms(id_: str) -> int | None:
    """When a request id was made, in Unix milliseconds; None when it is no request id."""
    body = id_.removeprefix(REQUEST_PREFIX)
    if len(body) != _LENGTH or len(id_) != _LENGTH + len(REQUEST_PREFIX):
        return None
    value = 0
    for char in body:
        digit = _VALUES.get(char)
        if digit is None:
            return None
        value = value << 5 | digit
    return value >> 80 if value >> 80 <= LAST_MS else None


def is_ulid(id_: str) -> bool:
    """Whether a text has the form of one."""
    return created_ms(REQUEST_PREFIX + id_) is not None


def event_id(request: str, attempt: int) -> str:
    """The id of one attempt's usage event, lease included."""
    return f"{request}:{attempt}"
