"""An operator's first page: who is served, and by whom."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from services.console.console import console_of
from services.console.guards import operator
from tollhouse.v1 import auth_pb2, router_pb2


async def start(request: Request) -> Response:
    """Counts of tenants, upstream accounts and brands."""
    console = console_of(request)
    tenants, accounts, brands, people = await asyncio.gather(
        console.clients.auth.ListTenants(auth_pb2.ListTenantsRequest()),
        console.clients.router.ListUpstreamAccounts(router_pb2.ListUpstreamAccountsRequest()),
        console.clients.auth.ListBrands(auth_pb2.ListBrandsRequest()),
        console.store.people(),
    )
    return console.renderer.page(
        request,
        "operator.html",
        tenants=tenants.tenants,
        accounts=accounts.accounts,
        brands=brands.brands,
        people=people,
    )


routes = [operator("/operator", start)]
