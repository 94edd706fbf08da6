"""Fields of requests: reading them from JSON, and what all APIs hold true of them. Pure."""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from services.simulator.asked import Invalid

IMAGE_TYPES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
_DATA_URL: Final = re.compile(r"data:([a-z]+/[a-z0-9.+-]+);base64,(.*)", re.DOTALL)


class _Raw(msgspec.Struct):
    """What counts as it was written."""

    tools: msgspec.Raw = msgspec.Raw()


_decode_raw: Final = msgspec.json.Decoder(_Raw).decode


def decode(body: bytes) -> tuple[dict[str, Any], str]:
    """A body's fields, and its tools as they were written. Raises Invalid."""
    try:
        fields, raw = msgspec.json.decode(body), _decode_raw(body) if b'"tools"' in body else _Raw()
    except (ValueError, RecursionError) as error:
        raise Invalid(f"the body is not a valid JSON object: {error}") from None
    if not isinstance(fields, dict):
        raise Invalid("the body must be a JSON object")
    return fields, bytes(raw.tools).decode()


def is_whole(value: Any) -> bool:
    """Whether a value is an integer; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_within(value: Any, low: float, high: float) -> bool:
    """Whether a value is a number between two others."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def unknown(fields: Mapping[str, Any], known: Iterable[str]) -> str | None:
    """The first field that the API does not know."""
    return next((name for name in fields if name not in known), None)


def is_base64(data: Any) -> bool:
    """Whether a value is base64 of at least a byte."""
    if not isinstance(data, str) or not data:
        return False
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def is_web(url: Any) -> bool:
    """Whether a value is an address on the web."""
    return isinstance(url, str) and url.startswith(("https://", "http://"))


def data_url(url: str) -> tuple[str, str]:
    """Media type and base64 of a data URL; empty where it is none."""
    found = _DATA_URL.fullmatch(url)
    return (found.group(1), found.group(2)) if found else ("", "")


def objects(value: Any) -> list[dict[str, Any]] | None:
    """A list of objects; None where a value is not."""
    return value if isinstance(value, list) and all(isinstance(one, dict) for one in value) else None
