"""Names of tools, and ids of their calls, that upstreams take. Pure."""

import hashlib
import re
from typing import Final

NAME_CHARS_MAX: Final = 64
"""What Chat Completions allows; Anthropic allows more."""

_NOT_OF_IDS: Final = re.compile(r"[^a-zA-Z0-9_-]")
"""What Anthropic refuses in the id of a call: its message names the pattern ^[a-zA-Z0-9_-]+$."""


def fitted(name: str) -> str:
    """The name; its beginning and a hash of it where it is too long."""
    return name if len(name) <= NAME_CHARS_MAX else hashed(name, name)


def fitted_id(id_: str) -> str:
    """The id of a call; with a hash of it where it holds what Anthropic refuses. Ids that other models gave do: a
    conversation may go on with this one."""
    fit = _NOT_OF_IDS.sub("_", id_)
    return id_ if fit == id_ else hashed(fit, id_)


def hashed(name: str, of: str) -> str:
    """The beginning of a name, and a hash of what tells it from others."""
    digest = hashlib.sha256(of.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name[: NAME_CHARS_MAX - 9]}_{digest}"
