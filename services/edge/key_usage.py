"""What a key may ask about itself, in the shapes that clients of New-API know."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

import grpc
from starlette.requests import Request

from services.edge.clients import Clients
from services.edge.dialects import new_api
from services.edge.identification import Identification
from services.edge.settings import EdgeSettings
from services.shared import rpc
from services.shared.errors import Kind
from tollhouse.v1 import auth_pb2, usage_pb2

T = TypeVar("T")


class KeyUsage:
    """A key's own limit, usage and name, for client keys."""

    def __init__(self, clients: Clients, identification: Identification, settings: EdgeSettings) -> None:
        self._clients = clients
        self._identification = identification
        self._timeout_s = settings.decision_timeout_s

    async def subscription(self, request: Request) -> dict[str, Any]:
        """GET /v1/dashboard/billing/subscription."""
        return new_api.subscription(*await self._key(request))

    async def billing_usage(self, request: Request) -> dict[str, Any]:
        """GET /v1/dashboard/billing/usage. Dates in the query are not looked at: the sum is that of the key's life, so
        that limit less usage is what is left."""
        return new_api.billing_usage((await self._key(request))[1])

    async def token(self, request: Request) -> dict[str, Any]:
        """GET /api/usage/token/."""
        return new_api.token_usage(*await self._key(request))

    async def _key(self, request: Request) -> tuple[auth_pb2.Key, new_api.Funds]:
        """Whoever asks, and what it has. Raises Refusal."""
        principal = await self._identification.of(request)
        tenant_id, key_id, usage = principal.tenant_id, principal.key_id, self._clients.usage
        found, spend, balance = await asyncio.gather(
            _answer(
                self._clients.auth.any().stub.GetKey(
                    auth_pb2.GetKeyRequest(key_id=key_id, tenant_id=tenant_id), timeout=self._timeout_s
                ),
                Kind.AUTH_UNAVAILABLE,
            ),
            _answer(
                usage.GetKeySpend(
                    usage_pb2.GetKeySpendRequest(tenant_id=tenant_id, key_ids=[key_id]), timeout=self._timeout_s
                ),
                Kind.LEDGER_UNAVAILABLE,
            ),
            _answer(
                usage.GetBalance(usage_pb2.GetBalanceRequest(tenant_id=tenant_id), timeout=self._timeout_s),
                Kind.LEDGER_UNAVAILABLE,
            ),
        )
        spent_nano = spend.spent_nano.get(key_id, 0)
        return found.key, new_api.funds_of(found.key, spent_nano, balance.available_nano)


async def _answer(call: Awaitable[T], unavailable: Kind) -> T:
    """A service's answer. Raises Refusal."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise rpc.refusal_of(error, unavailable) from error
