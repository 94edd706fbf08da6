"""The pages of those who run the gateway, one noun a file."""

from typing import Final

from starlette.routing import BaseRoute

from services.console.pages.operators import (
    accounts,
    audit,
    brands,
    fleet,
    models,
    payments,
    people,
    plans,
    pools,
    prices,
    reconciliation,
    tenant_keys,
    tenants,
    vouchers,
)

ROUTES: Final[list[BaseRoute]] = [
    *fleet.routes,
    *payments.routes,
    *accounts.routes,
    *tenants.routes,
    *tenant_keys.routes,
    *reconciliation.routes,
    *pools.routes,
    *models.routes,
    *prices.routes,
    *plans.routes,
    *vouchers.routes,
    *brands.routes,
    *people.routes,
    *audit.routes,
]
