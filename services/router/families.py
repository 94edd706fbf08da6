"""Families: models of one account that are throttled and fail together, made from their ids. Pure.

Providers count a family's versions against one limit ("Claude Sonnet 4.x": Anthropic, "Rate limits") and give a model
several ids: with its day of release, with "-latest", and behind the name of its maker.
"""

import re
from typing import Final

# "-20250929", "@20250929", "-2025-11-13", "-0613", "-001", "-latest"
_RELEASE: Final = re.compile(r"(?<=.)(?:[-@](?:\d{8}|\d{4}-\d{2}-\d{2}|\d{3,4})|[-@]latest)$")
_VERSION: Final = re.compile(r"\d+(?:\.\d+)*")


def family_of(model: str) -> str:
    """The family of a model that nobody said another of: its id in lower case without its maker and its release, and of
    Claude also without its version. Never empty for an id that is not."""
    name = model.lower().rpartition("/")[2] or model.lower()
    while (shorter := _RELEASE.sub("", name)) != name:
        name = shorter
    if name.startswith("claude-"):
        return "-".join(part for part in name.split("-") if not _VERSION.fullmatch(part))
    return name
