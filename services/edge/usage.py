"""GET /v1/usage/{request_id}: what one request used, to the tenant that made it and to nobody else."""

from typing import Any

import grpc
from starlette.requests import Request

from services.edge.clients import Clients
from services.edge.dialects import tollhouse
from services.edge.head import read_head
from services.edge.principals import Principals
from services.edge.settings import EdgeSettings
from services.shared import rpc
from services.shared.errors import Kind
from tollhouse.v1 import usage_pb2


class UsageLookup:
    """Usage of single requests."""

    def __init__(self, clients: Clients, principals: Principals, settings: EdgeSettings) -> None:
        self._clients = clients
        self._principals = principals
        self._wait_ms = settings.usage_wait_ms
        self._timeout_s = settings.decision_timeout_s + settings.usage_wait_ms / 1000

    async def one(self, request: Request) -> dict[str, Any]:
        """Waits for a fresh id: its event may still be on its way."""
        principal = await self._principals.of(read_head(request.headers.raw).key())
        asked = usage_pb2.GetUsageRequest(
            request_id=request.path_params["request_id"], tenant_id=principal.tenant_id, wait_ms=self._wait_ms
        )
        try:
            response = await self._clients.usage.GetUsage(asked, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            raise rpc.refusal_of(error, Kind.LEDGER_UNAVAILABLE) from error
        return tollhouse.usage_object(response.usage)
