"""Static files, and the one file that differs by brand."""

from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from services.console.console import console_of
from services.console.guards import public
from services.console.palette import palette
from services.console.visit import visit_of

_FOR_GOOD: Final = {"cache-control": "public, max-age=31536000, immutable"}
_FOR_A_WHILE: Final = {"cache-control": "private, max-age=300", "vary": "Host"}


async def static(request: Request) -> Response:
    """A file under its hashed name, which never means anything else."""
    asset = console_of(request).assets.get(request.path_params["name"])
    if asset is None:
        raise HTTPException(404)
    return Response(asset.content, media_type=asset.media_type, headers=_FOR_GOOD)


async def brand_css(request: Request) -> Response:
    """The brand's colours. The query only tells one version from another."""
    css = palette(visit_of(request).brand.accent).css()
    return Response(css, media_type="text/css", headers=_FOR_A_WHILE)


async def favicon(request: Request) -> Response:
    """Asked for by browsers whatever a page says."""
    asset = console_of(request).assets.get(console_of(request).assets.url("mark.svg").removeprefix("/static/"))
    assert asset is not None
    return Response(asset.content, media_type=asset.media_type, headers=_FOR_A_WHILE)


routes = [
    public("/static/{name:path}", static),
    public("/brand.css", brand_css),
    public("/favicon.ico", favicon),
]
