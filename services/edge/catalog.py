"""GET /v1/models and GET /v1/models/{id}: what can be called now, in the shape of the caller's API."""

from typing import Any

from starlette.requests import Request

from services.edge.dialects import anthropic, openai
from services.edge.head import read_head
from services.edge.principals import Principals
from services.edge.routes import Routes
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import router_pb2


class Catalog:
    """The model lists."""

    def __init__(self, routes: Routes, principals: Principals) -> None:
        self._routes = routes
        self._principals = principals

    async def every(self, request: Request) -> dict[str, Any]:
        """GET /v1/models."""
        models = await self._models(request)
        return anthropic.model_list(models) if _speaks_anthropic(request) else openai.model_list(models)

    async def one(self, request: Request) -> dict[str, Any]:
        """GET /v1/models/{id}."""
        wanted = request.path_params["model"]
        for model in await self._models(request):
            if model.model == wanted:
                dialect = anthropic.model_object if _speaks_anthropic(request) else openai.model_object
                return dialect(model)
        raise Refusal(Kind.MODEL_UNKNOWN, f"there is no model {wanted!r}")

    async def _models(self, request: Request) -> list[router_pb2.Model]:
        principal = await self._principals.of(read_head(request.headers.raw).key())
        return self._routes.models(principal.group)


def _speaks_anthropic(request: Request) -> bool:
    """Anthropic's SDKs say anthropic-version, whichever header their key is in; others mean OpenAI's shape."""
    return "anthropic-version" in request.headers
