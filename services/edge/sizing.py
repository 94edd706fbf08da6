"""How many input tokens a request can have, estimated from above, from its bytes alone. Pure.

Text in any language takes two bytes of JSON a token or more. Images and documents in base64 do not: their tokens
follow from their size in pixels or pages, so the base64 is counted apart.
"""

import re
from typing import Final

BYTES_PER_TOKEN: Final = 2
_LIKELY_BYTES_PER_TOKEN: Final = 4
_BASE64_BYTES_PER_TOKEN: Final = 16
_SMALLEST_MEDIA_TOKENS: Final = 5_000
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]+")
_LOOKED_AT_BYTES: Final = 512
_MEDIA_BYTES: Final = 4_096
"""A body below this size, or a "data" string below it, holds no media worth telling apart."""


def input_tokens_at_most(body: bytes) -> int:
    """An upper estimate of a request's input tokens."""
    text_bytes, media_tokens = len(body), 0
    if text_bytes > _MEDIA_BYTES:
        for length in _media(body):
            text_bytes -= length
            media_tokens += max(_SMALLEST_MEDIA_TOKENS, length // _BASE64_BYTES_PER_TOKEN)
    return text_bytes // BYTES_PER_TOKEN + 1 + media_tokens


def input_tokens_likely(body_bytes: int) -> int:
    """A fair guess, for requests whose upstream never said."""
    return body_bytes // _LIKELY_BYTES_PER_TOKEN + 1


def _media(body: bytes) -> list[int]:
    """The lengths of long strings that stand as "data" and look like base64."""
    lengths = []
    at = body.find(b'"data"')
    while at >= 0:
        begin = body.find(b'"', at + 6)
        end = body.find(b'"', begin + 1) if begin >= 0 else -1
        if end < 0:
            break
        if end - begin > _MEDIA_BYTES and _BASE64.fullmatch(body, begin + 1, begin + 1 + _LOOKED_AT_BYTES):
            lengths.append(end - begin - 1)
        at = body.find(b'"data"', begin + 1)
    return lengths
