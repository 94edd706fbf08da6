"""After a crash: what the journal kept is sent, and the holds of the earlier life end."""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

import grpc

from services.edge.clients import Auth, AuthReplica
from services.edge.journal import Left
from services.edge.outbox import Outbox
from services.shared import discovery
from services.shared.telemetry import logger
from tollhouse.v1 import auth_pb2, events_pb2

_log = logger("recovery")

_AGAIN_S: Final = 0.5
_TIMEOUT_S: Final = 5.0
_TOGETHER: Final = 500
_HEARD_S: Final = 2 * discovery.EVERY_S
"""After this every replica of auth that is there has been heard of."""


async def recover(edge: str, left: Sequence[Left], outbox: Outbox, auth: Auth) -> None:
    """Sends what an earlier life of this edge left, settles those requests, and then has everything else released that
    was held for that life: it never reached an upstream."""
    _log.info("journal_replayed", requests=len(left))
    replaying = asyncio.create_task(outbox.replay(left))
    settlements = _settlements(left)
    await asyncio.sleep(_HEARD_S)
    while not auth.members:
        await asyncio.sleep(_AGAIN_S)
    for replica in list(auth.members):
        # A hold may stand at a replica that was the tenant's owner then; whoever does not know it ignores it.
        for begin in range(0, len(settlements), _TOGETHER):
            batch = auth_pb2.AuthDecideRequest(edge=edge, settle=settlements[begin : begin + _TOGETHER])
            await _told(replica, batch)
        await _told(replica, auth_pb2.RecoverEdgeRequest(edge=edge))
    await replaying


def _settlements(left: Sequence[Left]) -> list[auth_pb2.SettleItem]:
    charged: defaultdict[tuple[str, str], list[events_pb2.UsageEvent]] = defaultdict(list)
    for item in left:
        for event in events_pb2.UsageEventBatch.FromString(item.payload).events:
            charged[event.request_id, event.tenant_id].append(event)
    return [
        auth_pb2.SettleItem(hold_id=request_id, tenant_id=tenant_id, charged=[event.tokens for event in events])
        for (request_id, tenant_id), events in charged.items()
    ]


async def _told(replica: AuthReplica, message: auth_pb2.AuthDecideRequest | auth_pb2.RecoverEdgeRequest) -> None:
    """Tells one replica, however long it is away."""
    while True:
        try:
            if isinstance(message, auth_pb2.RecoverEdgeRequest):
                await replica.stub.RecoverEdge(message, timeout=_TIMEOUT_S)
            else:
                await replica.stub.Decide(message, timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError:
            await asyncio.sleep(_AGAIN_S)
        else:
            return
