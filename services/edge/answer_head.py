"""An upstream's answer's headers: what goes back to the client, what is read, and the upstream's own rate limits.
One pass. Pure.

Header names: https://docs.anthropic.com/en/api/rate-limits#response-headers and
https://platform.openai.com/docs/guides/rate-limits#rate-limits-in-headers.
"""

import math
import re
from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

Headers = list[tuple[bytes, bytes]]

_PASSED_BACK: Final = frozenset((b"content-type", b"cache-control", b"request-id", b"x-should-retry"))
"""What reaches the client; other headers may tell which account of ours it was (I6)."""
_OPENAIS_ID: Final = b"x-request-id"
"""https://platform.openai.com/docs/api-reference/debugging-requests"""
_ID_LENGTH: Final = 200
_SPAN: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SPAN_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_UNIX_MS_FROM: Final = 10**11
"""A number from here on is a moment in milliseconds, one from 10**8 on a moment in seconds, a smaller one a span."""
_UNIX_S_FROM: Final = 10**8
_LONGEST_MS: Final = 400 * 86_400_000
_MILLION: Final = 1_000_000


class AnswerHead(msgspec.Struct):
    """The headers of an answer, sorted."""

    passed_back: Headers = []
    content_type: bytes = b""
    content_encoding: bytes = b""
    request_id: str = ""
    retry_after: str = ""
    limits: Headers = []
    """Those that tell of rate limits."""

    def retry_after_ms(self, now_ms: int) -> int:
        """When the upstream says that it may be asked again, milliseconds from now; 0 when it does not say. Its own
        retry-after counts first, then the latest reset of a limit of which nothing is left, then any unified reset."""
        if self.retry_after:
            after_ms = reset_ms(self.retry_after, now_ms)
            if after_ms is not None:
                return max(1, after_ms)
        limits = self._limits()
        used_up = [name for name, value in limits.items() if name.endswith("-remaining") and value.strip() == "0"]
        resets = [limits.get(name.removesuffix("-remaining") + "-reset", "") for name in used_up]
        resets = resets or [limits.get("unified-reset", "")]
        return max((reset_ms(reset, now_ms) or 0 for reset in resets), default=0)

    def left(self, now_ms: int) -> tuple[int, int] | None:
        """The smallest share of the upstream's limits that is left, in millionths, and when that limit is full again,
        milliseconds from now (0: not said). None when it says nothing of the kind."""
        smallest: tuple[int, int] | None = None
        limits = self._limits()
        for name, value in limits.items():
            if not name.endswith("-remaining"):
                continue
            kind = name.removesuffix("-remaining")
            limit, remaining = _whole(limits.get(f"{kind}-limit", "")), _whole(value)
            if not limit or remaining is None:
                continue
            share = min(_MILLION, remaining * _MILLION // limit)
            reset = reset_ms(limits.get(f"{kind}-reset", ""), now_ms)
            if reset == 0:
                continue  # it is full again: what the head said is over when its answer has ended
            if smallest is None or share < smallest[0]:
                smallest = share, reset or 0
        return smallest

    def _limits(self) -> dict[str, str]:
        """By the name that both families share, such as "requests-remaining"."""
        found = {}
        for raw, value in self.limits:
            name = raw.decode("latin-1").partition("ratelimit-")[2]
            first, _, rest = name.partition("-")
            if first in ("limit", "remaining", "reset"):  # OpenAI's order: x-ratelimit-remaining-requests
                name = f"{rest}-{first}"
            found[name] = value.decode("latin-1")
        return found


def read_answer_head(headers: Sequence[tuple[bytes, bytes]]) -> AnswerHead:
    """Sorts an answer's headers. The upstream's own id is `request-id` whichever name its API has for it: the other
    name is that of ours."""
    head, openais_id = AnswerHead(), b""
    for raw, value in headers:
        name = raw.lower()
        if name in _PASSED_BACK:
            head.passed_back.append((name, value))
            if name == b"content-type":
                head.content_type = value
            elif name == b"request-id":
                head.request_id = _id(value)
        elif name == _OPENAIS_ID:
            openais_id = value
        elif name == b"content-encoding":
            head.content_encoding = value
        elif name == b"retry-after":
            head.retry_after = value.decode("latin-1")
        elif name.find(b"ratelimit-") >= 0:  # "in" would raise an exception inside, and take four times as long
            head.limits.append((name, value))
    if openais_id and not head.request_id:
        head.request_id = _id(openais_id)
        head.passed_back.append((b"request-id", openais_id))
    return head


def reset_ms(text: str, now_ms: int) -> int | None:
    """A header that tells a moment, in milliseconds from now: seconds, a span such as "6m0s", a Unix time, an HTTP date
    or an RFC 3339 one. None when it is none of these; a moment that has passed is 0."""
    text = text.strip()
    try:
        number = float(text)
    except ValueError:
        span_ms = _span_ms(text)
        at_ms = _date_ms(text) if span_ms is None else now_ms + span_ms
    else:
        if not math.isfinite(number):
            return None
        unix_ms = number if number >= _UNIX_MS_FROM else number * 1000
        at_ms = math.ceil(unix_ms if number >= _UNIX_S_FROM else now_ms + unix_ms)
    return None if at_ms is None else min(max(0, at_ms - now_ms), _LONGEST_MS)


def _id(value: bytes) -> str:
    return value.decode("latin-1")[:_ID_LENGTH]


def _span_ms(text: str) -> int | None:
    parts = _SPAN.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return math.ceil(sum(float(number) * _SPAN_MS[unit] for number, unit in parts))


def _date_ms(text: str) -> int | None:
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            at = parse(text)
            if at.tzinfo is not None:
                return int(at.timestamp() * 1000)
        except (ValueError, OverflowError):
            continue
    return None


def _whole(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None
