"""The edge's connections to auth, router and ledger."""

import functools
import hashlib
from collections.abc import Callable

import grpc

from services.edge.settings import EdgeSettings
from services.shared import rpc
from services.shared.batching import Decisions
from services.shared.errors import Kind
from tollhouse.v1 import auth_pb2, auth_pb2_grpc, router_pb2, router_pb2_grpc, usage_pb2_grpc


class AuthReplica(Decisions):
    """One replica of auth. Its name is its address."""

    def __init__(self, address: str, edge: str, timeout_s: float, impatient: bool, opened: Callable[[], None]) -> None:
        self.name = address.encode()
        self._channel = rpc.channel(address)
        stub = auth_pb2_grpc.AuthServiceStub(self._channel)
        self.stub: auth_pb2_grpc.AuthServiceAsyncStub = stub
        super().__init__(
            stub.DecideStream,
            stub.Decide,
            functools.partial(auth_pb2.AuthDecideRequest, edge=edge),
            ("settle", "renew", "extend", "admit", "resolve"),
            Kind.AUTH_UNAVAILABLE,
            timeout_s,
            impatient=impatient,
            opened=opened,
        )

    async def close(self, flush_s: float = 5) -> None:
        await super().close(flush_s)
        await self._channel.close()


class Auth:
    """The replicas of auth. Each tenant has one owner among those that answer: the same for every edge, another one
    only when the owner is lost (rendezvous hashing)."""

    def __init__(self, replicas: list[AuthReplica]) -> None:
        self.replicas = replicas

    def owner(self, tenant_id: str, other_than: Decisions | None = None) -> AuthReplica:
        """The replica that keeps a tenant's credit."""
        replicas = self.replicas
        if len(replicas) == 1:
            return replicas[0]
        candidates = [replica for replica in replicas if replica is not other_than]
        candidates = [replica for replica in candidates if replica.up] or candidates
        tenant = tenant_id.encode()
        return max(candidates, key=lambda replica: hashlib.blake2b(replica.name + tenant, digest_size=8).digest())

    def any(self) -> AuthReplica:
        """A replica that can be asked what all of them know."""
        return next((replica for replica in self.replicas if replica.up), self.replicas[0])


class Clients:
    """One channel to each service; decisions go over one stream each.

    Args:
        edge: this edge's name and its life, a slash between them.
        auth_opened: called when a replica of auth answers again after it had been away.
    """

    def __init__(self, settings: EdgeSettings, edge: str, auth_opened: Callable[[], None]) -> None:
        addresses = [address.strip() for address in settings.auth_address.split(",") if address.strip()]
        timeout_s = settings.decision_timeout_s
        several = len(addresses) > 1
        self.auth = Auth([AuthReplica(address, edge, timeout_s, several, auth_opened) for address in addresses])
        self._router_channel = rpc.channel(settings.router_address)
        self._ledger_channel: grpc.aio.Channel = rpc.channel(settings.ledger_address, settings.ledger_token)
        router = router_pb2_grpc.RouterServiceStub(self._router_channel)
        self.router: router_pb2_grpc.RouterServiceAsyncStub = router
        self.usage: usage_pb2_grpc.UsageServiceAsyncStub = usage_pb2_grpc.UsageServiceStub(self._ledger_channel)
        self.router_decisions = Decisions(
            router.DecideStream,
            router.Decide,
            router_pb2.RouterDecideRequest,
            ("pick", "report"),
            Kind.ROUTER_UNAVAILABLE,
            timeout_s,
        )

    def start(self) -> None:
        """Begins the decision streams."""
        for replica in self.auth.replicas:
            replica.start()
        self.router_decisions.start()

    async def close(self) -> None:
        """Lets what was told arrive, then closes."""
        for replica in self.auth.replicas:
            await replica.close()
        await self.router_decisions.close()
        await self._router_channel.close()
        await self._ledger_channel.close()
