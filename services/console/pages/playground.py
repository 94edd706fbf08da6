"""The playground: a person tries a model in the browser, with a key of their own.

The key stays in the page: the browser sends it to the API and nowhere else, the console never sees it. So the page may
connect to the API's origin, which no other page may."""

from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from services.console import safety
from services.console.console import console_of
from services.console.guards import customer
from services.console.pages.quick_starts import open_models

PATH: Final = "/dashboard/playground"


async def playground(request: Request) -> Response:
    """The form; what happens then happens in the browser."""
    console = console_of(request)
    api = urlsplit(console.renderer.api_url(request))
    response = console.renderer.page(request, "playground.html", models=await open_models(console))
    response.headers["content-security-policy"] = safety.policy(connect=f"{api.scheme}://{api.netloc}")
    return response


routes = [customer(PATH, playground)]
