"""Models and prices: what a key may call, and what a million tokens of each class cost it."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from services.console import tariff
from services.console.console import console_of
from services.console.guards import customer
from services.console.offers import offers_to
from services.console.tariff import CLASSES
from services.console.visit import tenant_of, visit_of

PATH: Final = "/dashboard/models"


async def models(request: Request) -> Response:
    """What can be called now, as one key or a new one sees it."""
    console = console_of(request)
    offers = await offers_to(console, tenant_of(request), visit_of(request).brand.name)
    look = offers.look(request.query_params.get("as", "")) or offers.looks[0]
    shown = offers.of(look)
    return console.renderer.page(
        request,
        "models.html",
        looks=offers.looks,
        look=look,
        offers=shown,
        classes=CLASSES,
        a_million=tariff.a_million,
        for_request=tariff.for_request,
        percent=tariff.per_cent(offers.ppm(look)),
        by_request=any(offer.rates and offer.rates.request for offer in shown),
    )


routes = [customer(PATH, models)]
