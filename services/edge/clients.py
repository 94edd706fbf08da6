"""The edge's connections to auth, router and ledger."""

from services.edge.settings import EdgeSettings
from services.shared import rpc
from services.shared.batching import Decisions
from services.shared.errors import Kind
from tollhouse.v1 import auth_pb2, auth_pb2_grpc, router_pb2, router_pb2_grpc, usage_pb2_grpc


class Clients:
    """One channel to each service; decisions go over one stream each."""

    def __init__(self, settings: EdgeSettings) -> None:
        self._channels = [
            rpc.channel(settings.auth_address),
            rpc.channel(settings.router_address),
            rpc.channel(settings.ledger_address, settings.ledger_token),
        ]
        auth = auth_pb2_grpc.AuthServiceStub(self._channels[0])
        self.auth: auth_pb2_grpc.AuthServiceAsyncStub = auth
        router = router_pb2_grpc.RouterServiceStub(self._channels[1])
        self.router: router_pb2_grpc.RouterServiceAsyncStub = router
        self.usage: usage_pb2_grpc.UsageServiceAsyncStub = usage_pb2_grpc.UsageServiceStub(self._channels[2])
        self.auth_decisions = Decisions(
            auth.DecideStream,
            auth.Decide,
            auth_pb2.AuthDecideRequest,
            ("settle", "admit", "resolve"),
            Kind.AUTH_UNAVAILABLE,
            settings.decision_timeout_s,
        )
        self.router_decisions = Decisions(
            router.DecideStream,
            router.Decide,
            router_pb2.RouterDecideRequest,
            ("pick", "report"),
            Kind.ROUTER_UNAVAILABLE,
            settings.decision_timeout_s,
        )

    def start(self) -> None:
        """Begins the decision streams."""
        self.auth_decisions.start()
        self.router_decisions.start()

    async def close(self) -> None:
        """Lets what was told arrive, then closes."""
        await self.auth_decisions.close()
        await self.router_decisions.close()
        for channel in self._channels:
            await channel.close()
