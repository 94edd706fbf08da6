"""Lists of models, in the shapes of both providers. Pure.

https://docs.anthropic.com/en/api/models-list and https://platform.openai.com/docs/api-reference/models
"""

from typing import Any, Final

import msgspec

_CREATED_S: Final = 1_770_000_000
_CREATED: Final = "2026-02-02T02:40:00Z"
_MODELS: Final = {
    "claude-opus-4-6": "anthropic",
    "claude-sonnet-4-6": "anthropic",
    "claude-haiku-4-5": "anthropic",
    "gpt-5.2": "openai",
    "gpt-5.2-mini": "openai",
    "text-embedding-3-small": "openai",
}


def listed(*, anthropic: bool) -> bytes:
    """All models."""
    shown = [_shown(model, anthropic=anthropic) for model in _MODELS]
    if not anthropic:
        return msgspec.json.encode({"object": "list", "data": shown})
    ends = {"has_more": False, "first_id": shown[0]["id"], "last_id": shown[-1]["id"]}
    return msgspec.json.encode({"data": shown, **ends})


def one(model: str, *, anthropic: bool) -> bytes | None:
    """A model; None where there is no such one."""
    return msgspec.json.encode(_shown(model, anthropic=anthropic)) if model in _MODELS else None


def _shown(model: str, *, anthropic: bool) -> dict[str, Any]:
    if anthropic:
        told = {"type": "model", "id": model, "display_name": model, "created_at": _CREATED}
        return told | {"lifecycle": "active"}
    return {"id": model, "object": "model", "created": _CREATED_S, "owned_by": _MODELS[model]}
