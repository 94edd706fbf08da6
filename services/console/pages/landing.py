"""The first page: what this is, and the way in."""

from starlette.requests import Request
from starlette.responses import Response

from services.console.console import console_of
from services.console.guards import public


async def landing(request: Request) -> Response:
    """For everybody; those who are signed in see the way to their pages."""
    return console_of(request).renderer.page(request, "landing.html")


routes = [public("/", landing)]
