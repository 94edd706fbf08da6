"""Google's Gemini API: model lists, which its SDKs ask for.

Shapes: https://ai.google.dev/api/models.
"""

from collections.abc import Sequence
from typing import Any

from services.edge.brand import Brand
from tollhouse.v1 import router_pb2


def model_list(models: Sequence[router_pb2.Model], brand: Brand) -> dict[str, Any]:
    """GET /v1beta/models; always one page."""
    return {"models": [model_object(model, brand) for model in models], "nextPageToken": None}


def model_object(model: router_pb2.Model, brand: Brand) -> dict[str, Any]:
    """GET /v1beta/models/{id}. No method of this API is served: the models are called in the others."""
    return {"name": f"models/{model.model}", "displayName": model.display_name, "supportedGenerationMethods": []}
