"""In whose shape a route answers that is no relay's: its path says it or, for model lists, its headers. Pure."""

from collections.abc import Mapping
from typing import Final

from services.edge.brand import Brand
from services.edge.dialects.errors import Api

MODELS: Final = "/v1/models"
GEMINI_MODELS: Final = "/v1beta/models"
OPENAI_MODELS: Final = "/v1beta/openai/models"
_OF_PATHS: Final[Mapping[str, Api]] = {
    "/v1beta/openai": "openai",
    "/v1beta": "gemini",
    "/v1/messages": "anthropic",
    **dict.fromkeys(
        (
            "/v1/audio",
            "/v1/chat",
            "/v1/completions",
            "/v1/conversations",
            "/v1/embeddings",
            "/v1/fine_tuning",
            "/v1/images",
            "/v1/moderations",
            "/v1/realtime",
            "/v1/responses",
            "/v1/vector_stores",
            "/v1/videos",
        ),
        "openai",
    ),
}
"""The first that a path is or lies under counts. What only OpenAI has is told in its words that we do not have it:
https://platform.openai.com/docs/api-reference"""
_OTHERWISE: Final = "anthropic"


def shape(path: str, *, anthropic_version: bool, google_key: bool) -> Api:
    """In whose shape `path` answers, errors included.

    Args:
        anthropic_version: whether the request has that header, as Anthropic's SDKs send it whichever header their key
            is in.
        google_key: whether a key came where only Google's SDKs put it, and is honoured there.
    """
    if _under(path, MODELS):
        if anthropic_version:
            return "anthropic"
        return "gemini" if google_key else "openai"
    return next((api for root, api in _OF_PATHS.items() if _under(path, root)), _OTHERWISE)


def honours_google_keys(path: str, brand: Brand) -> bool:
    """Whether a key may come as `x-goog-api-key` or `?key=`: on the model lists, but on the one that all shapes share
    only where the brand says so."""
    if path == MODELS:
        return brand.google_keys_on_models
    return any(_under(path, root) for root in (MODELS, GEMINI_MODELS, OPENAI_MODELS))


def _under(path: str, root: str) -> bool:
    return path == root or path.startswith(root + "/")
