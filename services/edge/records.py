"""How the journal's records lie in a segment. Pure.

A record is its length, a CRC-32, its type, the id of its request and a payload. What follows the last record is zeros,
for segments are made of zeros; a record that was torn, or whose bits changed, ends what can be read of its segment.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

MAGIC: Final = b"TOLLHJ01"
"""What a segment begins with: a file of another form is not read."""
PROGRESS: Final = 1
"""What to book for a request should nothing more be heard of it; the last one counts."""
ENDED: Final = 2
"""What to book for a request that has ended; empty when it reached no upstream."""

_HEAD: Final = struct.Struct("<IIBB")
HEAD_BYTES: Final = _HEAD.size
_CRC_FROM: Final = 8


class Record(NamedTuple):
    """One record. The payload is a serialised UsageEventBatch."""

    type: int
    request_id: str
    payload: bytes


def encode(type_: int, request_id: str, payload: bytes) -> bytes:
    """A record's bytes."""
    name = request_id.encode()
    rest = bytes((type_, len(name))) + name + payload
    return struct.pack("<II", len(rest), zlib.crc32(rest)) + rest


def decode(segment: bytes) -> Iterator[Record]:
    """The records of a segment, up to the first that is not whole."""
    if segment[: len(MAGIC)] != MAGIC:
        return
    at = len(MAGIC)
    while at + HEAD_BYTES <= len(segment):
        length, crc, type_, name_length = _HEAD.unpack_from(segment, at)
        begin, end = at + _CRC_FROM, at + _CRC_FROM + length
        if length < 2 + name_length or end > len(segment) or zlib.crc32(segment[begin:end]) != crc:
            return
        name_end = begin + 2 + name_length
        yield Record(type_, segment[begin + 2 : name_end].decode(), segment[name_end:end])
        at = end
