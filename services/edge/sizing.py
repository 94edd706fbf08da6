"""How many input tokens a request can have, estimated from above, from its bytes alone. Pure.

Text in any language takes two bytes of JSON a token or more. Images and documents in base64 do not: their tokens
follow from their size in pixels or pages, so the base64 is counted apart.
"""

import re
from collections.abc import Iterator
from typing import Final

BYTES_PER_TOKEN: Final = 2
_LIKELY_BYTES_PER_TOKEN: Final = 4
_BASE64_BYTES_PER_TOKEN: Final = 16
_SMALLEST_MEDIA_TOKENS: Final = 5_000
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\\"
"""With the backslash that some encoders of JSON put before a slash."""
_DATA_URL: Final = re.compile(rb'"(?:url|image_url|file_data)"\s*:\s*"data:[^",]{0,200};base64,')
"""Where OpenAI's APIs have images and files. In text the quotes are escaped, so that text never looks like it."""
_NEARBY_BYTES: Final = 200
_REMOTE: Final = (b'"url"', b'"file_id"')
_REMOTE_TOKENS: Final = 5_000
"""For what the upstream fetches by itself: an image takes less, a long document more."""
_MEDIA_BYTES: Final = 4_096
"""A body below this size, or a "data" string below it, holds no media worth telling apart."""


def input_tokens_at_most(body: bytes) -> int:
    """An upper estimate of a request's input tokens."""
    text_bytes, media_tokens = len(body), _REMOTE_TOKENS * sum(body.count(name) for name in _REMOTE)
    if text_bytes > _MEDIA_BYTES:
        for length in (*_media(body), *_data_urls(body)):
            text_bytes -= length
            media_tokens += max(_SMALLEST_MEDIA_TOKENS, length // _BASE64_BYTES_PER_TOKEN)
    return text_bytes // BYTES_PER_TOKEN + 1 + media_tokens


def input_tokens_likely(body_bytes: int) -> int:
    """A fair guess, for requests whose upstream never said."""
    return body_bytes // _LIKELY_BYTES_PER_TOKEN + 1


def _media(body: bytes) -> list[int]:
    """The lengths of long strings that stand as "data", are base64 and are said to be."""
    lengths = []
    at = body.find(b'"data"')
    while at >= 0:
        begin = body.find(b'"', at + 6)
        end = body.find(b'"', begin + 1) if begin >= 0 else -1
        if end < 0:
            break
        large = end - begin > _MEDIA_BYTES
        if large and _said_to_be_base64(body, at, end) and not body[begin + 1 : end].translate(None, _BASE64):
            lengths.append(end - begin - 1)
        at = body.find(b'"data"', begin + 1)
    return lengths


def _data_urls(body: bytes) -> Iterator[int]:
    """The lengths of what long data URLs hold, if it is base64."""
    for begun in _DATA_URL.finditer(body):
        end = body.find(b'"', begun.end())
        if end - begun.end() > _MEDIA_BYTES and not body[begun.end() : end].translate(None, _BASE64):
            yield end - begun.end()


def _said_to_be_base64(body: bytes, begin: int, end: int) -> bool:
    """Whether the object around a "data" string says so, before it or after it: a text document has "data" too."""
    before = body[max(body.rfind(b"{", 0, begin), begin - _NEARBY_BYTES, 0) : begin]
    return b'"base64"' in before or b'"base64"' in body[end : end + _NEARBY_BYTES].partition(b"}")[0]
