"""Quick starts: what to paste where, with this brand's base URL."""

import re
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from services.console import quick_starts
from services.console.catalogue import Catalogue
from services.console.console import Console, console_of
from services.console.guards import customer
from services.console.key_form import listed
from services.console.visit import visit_of
from services.shared.principal import KEY_PREFIX
from tollhouse.v1 import router_pb2

PATH: Final = "/dashboard/quick-start"
_MODEL_WITHOUT: Final = "MODEL"


async def quick_start(request: Request) -> Response:
    """The snippets of one tool, for a model that can be called."""
    console, visit = console_of(request), visit_of(request)
    models = await open_models(console)
    asked = request.query_params.get("model", "")
    model = asked if asked in models else (models[0] if models else _MODEL_WITHOUT)
    tool = quick_starts.tool_named(request.query_params.get("tool", ""))
    base_url = console.renderer.api_url(request)
    said = {
        "base_url": base_url,
        "anthropic_url": quick_starts.without_version(base_url),
        "key": f"{visit.brand.key_prefix or KEY_PREFIX}YOUR_KEY",
        "model": model,
        "title": visit.title,
        "provider": re.sub(r"[^a-z0-9_]", "_", visit.brand.name.lower()),
    }
    snippets = [
        (snippet.title, console.renderer.text(f"quick_starts/{snippet.file}.j2", **said)) for snippet in tool.snippets
    ]
    return console.renderer.page(
        request, "quick_start.html", tools=quick_starts.TOOLS, tool=tool, snippets=snippets, models=models, model=model
    )


async def open_models(console: Console) -> list[str]:
    """The ids of the models that a new key may call."""
    catalogue = Catalogue(await console.clients.router.GetRoutes(router_pb2.GetRoutesRequest()))
    groups = listed(console.settings.key_groups) or ["default"]
    return sorted({model.model for group in groups for model in catalogue.models(group)})


routes = [customer(PATH, quick_start)]
