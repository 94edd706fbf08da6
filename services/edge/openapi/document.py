"""The document as a whole, and GET /openapi.json.

https://spec.openapis.org/oas/v3.1.1.html
"""

from importlib.metadata import version
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.edge.answers import context_of
from services.edge.brand import Brand
from services.edge.openapi import anthropic, failures, models, new_api, openai, tollhouse
from services.edge.openapi.operations import SECURITY, failures_of_all, paths

_HEADERS: Final = {"cache-control": "public, max-age=300"}
_VERSIONS: Final = ("/v1beta", "/v1")
_BUILT_MAX: Final = 64
_DESCRIPTION: Final = (
    "A gateway in front of language-model providers. Fields and headers that are not described pass to the provider "
    "and back unread. Paths with `/v1` twice mean the same as with one. A JSON body is read as JSON whatever its "
    "Content-Type says. Errors say the request id in their message; those that end a stream come as its last event."
)


class OpenApi:
    """The documents of the brands; each is built when it is first asked for."""

    def __init__(self) -> None:
        self._built: dict[str, tuple[Brand, bytes]] = {}

    async def document(self, request: Request) -> Response:
        """GET /openapi.json, open to everybody."""
        brand = context_of(request).brand
        built = self._built.get(brand.name)
        if built is None or built[0] != brand:
            if len(self._built) >= _BUILT_MAX:
                self._built.clear()
            built = self._built[brand.name] = brand, msgspec.json.encode(document(brand))
        return Response(built[1], media_type="application/json", headers=_HEADERS)


def document(brand: Brand) -> dict[str, Any]:
    """What the brand's clients may ask and get."""
    answers: dict[str, Any] = {}
    for ways in failures_of_all():
        answers |= ways.components(brand)
    return {
        "openapi": "3.1.1",
        "info": {"title": brand.name.capitalize(), "version": version("tollhouse"), "description": _DESCRIPTION},
        "servers": [{"url": url} for url in servers(brand)],
        "paths": paths(brand),
        "components": {
            "securitySchemes": SECURITY,
            "headers": failures.header_components(brand),
            "responses": answers,
            "schemas": {
                **anthropic.schemas(brand),
                **openai.SCHEMAS,
                **models.schemas(brand),
                **tollhouse.SCHEMAS,
                **new_api.SCHEMAS,
                **failures.schemas(brand),
            },
        },
    }


def servers(brand: Brand) -> list[str]:
    """What stands before the paths, relative to where the document is served: a base path without its version."""
    found = []
    for path in brand.base_paths:
        end = next((end for end in _VERSIONS if path.endswith(end)), "")
        found.append(path.removesuffix(end) or "/")
    return list(dict.fromkeys(found))
