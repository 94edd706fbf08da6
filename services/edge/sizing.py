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
_DATA: Final = b'"data"'
_ADDRESSES: Final = frozenset((b'"url"', b'"image_url"', b'"file_url"', b'"file_data"'))
"""Names of strings that are an address, or a data URL with the thing itself."""
_ENDS_OF_NAMES: Final = (b'url"', b'data"')
_NAME_MAX_BYTES: Final = max(map(len, _ADDRESSES))
_ADDRESS: Final = re.compile(rb'\s*:\s*"(data:[^",]{0,100};base64,)?')
_REMOTE_TOKENS: Final = 5_000
"""For what the upstream fetches by itself: an image takes less, a long document more."""
_MEDIA_BYTES: Final = 4_096
"""A string of at most this size is no media worth telling apart."""


def input_tokens_at_most(body: bytes) -> int:
    """An upper estimate of a request's input tokens."""
    inline, remote = _media(body)
    text_bytes, media_tokens = len(body), _REMOTE_TOKENS * (remote + body.count(_BY_ID))
    for length in inline:
        text_bytes -= length
        media_tokens += max(_SMALLEST_MEDIA_TOKENS, length // _BASE64_BYTES_PER_TOKEN)
    return text_bytes // BYTES_PER_TOKEN + 1 + media_tokens


def input_tokens_likely(at_most: int) -> int:
    """A fair guess, for limits and for requests whose upstream never said: half of the estimate from above."""
    return (at_most + 1) // 2


def _media(body: bytes) -> tuple[list[int], int]:
    """What is no text: the lengths of long strings of base64, and how many things stand by their address elsewhere."""
    lengths, remote = [], 0
    for end_of_name in _ENDS_OF_NAMES:
        at = body.find(end_of_name)
        while at >= 0:
            after = at + len(end_of_name)
            earliest = max(0, after - _NAME_MAX_BYTES)
            name = body[max(body.rfind(b'"', earliest, after - 1), earliest) : after]
            if name == _DATA:
                begin = body.find(b'"', after) + 1
                if (length := _base64(body, begin)) and _said_to_be_base64(body, at, begin + length):
                    lengths.append(length)
            elif name in _ADDRESSES and (address := _ADDRESS.match(body, after)):
                if not address[1]:
                    remote += 1
                elif length := _base64(body, address.end()):
                    lengths.append(length)
            at = body.find(end_of_name, after)
    return lengths, remote


def _base64(body: bytes, begin: int) -> int:
    """The length of the string that begins there, if it is long and may be base64; else 0."""
    length = body.find(b'"', begin) - begin
    return length if length > _MEDIA_BYTES and not body[begin : begin + length].translate(None, _BASE64) else 0


def _said_to_be_base64(body: bytes, begin: int, end: int) -> bool:
    """Whether the object around a "data" string says so, before it or after it: a text document has "data" too."""
    nearby = max(0, begin - _NEARBY_BYTES)
    before = body[max(body.rfind(b"{", nearby, begin), nearby) : begin]
    return b'"base64"' in before or b'"base64"' in body[end : end + _NEARBY_BYTES].partition(b"}")[0]
