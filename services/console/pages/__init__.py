"""Every page of the console: one noun a file, each with its `routes`."""

from typing import Final

from starlette.routing import BaseRoute

from services.console.pages import codes, files, landing, operators, overview, provider, registration, settings, sign_in

ROUTES: Final[list[BaseRoute]] = [
    *files.routes,
    *landing.routes,
    *registration.routes,
    *sign_in.routes,
    *codes.routes,
    *provider.routes,
    *overview.routes,
    *settings.routes,
    *operators.ROUTES,
]
