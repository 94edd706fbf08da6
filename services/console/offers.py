"""What a tenant's keys may call, and what it costs them, for pages and for programs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from services.console.catalogue import Catalogue
from services.console.console import Console
from services.console.key_form import listed
from services.console.tariff import Change, Payer, Tariff
from services.shared import clock
from services.shared.pricing import Rates
from tollhouse.v1 import auth_pb2, billing_pb2, router_pb2

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


class Offers:
    """All that a tenant may look at, at a moment."""

    def __init__(self, catalogue: Catalogue, tariff: Tariff, every: list[Look]) -> None:
        self._catalogue = catalogue
        self._tariff = tariff
        self.looks = every

    def look(self, asked: str) -> Look | None:
        """The look of that value: a key's id, or `group:` and a group."""
        return next((look for look in self.looks if look.value == asked), None)

    def ppm(self, look: Look) -> int:
        """What a look pays of the list price, in millionths."""
        return self._tariff.ppm(look.payer)

    def of(self, look: Look) -> list[Offer]:
        """What a look may call now, by id."""
        return [
            Offer(model, self._tariff.rates(model.model, look.payer), self._tariff.change(model.model, look.payer))
            for model in self._catalogue.models(look.payer.group, look.models)
        ]


async def offers_to(console: Console, tenant_id: str, brand: str) -> Offers:
    """What a tenant may look at on a brand's host. Raises Refusal."""
    assert tenant_id, "an empty tenant would be every tenant"
    routes, book, keys, tenant = await asyncio.gather(
        console.clients.router.GetRoutes(router_pb2.GetRoutesRequest()),
        console.clients.billing.ListPrices(billing_pb2.ListPricesRequest()),
        console.clients.auth.ListKeys(auth_pb2.ListKeysRequest(tenant_id=tenant_id)),
        console.clients.auth.GetTenant(auth_pb2.GetTenantRequest(tenant_id=tenant_id)),
    )
    groups = listed(console.settings.key_groups) or ["default"]
    every = looks(groups, list(keys.keys), brand, tenant.tenant.plan)
    return Offers(Catalogue(routes), Tariff(book, clock.now_ms()), every)


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
