"""OpenAI's embeddings: vectors without a meaning, always the same for the same text. Pure.

https://platform.openai.com/docs/api-reference/embeddings/create
"""

import base64
import hashlib
import itertools
import math
import struct
from typing import Any, Final

import msgspec

from services.simulator import fields as of
from services.simulator import openai_fields as openai
from services.simulator.asked import Asked, Invalid
from services.simulator.said import Said

_KNOWN: Final = frozenset(("input", "model", "dimensions", "encoding_format", "user"))
_FORMATS: Final = ("float", "base64")
_DIMENSIONS: Final = 1536
_DIMENSIONS_MAX: Final = 3072
_INPUTS_MAX: Final = 2048


def read(body: bytes) -> Asked:
    """Reads a request. Raises Invalid."""
    given, _ = of.decode(body)
    openai.check_known(given, _KNOWN)
    openai.check_sampling(given)
    openai.check_whole("dimensions", given.get("dimensions"), 1, _DIMENSIONS_MAX)
    if given.get("encoding_format", "float") not in _FORMATS:
        raise openai.invalid_value("encoding_format", f"must be one of {', '.join(_FORMATS)}")
    return Asked(given["model"], stream=False, prompt="\n".join(_inputs(given)), fields=given)


def _inputs(given: dict[str, Any]) -> list[str]:
    """Each input as a text: strings as they are, tokens as their numbers."""
    if "input" not in given:
        raise openai.missing("input")
    value = given["input"]
    several = isinstance(value, list) and not (value and of.is_whole(value[0]))
    inputs = value if several else [value]
    if not inputs or len(inputs) > _INPUTS_MAX or not all(map(_is_input, inputs)):
        raise Invalid(
            "'$.input' is invalid: expected a non-empty string, or at most 2048 of them, or tokens.",
            "input",
            "invalid_value",
        )
    return [one if isinstance(one, str) else " ".join(map(str, one)) for one in inputs]


def _is_input(value: Any) -> bool:
    if isinstance(value, list):
        return bool(value) and all(map(of.is_whole, value))
    return isinstance(value, str) and bool(value)


def answer(asked: Asked, said: Said) -> bytes:
    """The answer, as numbers or as base64 of little-endian floats."""
    in_base64 = asked.fields.get("encoding_format") == "base64"
    data = []
    for index, text in enumerate(_inputs(dict(asked.fields))):
        numbers = vector(text, asked.fields.get("dimensions") or _DIMENSIONS)
        packed = base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode() if in_base64 else numbers
        data.append({"object": "embedding", "index": index, "embedding": packed})
    used = said.counts.prompt
    usage = {"prompt_tokens": used, "total_tokens": used}
    return msgspec.json.encode({"object": "list", "data": data, "model": asked.model, "usage": usage})


def vector(text: str, dimensions: int) -> list[float]:
    """A vector of length one that the text alone decides."""
    blocks = (
        hashlib.sha256(b"%d:" % number + text.encode("utf-8", "replace")).digest() for number in itertools.count()
    )
    raw = [byte - 127.5 for byte in itertools.islice(itertools.chain.from_iterable(blocks), dimensions)]
    length = math.sqrt(sum(number * number for number in raw))
    return [number / length for number in raw]
