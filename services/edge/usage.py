"""GET /v1/usage/{request_id}: what one request used, to the tenant that made it and to nobody else."""

from datetime import UTC, datetime
from typing import Any, Final

import grpc
from starlette.requests import Request

from services.edge.clients import Clients
from services.edge.head import read_head
from services.edge.principals import Principals
from services.edge.settings import EdgeSettings
from services.shared import rpc
from services.shared.errors import Kind
from services.shared.money import micro_from_nano
from tollhouse.v1 import events_pb2, usage_pb2

_STATUS: Final = {
    events_pb2.USAGE_STATUS_OK: "ok",
    events_pb2.USAGE_STATUS_CLIENT_FAULT: "client_fault",
    events_pb2.USAGE_STATUS_UPSTREAM_FAULT: "upstream_fault",
    events_pb2.USAGE_STATUS_INTERRUPTED: "interrupted",
    events_pb2.USAGE_STATUS_CLIENT_GONE: "client_gone",
}


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
        return usage_object(response.usage)


def usage_object(usage: usage_pb2.Usage) -> dict[str, Any]:
    """A request's usage as the public API shows it; `cost_nano` is exact, `cost_micro` is rounded."""
    tokens = usage.tokens
    created_at = datetime.fromtimestamp(usage.created_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return {
        "request_id": usage.request_id,
        "model": usage.model,
        "status": _STATUS.get(usage.status, "unknown"),
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "cache_read_input_tokens": tokens.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": tokens.cache_write_5m,
            "ephemeral_1h_input_tokens": tokens.cache_write_1h,
        },
        "cost_micro": micro_from_nano(usage.cost_nano),
        "cost_nano": usage.cost_nano,
        "price_version": usage.price_version,
        "estimated": usage.estimated,
        "attempts": usage.attempts,
        "created_at": created_at.replace("+00:00", "Z"),
        "duration_ms": usage.duration_ms,
        "first_token_ms": usage.first_token_ms or None,
    }
