"""The models that a customer's keys may call, and what they cost."""

from typing import Any, Final

import msgspec

from services.console.access_tokens import Scope
from services.console.api.admin.resources import STRING
from services.console.api.key_forms import of_data, success
from services.console.api.operation import Call, Operation
from services.console.offers import Offer, offers_to
from services.console.problems import Problem
from services.console.tariff import CLASSES, a_million, for_request
from services.console.visit import visit_of
from services.shared.pricing import Rates


class ModelPrices(msgspec.Struct):
    """What a model costs, what the key pays of the list price counted in. Amounts are nano-dollars."""

    million_nano: dict[str, int]
    """A million tokens, by token class."""
    request_nano: int
    """Each answered request, beside its tokens."""


class ModelObject(msgspec.Struct):
    """A model that can be called. Without a price it is there, and cannot be."""

    id: str
    display_name: str
    prices: ModelPrices | None
    next_prices: ModelPrices | None
    """What is known already to come."""
    next_from_ms: int | None


async def list_models(call: Call) -> Any:
    """As a key of the caller's sees them, or a new one."""
    offers = await offers_to(call.console, call.caller.tenant_id, visit_of(call.request).brand.name)
    asked = call.query.get("as", "")
    look = offers.look(asked) if asked else offers.looks[0]
    if look is None:
        raise Problem(404, "There is no such key or group.")
    return success([_object(offer) for offer in offers.of(look)])


def _object(offer: Offer) -> ModelObject:
    change = offer.change
    return ModelObject(
        id=offer.model.model,
        display_name=offer.model.display_name,
        prices=_prices(offer.rates) if offer.rates else None,
        next_prices=_prices(change.rates) if change else None,
        next_from_ms=change.at_ms if change else None,
    )


def _prices(rates: Rates) -> ModelPrices:
    return ModelPrices({name: a_million(rates, name) for name in CLASSES}, for_request(rates))


NAMED: Final = (ModelObject,)

operations = (
    Operation(
        method="GET",
        path="/api/user/models",
        name="listOwnModels",
        summary="What can be called, and at which prices: by a new key, or `as` a key or `group:NAME`",
        scope=Scope.ACCOUNT_READ,
        handle=list_models,
        query={"as": STRING},
        answer=of_data({"type": "array", "items": {"$ref": "#/components/schemas/ModelObject"}}),
    ),
)
