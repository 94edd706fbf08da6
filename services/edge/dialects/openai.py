"""OpenAI's API: model lists."""

from collections.abc import Sequence
from typing import Any

from tollhouse.v1 import router_pb2


def model_list(models: Sequence[router_pb2.Model]) -> dict[str, Any]:
    """GET /v1/models."""
    return {"object": "list", "data": [model_object(model) for model in models]}


def model_object(model: router_pb2.Model) -> dict[str, Any]:
    """GET /v1/models/{id}."""
    return {"id": model.model, "object": "model", "created": model.created_ms // 1000, "owned_by": "anthropic"}
