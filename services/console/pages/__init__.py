"""Every page of the console: one noun a file, each with its `routes`."""

from typing import Final

from starlette.routing import BaseRoute

from services.console.pages import (
    codes,
    files,
    landing,
    operator,
    overview,
    payment_list,
    payments,
    provider,
    registration,
    settings,
    sign_in,
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
    *payments.routes,
    *settings.routes,
    *operator.routes,
    *payment_list.routes,
    *webhooks.routes,
]
