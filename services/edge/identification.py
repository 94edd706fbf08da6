"""Who asks, on the routes beside the relay: the key's principal, from an address that the key may be used from."""

from starlette.requests import Request

from services.edge import access
from services.edge.answers import context_of
from services.edge.brands import Brands
from services.edge.principals import Principal, Principals
from services.edge.settings import EdgeSettings


class Identification:
    """Knows clients by the keys of their requests, whichever brand's prefix these have."""

    def __init__(self, principals: Principals, brands: Brands, settings: EdgeSettings) -> None:
        self._principals = principals
        self._brands = brands
        self._trusted = access.trusted_networks(settings.trusted_proxies)

    async def of(self, request: Request, model: str = "") -> Principal:
        """Who asks; `model` is the one that is asked about. Raises Refusal."""
        principal = await self._principals.of(context_of(request).head.key(self._brands.prefixes))
        if principal.models or principal.addresses:
            peer = request.client.host if request.client else ""
            access.check(principal, model, access.client_address(peer, request.headers.raw, self._trusted))
        return principal
