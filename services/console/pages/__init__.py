"""Every page of the console: one noun a file, each with its `routes`."""

from typing import Final

from starlette.routing import BaseRoute

from services.console.pages import (
    access_tokens,
    billing,
    codes,
    files,
    keys,
    landing,
    models,
    operators,
    overview,
    payments,
    playground,
    provider,
    quick_starts,
    registration,
    settings,
    sign_in,
    usage,
    usage_request,
    webhooks,
)

ROUTES: Final[list[BaseRoute]] = [
    *files.routes,
    *landing.routes,
    *registration.routes,
    *sign_in.routes,
    *codes.routes,
    *provider.routes,
    *overview.routes,
    *keys.routes,
    *usage.routes,
    *usage_request.routes,
    *billing.routes,
    *payments.routes,
    *models.routes,
    *quick_starts.routes,
    *playground.routes,
    *settings.routes,
    *access_tokens.routes,
    *operators.ROUTES,
    *webhooks.routes,
]
