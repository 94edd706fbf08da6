"""Models and prices: what a key may call, and what a million tokens of each class cost it."""

import asyncio
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from services.console import tariff
from services.console.catalogue import Catalogue
from services.console.console import console_of
from services.console.guards import customer
from services.console.pages.keys import keys_of, listed
from services.console.tariff import CLASSES, Change, Payer, Tariff
from services.console.visit import tenant_of, visit_of
from services.shared import clock
from services.shared.pricing import Rates
from tollhouse.v1 import auth_pb2, billing_pb2, router_pb2

PATH: Final = "/dashboard/models"
_GROUP: Final = "group:"


@dataclass(frozen=True, slots=True)
class Offer:
    """A model and its price for whoever is looked at; without rates it has no price, and cannot be called."""

    model: router_pb2.Model
    rates: Rates | None
    change: Change | None


@dataclass(frozen=True, slots=True)
class Look:
    """Through whose eyes the list is seen: a key's, or those of a new key in a group."""

    value: str
    label: str
    payer: Payer
    models: tuple[str, ...] = ()


async def models(request: Request) -> Response:
    """What can be called now, as one key or a new one sees it."""
    console, tenant_id = console_of(request), tenant_of(request)
    routes_, book, keys, tenant = await asyncio.gather(
        console.clients.router.GetRoutes(router_pb2.GetRoutesRequest()),
        console.clients.billing.ListPrices(billing_pb2.ListPricesRequest()),
        keys_of(console, tenant_id),
        console.clients.auth.GetTenant(auth_pb2.GetTenantRequest(tenant_id=tenant_id)),
    )
    groups = listed(console.settings.key_groups) or ["default"]
    every = looks(groups, keys, visit_of(request).brand.name, tenant.tenant.plan)
    asked = request.query_params.get("as", "")
    look = next((look for look in every if look.value == asked), every[0])
    catalogue, prices = Catalogue(routes_), Tariff(book, clock.now_ms())
    offers = [
        Offer(model, prices.rates(model.model, look.payer), prices.change(model.model, look.payer))
        for model in catalogue.models(look.payer.group, look.models)
    ]
    return console.renderer.page(
        request,
        "models.html",
        looks=every,
        look=look,
        offers=offers,
        classes=CLASSES,
        a_million=tariff.a_million,
        for_request=tariff.for_request,
        percent=tariff.per_cent(prices.ppm(look.payer)),
        by_request=any(offer.rates and offer.rates.request for offer in offers),
    )


def looks(groups: list[str], keys: list[auth_pb2.Key], brand: str, plan: str) -> list[Look]:
    """A new key in each group that is open to customers, then every key of the tenant's, newest first."""
    found = [
        Look(
            f"{_GROUP}{group}", "A new key" if len(groups) == 1 else f"A new key in {group}", Payer(brand, plan, group)
        )
        for group in groups
    ]
    found += [
        Look(key.key_id, key.name, Payer(key.brand, key.plan or plan, key.group), tuple(key.models))
        for key in reversed(keys)
    ]
    return found


routes = [customer(PATH, models)]
