"""Unit tests of services.console.deeds, with a ledger that is a real gRPC server."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import Any

import grpc
import pytest

from services.console import deeds
from services.console.clients import Clients
from services.console.problems import Problem
from services.shared.addresses import Address
from services.shared.errors import Kind, Refusal
from tests.unit.console.test_safety import SETTINGS
from tollhouse.v1 import billing_pb2

TOP_UP = billing_pb2.TopUpRequest(tenant_id="t")


class Ledger:
    """Remembers in which order it was asked for what."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.writes = True

    async def record_deed(self, request: billing_pb2.RecordDeedRequest, context: Any) -> Any:
        await asyncio.sleep(0.05)  # long enough for a call that was begun too early to be here first
        if not self.writes:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        self.asked.append(f"{request.action} {request.idempotency_key}")
        return billing_pb2.RecordDeedResponse()

    async def top_up(self, request: billing_pb2.TopUpRequest, context: Any) -> Any:
        self.asked.append("change")
        return billing_pb2.TopUpResponse()


@pytest.fixture
async def ledger() -> AsyncIterator[tuple[Ledger, Clients]]:
    served, server = Ledger(), grpc.aio.server()
    calls: dict[str, Any] = {
        "RecordDeed": grpc.unary_unary_rpc_method_handler(
            served.record_deed,
            billing_pb2.RecordDeedRequest.FromString,
            billing_pb2.RecordDeedResponse.SerializeToString,
        ),
        "TopUp": grpc.unary_unary_rpc_method_handler(
            served.top_up, billing_pb2.TopUpRequest.FromString, billing_pb2.TopUpResponse.SerializeToString
        ),
    }
    handler = grpc.method_handlers_generic_handler("tollhouse.v1.BillingService", calls)
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    clients = Clients(replace(SETTINGS, ledger_address=Address(f"127.0.0.1:{port}"), call_timeout_s=5))
    yield served, clients
    await clients.close()
    await server.stop(None)


def row() -> billing_pb2.RecordDeedRequest:
    return deeds.deed("id", "somebody", "top_up", "t", "", {})


async def test_the_row_is_written_before_the_change_is_begun(ledger: tuple[Ledger, Clients]) -> None:
    served, clients = ledger
    await deeds.noted(clients.billing, row(), partial(clients.billing.TopUp, TOP_UP))
    assert served.asked == ["top_up id", "change"]


async def test_nothing_is_changed_where_the_row_cannot_be_written(ledger: tuple[Ledger, Clients]) -> None:
    served, clients = ledger
    served.writes = False
    with pytest.raises(Refusal):
        await deeds.noted(clients.billing, row(), partial(clients.billing.TopUp, TOP_UP))
    served.writes = True
    await deeds.noted(clients.billing, row(), partial(asyncio.sleep, 0))  # what was begun before would be here by now
    assert served.asked == ["top_up id"]


@pytest.mark.parametrize("refused", [Refusal(Kind.INVALID_REQUEST, "no"), Problem(409, "no")])
async def test_a_refused_change_has_a_second_row(ledger: tuple[Ledger, Clients], refused: Exception) -> None:
    served, clients = ledger

    async def change() -> None:
        raise refused

    with pytest.raises(type(refused)):
        await deeds.noted(clients.billing, row(), change)
    assert served.asked == ["top_up id", "top_up_refused id_refused"]


def test_ids_of_rows_stay_apart_however_long_they_are() -> None:
    assert len(deeds.deed("k" * 300, "a", "b", "c", "", {}).idempotency_key + "_refused") == 200
