"""How many input tokens a request can have, estimated from above, from its bytes alone. Pure.

Text in any language takes two bytes of JSON a token or more. Images and documents in base64 do not: their tokens
follow from their size in pixels or pages, so the base64 is counted apart.
"""

import re
from typing import Final

BYTES_PER_TOKEN: Final = 2
_BASE64_BYTES_PER_TOKEN: Final = 16
_SMALLEST_MEDIA_TOKENS: Final = 5_000
_BASE64: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\\"
"""With the backslash that some encoders of JSON put before a slash."""
_NEARBY_BYTES: Final = 200
_BY_ID: Final = b'"file_id"'
_ENDS_OF_NAMES: Final = (b'url"', b'file_data"')
_NAMES: Final = frozenset((b'"url"', b'"image_url"', b'"file_url"', b'"file_data"'))
"""Of strings that are an address, or a data URL with the thing itself."""
_NAME_MAX_BYTES: Final = max(map(len, _NAMES))
_ADDRESS: Final = re.compile(rb'\s*:\s*"(data:[^",]{0,100};base64,)?')
_REMOTE_TOKENS: Final = 5_000
"""For what the upstream fetches by itself: an image takes less, a long document more."""
_MEDIA_BYTES: Final = 4_096
"""A body below this size, or a "data" string below it, holds no media worth telling apart."""


def input_tokens_at_most(body: bytes) -> int:
    """An upper estimate of a request's input tokens."""
    inline, remote = _addressed(body)
    text_bytes, media_tokens = len(body), _REMOTE_TOKENS * (remote + body.count(_BY_ID))
    if text_bytes > _MEDIA_BYTES:
        for length in _media(body) + inline:
            text_bytes -= length
            media_tokens += max(_SMALLEST_MEDIA_TOKENS, length // _BASE64_BYTES_PER_TOKEN)
    return text_bytes // BYTES_PER_TOKEN + 1 + media_tokens


def input_tokens_likely(at_most: int) -> int:
    """A fair guess, for limits and for requests whose upstream never said: half of the estimate from above."""
    return (at_most + 1) // 2


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


def _addressed(body: bytes) -> tuple[list[int], int]:
    """What stands by its address: the lengths of long data URLs of base64, and how many things are elsewhere."""
    lengths, remote = [], 0
    for end_of_name in _ENDS_OF_NAMES:
        at = body.find(end_of_name)
        while at >= 0:
            after = at + len(end_of_name)
            name = body[max(0, body.rfind(b'"', max(0, after - _NAME_MAX_BYTES), after - 1)) : after]
            address = _ADDRESS.match(body, after) if name in _NAMES else None
            if address is not None and address[1]:
                begin, end = address.end(), body.find(b'"', address.end())
                if end - begin > _MEDIA_BYTES and not body[begin:end].translate(None, _BASE64):
                    lengths.append(end - begin)
            elif address is not None:
                remote += 1
            at = body.find(end_of_name, after)
    return lengths, remote


def _said_to_be_base64(body: bytes, begin: int, end: int) -> bool:
    """Whether the object around a "data" string says so, before it or after it: a text document has "data" too."""
    before = body[max(body.rfind(b"{", 0, begin), begin - _NEARBY_BYTES, 0) : begin]
    return b'"base64"' in before or b'"base64"' in body[end : end + _NEARBY_BYTES].partition(b"}")[0]
