"""Which conversation a request belongs to, for turns of one go to the account where its prompt cache is. Pure.

A coding agent names its session in `metadata.user_id`. Otherwise the beginning stands for it: the system prompt and the
first message stay what they are from turn to turn, but for the marks that say what to cache. The tenant is part of it,
so that two customers with the same prompt do not meet on one account.
"""

import hashlib
import re
from typing import Final

import msgspec

_CACHE_CONTROL: Final = re.compile(rb',?\s*"cache_control"\s*:\s*(?:\{[^{}]*\}|null)')
_MARK: Final = b'"cache_control"'
_PIECE_BYTES: Final = 256 * 1024
_SAMPLE_BYTES: Final = 2048
_END_BYTES: Final = 1024
_DIGEST_BYTES: Final = 8


def conversation(tenant_id: str, session: str, system: msgspec.Raw, first_message: msgspec.Raw) -> bytes:
    """8 bytes that stand for it, the same on every edge. `session` is what the client calls it, empty for nothing;
    `system` and `first_message` are the bytes of their JSON."""
    said = b"\0session\0" + session.encode() if session else _sample(system) + _sample(first_message)
    return hashlib.blake2b(tenant_id.encode() + said, digest_size=_DIGEST_BYTES).digest()


def _sample(part: msgspec.Raw) -> bytes:
    """What stands for a part. One of megabytes is not copied as a whole."""
    whole: bytes | memoryview = bytes(part) if len(part) <= _PIECE_BYTES else memoryview(part)
    marked = whole.find(_MARK) >= 0 if isinstance(whole, bytes) else _is_marked(whole)
    if marked:
        whole = _CACHE_CONTROL.sub(b"", whole)
    end = whole[max(_SAMPLE_BYTES, len(whole) - _END_BYTES) :]
    return b"\0%d\0" % len(whole) + bytes(whole[:_SAMPLE_BYTES]) + bytes(end)


def _is_marked(part: memoryview) -> bool:
    """Whether anything in it says what to cache. A piece after the other, as only bytes can be searched fast."""
    overlap = len(_MARK) - 1
    return any(_MARK in bytes(part[at : at + _PIECE_BYTES + overlap]) for at in range(0, len(part), _PIECE_BYTES))
