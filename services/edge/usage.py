"""What tenants may read of their own: usage of a request, of many, sums, balance, receipts. Nobody else's."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

import grpc
import msgspec
from starlette.requests import Request
from starlette.responses import Response

from services.edge.clients import Clients
from services.edge.dialects import tollhouse
from services.edge.identification import Identification
from services.edge.settings import EdgeSettings
from services.shared import clock, ids, rpc
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import auth_pb2, usage_pb2

_KEYS_TTL_S: Final = 60
_KEYS_HEADERS: Final = {
    "cache-control": "public, max-age=300",
    "vary": "origin",  # browsers get headers besides, which a shared cache must not lose
}
_KEY_OF_A_QUERY: Final = "key"  # some clients send their credential here; it says nothing about usage

T = TypeVar("T")


class UsageLookup:
    """Usage, balance and receipts, for client keys."""

    def __init__(self, clients: Clients, identification: Identification, settings: EdgeSettings) -> None:
        self._clients = clients
        self._identification = identification
        self._wait_ms = settings.usage_wait_ms
        self._timeout_s = settings.decision_timeout_s
        self._wait_timeout_s = settings.decision_timeout_s + settings.usage_wait_ms / clock.MS_PER_S
        self._keys = b""
        self._keys_until_s = 0.0
        self._asking_keys = asyncio.Lock()

    async def one(self, request: Request) -> dict[str, Any]:
        """GET /v1/usage/{request_id}. Waits for a fresh id: its event may still be on its way."""
        asked = usage_pb2.GetUsageRequest(
            request_id=request.path_params["request_id"], tenant_id=await self._tenant(request), wait_ms=self._wait_ms
        )
        response = await _answer(self._clients.usage.GetUsage(asked, timeout=self._wait_timeout_s))
        return tollhouse.usage_object(response.usage)

    async def every(self, request: Request) -> dict[str, Any]:
        """GET /v1/usage: a page, newest first."""
        tenant_id = await self._tenant(request)
        asked = tollhouse.list_question(_query(request), tenant_id)
        if asked.page_token and ids.created_ms(asked.page_token) is None:
            raise Refusal(Kind.INVALID_REQUEST, "cursor: is not one of ours")
        return tollhouse.usage_list(await _answer(self._clients.usage.ListUsage(asked, timeout=self._timeout_s)))

    async def summary(self, request: Request) -> dict[str, Any]:
        """GET /v1/usage/summary: sums of hours or days."""
        tenant_id = await self._tenant(request)
        asked = tollhouse.summary_question(_query(request), tenant_id)
        summary = await _answer(self._clients.usage.SummarizeUsage(asked, timeout=self._timeout_s))
        return tollhouse.usage_summary(asked, summary)

    async def balance(self, request: Request) -> dict[str, Any]:
        """GET /v1/balance. auth knows what is held this very moment; where it does not answer, the ledger tells what
        auth said last."""
        tenant_id = await self._tenant(request)
        balance, held_nano = await asyncio.gather(
            _answer(
                self._clients.usage.GetBalance(
                    usage_pb2.GetBalanceRequest(tenant_id=tenant_id), timeout=self._timeout_s
                )
            ),
            self._held_nano(tenant_id),
        )
        return tollhouse.balance_object(balance.balance_nano, balance.held_nano if held_nano is None else held_nano)

    async def receipt(self, request: Request) -> Response:
        """GET /v1/usage/{request_id}/receipt: a JWS, once the request is settled."""
        asked = usage_pb2.GetReceiptRequest(
            request_id=request.path_params["request_id"], tenant_id=await self._tenant(request), wait_ms=self._wait_ms
        )
        response = await _answer(self._clients.usage.GetReceipt(asked, timeout=self._wait_timeout_s))
        return Response(response.receipt, media_type="application/jwt")

    async def receipt_keys(self, request: Request) -> Response:
        """GET /.well-known/tollhouse-receipt-keys.json, open to everybody: one question a minute reaches the ledger,
        and while it is away the last answer stays."""
        if clock.monotonic_s() >= self._keys_until_s:
            async with self._asking_keys:
                if clock.monotonic_s() >= self._keys_until_s:
                    await self._learn_keys()
        return Response(self._keys, media_type="application/jwk-set+json", headers=_KEYS_HEADERS)

    async def _learn_keys(self) -> None:
        try:
            asked = usage_pb2.GetReceiptKeysRequest()
            response = await _answer(self._clients.usage.GetReceiptKeys(asked, timeout=self._timeout_s))
        except Refusal:
            if not self._keys:
                raise
        else:
            self._keys = msgspec.json.encode(tollhouse.receipt_keys(response.keys))
        self._keys_until_s = clock.monotonic_s() + _KEYS_TTL_S

    async def _held_nano(self, tenant_id: str) -> int | None:
        try:
            asked = auth_pb2.GetCreditRequest(tenant_id=tenant_id)
            answers = await asyncio.gather(
                *(replica.stub.GetCredit(asked, timeout=self._timeout_s) for replica in self._clients.auth.members)
            )
            return sum(answer.held_nano for answer in answers)
        except grpc.aio.AioRpcError:
            return None

    async def _tenant(self, request: Request) -> str:
        return (await self._identification.of(request)).tenant_id


def _query(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.query_params.items() if name != _KEY_OF_A_QUERY}


async def _answer(call: Awaitable[T]) -> T:
    """The ledger's answer. Raises Refusal."""
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise rpc.refusal_of(error, Kind.LEDGER_UNAVAILABLE) from error
