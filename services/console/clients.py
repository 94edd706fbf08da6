"""The console's connections to auth, the router and the ledger."""

from __future__ import annotations  # the asynchronous stubs exist for type checkers only

import asyncio
from typing import Any

import grpc

from services.console.settings import ConsoleSettings
from services.shared import rpc
from services.shared.errors import Kind
from services.shared.permissions import Peer
from services.shared.settings import Secret
from services.shared.tls import Tls
from tollhouse.v1 import (
    auth_pb2_grpc,
    billing_pb2_grpc,
    ledger_pb2_grpc,
    router_pb2_grpc,
    tokens_pb2_grpc,
    usage_pb2_grpc,
)


class Clients:
    """Stubs of the services. Every unary call has a deadline, and raises the Refusal that the service meant."""

    def __init__(self, settings: ConsoleSettings, tls: Tls | None = None) -> None:
        def channel(peer: Peer, address: str, unavailable: Kind, token: Secret | None = None) -> grpc.aio.Channel:
            return rpc.channel(address, token, [_Asked(unavailable, settings.call_timeout_s)], tls=tls, to=peer)

        auth = channel(Peer.AUTH, settings.auth_address, Kind.AUTH_UNAVAILABLE)
        router = channel(Peer.ROUTER, settings.router_address, Kind.ROUTER_UNAVAILABLE)
        ledger = channel(Peer.LEDGER, settings.ledger_address, Kind.LEDGER_UNAVAILABLE, settings.ledger_token)
        self._channels = (auth, router, ledger)
        self.auth: auth_pb2_grpc.AuthServiceAsyncStub = auth_pb2_grpc.AuthServiceStub(auth)
        self.router: router_pb2_grpc.RouterServiceAsyncStub = router_pb2_grpc.RouterServiceStub(router)
        self.billing: billing_pb2_grpc.BillingServiceAsyncStub = billing_pb2_grpc.BillingServiceStub(ledger)
        self.usage: usage_pb2_grpc.UsageServiceAsyncStub = usage_pb2_grpc.UsageServiceStub(ledger)
        self.ledger: ledger_pb2_grpc.LedgerServiceAsyncStub = ledger_pb2_grpc.LedgerServiceStub(ledger)
        self.tokens: tokens_pb2_grpc.TokenServiceAsyncStub = tokens_pb2_grpc.TokenServiceStub(ledger)

    async def close(self) -> None:
        """Closes the connections."""
        await asyncio.gather(*(channel.close() for channel in self._channels))


class _Asked(grpc.aio.UnaryUnaryClientInterceptor):
    """Gives a call its deadline and raises its failure as a Refusal."""

    def __init__(self, unavailable: Kind, timeout_s: float) -> None:
        self._unavailable = unavailable
        self._timeout_s = timeout_s

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        details = client_call_details
        if details.timeout is None:
            details = details._replace(timeout=self._timeout_s)
        call = await continuation(details, request)
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise rpc.refusal_of(error, self._unavailable) from error
