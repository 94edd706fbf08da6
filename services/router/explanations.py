"""How a request was routed, asked of every replica: its attempts may have been decided by several."""

import asyncio
import contextlib
from typing import Final

from google.protobuf.message import DecodeError
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from services.router.decide import Decider
from services.shared import bus
from services.shared.telemetry import logger
from tollhouse.v1 import router_pb2

_log = logger("explanations")

_ASKED_S: Final = 0.5


class Explanations:
    """Answers other replicas from what this one remembers, and asks them."""

    def __init__(self, nc: Client, decider: Decider) -> None:
        self._nc = nc
        self._decider = decider

    async def start(self) -> None:
        """Begins to answer other replicas; who remembers nothing stays silent."""

        async def asked(message: Msg) -> None:
            try:
                request = router_pb2.ExplainRouteRequest.FromString(message.data)
            except DecodeError:
                return
            decisions = self._decider.explain(request.request_id)
            if decisions:
                await message.respond(router_pb2.ExplainRouteResponse(decisions=decisions).SerializeToString())

        await self._nc.subscribe(bus.ROUTE_EXPLAIN, cb=asked)

    async def of(self, request_id: str) -> list[router_pb2.Decision]:
        """The decisions of a request that any replica remembers, in the order of its attempts. Takes half a second;
        while NATS is away only this replica's are told."""
        told = {_key(decision): decision for decision in self._decider.explain(request_id)}
        try:
            await self._ask(request_id, told)
        except NatsError as error:
            _log.warning("replicas_not_asked", error=repr(error))
        return sorted(told.values(), key=_order)

    async def _ask(self, request_id: str, told: dict[tuple[str, ...], router_pb2.Decision]) -> None:
        async def answered(message: Msg) -> None:
            with contextlib.suppress(DecodeError):
                response = router_pb2.ExplainRouteResponse.FromString(message.data)
                told.update((_key(decision), decision) for decision in response.decisions)

        inbox = self._nc.new_inbox()
        subscription = await self._nc.subscribe(inbox, cb=answered)
        try:
            request = router_pb2.ExplainRouteRequest(request_id=request_id)
            await self._nc.publish(bus.ROUTE_EXPLAIN, request.SerializeToString(), reply=inbox)
            await asyncio.sleep(_ASKED_S)
        finally:
            await subscription.unsubscribe()


def _key(decision: router_pb2.Decision) -> tuple[str, ...]:
    """Tells one decision from another: a replica hears itself as well."""
    return decision.lease_id, decision.pool, decision.replica, decision.reason, str(decision.at_ms)


def _order(decision: router_pb2.Decision) -> tuple[int, int]:
    """By attempt; a pick that was refused in one pool comes before the one in the next pool."""
    attempt = decision.lease_id.rpartition(":")[2]
    return int(attempt) if attempt.isdecimal() else 0, decision.at_ms
