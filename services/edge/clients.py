"""The edge's connections to auth, router and ledger."""

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import grpc
from nats.aio.client import Client

from services.edge.pressure import Pressure
from services.edge.replicas import Replica, Replicas
from services.edge.settings import EdgeSettings
from services.shared import discovery, rpc
from services.shared.errors import Kind
from services.shared.metrics import Distribution, Histogram
from services.shared.permissions import Peer
from services.shared.tls import Tls
from tollhouse.v1 import auth_pb2, auth_pb2_grpc, router_pb2, router_pb2_grpc, usage_pb2_grpc

if TYPE_CHECKING:
    AuthStub = auth_pb2_grpc.AuthServiceAsyncStub
    RouterStub = router_pb2_grpc.RouterServiceAsyncStub


class AuthReplica(Replica):
    """One replica of auth. It keeps the credit and the limits of the tenants that it owns."""

    def __init__(
        self,
        name: str,
        address: str,
        edge: str,
        timeout_s: float,
        impatient: Callable[[], bool],
        gather_s: Callable[[], float],
        opened: Callable[[], None],
        sizes: Distribution,
        tls: Tls | None,
    ) -> None:
        self.name, self.address = name, address
        self._channel = rpc.channel(address, tls=tls, to=Peer.AUTH)
        self.stub: AuthStub = auth_pb2_grpc.AuthServiceStub(self._channel)
        super().__init__(
            self.stub.DecideStream,
            self.stub.Decide,
            functools.partial(auth_pb2.AuthDecideRequest, edge=edge),
            ("settle", "renew", "extend", "admit", "resolve"),
            Kind.AUTH_UNAVAILABLE,
            timeout_s,
            impatient=impatient,
            gather_s=gather_s,
            opened=opened,
            sizes=sizes,
        )

    def look(self) -> None:
        rpc.look(self._channel)

    async def close(self, flush_s: float = 5) -> None:
        await super().close(flush_s)
        await self._channel.close()


class RouterReplica(Replica):
    """One replica of the router. It picks from the pools that it owns."""

    def __init__(
        self,
        name: str,
        address: str,
        timeout_s: float,
        impatient: Callable[[], bool],
        gather_s: Callable[[], float],
        sizes: Distribution,
        tls: Tls | None,
    ) -> None:
        self.name, self.address = name, address
        self._channel = rpc.channel(address, tls=tls, to=Peer.ROUTER)
        self.stub: RouterStub = router_pb2_grpc.RouterServiceStub(self._channel)
        super().__init__(
            self.stub.DecideStream,
            self.stub.Decide,
            router_pb2.RouterDecideRequest,
            ("pick", "report"),
            Kind.ROUTER_UNAVAILABLE,
            timeout_s,
            impatient=impatient,
            gather_s=gather_s,
            sizes=sizes,
        )

    def look(self) -> None:
        rpc.look(self._channel)

    async def close(self, flush_s: float = 5) -> None:
        await super().close(flush_s)
        await self._channel.close()


Auth = Replicas[AuthReplica]
Routers = Replicas[RouterReplica]


class Clients:
    """Who answers the edge's questions: replicas as they announce themselves, and the ledger.

    Args:
        edge: this edge's name and its life, a slash between them.
        holds_moved: called when holds should be renewed soon: a replica of auth answers again after it had been away,
            or leaves.
        batches: notes the sizes of batches by the service that they go to.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        edge: str,
        holds_moved: Callable[[], None],
        pressure: Pressure,
        batches: Histogram,
        tls: Tls | None,
    ) -> None:
        timeout_s, gather_s = settings.decision_timeout_s, pressure.gather_s

        def auth_replica(name: str, address: str) -> AuthReplica:
            others, sizes = lambda: self.auth.answering, batches["auth",]
            return AuthReplica(name, address, edge, timeout_s, others, gather_s, holds_moved, sizes, tls)

        def router_replica(name: str, address: str) -> RouterReplica:
            others, sizes = lambda: self.routers.answering, batches["router",]
            return RouterReplica(name, address, timeout_s, others, gather_s, sizes, tls)

        self.auth: Auth = Replicas(auth_replica, Kind.AUTH_UNAVAILABLE, holds_moved)
        self.routers: Routers = Replicas(router_replica, Kind.ROUTER_UNAVAILABLE, lambda: None)
        self._ledger_channel: grpc.aio.Channel = rpc.channel(
            settings.ledger_address, settings.ledger_token, tls=tls, to=Peer.LEDGER, spread=True
        )
        self.usage: usage_pb2_grpc.UsageServiceAsyncStub = usage_pb2_grpc.UsageServiceStub(self._ledger_channel)

    async def listen(self, nc: Client) -> None:
        """Hears of replicas from now on."""
        await discovery.listen(nc, "auth", self.auth.heard)
        await discovery.listen(nc, "router", self.routers.heard)

    @property
    def known(self) -> bool:
        """Whether there is somebody to ask of each service."""
        return bool(self.auth.members and self.routers.members)

    async def close(self) -> None:
        """Lets what was told arrive, then closes."""
        await self.auth.close()
        await self.routers.close()
        await self._ledger_channel.close()
