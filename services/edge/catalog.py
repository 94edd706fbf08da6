"""The model lists: what a key may call now, in the shape of the caller's API."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from starlette.requests import Request

from services.edge.answers import context_of
from services.edge.apis import endpoint_types
from services.edge.brand import Brand
from services.edge.dialects import anthropic, errors, gemini, openai
from services.edge.identification import Identification
from services.edge.principals import Principal
from services.edge.routes import Routes
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import router_pb2

_LISTS: Final[Mapping[errors.Api, Callable[[Sequence[router_pb2.Model], Brand], dict[str, Any]]]] = MappingProxyType(
    {"anthropic": anthropic.model_list, "openai": openai.model_list, "gemini": gemini.model_list}
)
_OBJECTS: Final[Mapping[errors.Api, Callable[[router_pb2.Model, Brand], dict[str, Any]]]] = MappingProxyType(
    {"anthropic": anthropic.model_object, "openai": openai.model_object, "gemini": gemini.model_object}
)


class Catalog:
    """The model lists. Parameters that ask for a part of one are accepted, and the whole list is returned."""

    def __init__(self, routes: Routes, identification: Identification) -> None:
        self._routes = routes
        self._identification = identification

    async def every(self, request: Request) -> dict[str, Any]:
        """GET /v1/models, and the same where one shape alone is asked for."""
        context = context_of(request)
        return _LISTS[context.shape](self._models(await self._identification.of(request)), context.brand)

    async def one(self, request: Request) -> dict[str, Any]:
        """GET /v1/models/{id}, likewise. Ids may hold slashes."""
        context, wanted = context_of(request), request.path_params["model"]
        for model in self._models(await self._identification.of(request, wanted)):
            if model.model == wanted:
                return _OBJECTS[context.shape](model, context.brand)
        raise Refusal(Kind.MODEL_UNKNOWN, f"there is no model {wanted!r}", param="model")

    async def delete(self, request: Request) -> dict[str, Any]:
        """DELETE /v1/models/{id}, which OpenAI has for models that were fine-tuned. Nobody's to delete are ours."""
        raise Refusal(Kind.NOT_IMPLEMENTED, "models are not deleted here: operators say which there are")

    def _models(self, principal: Principal) -> list[router_pb2.Model]:
        """What the group serves by accounts that can answer, as far as the key's own list goes."""
        listed = principal.models
        return [
            model
            for model in self._routes.models(principal.group)
            if (not listed or model.model in listed) and endpoint_types(model.kinds)
        ]
