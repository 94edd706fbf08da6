"""Names of tools that upstreams take. Pure."""

import hashlib
from typing import Final

NAME_CHARS_MAX: Final = 64
"""What Chat Completions allows; Anthropic allows more."""


def fitted(name: str) -> str:
    """The name; its beginning and a hash of it where it is too long."""
    return name if len(name) <= NAME_CHARS_MAX else hashed(name, name)


def hashed(name: str, of: str) -> str:
    """The beginning of a name, and a hash of what tells it from others."""
    digest = hashlib.sha256(of.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name[: NAME_CHARS_MAX - 9]}_{digest}"
