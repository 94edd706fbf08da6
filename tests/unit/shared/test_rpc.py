"""Unit tests of services.shared.rpc, over a real server and channel."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.shared import rpc
from services.shared.errors import Kind, Refusal
from services.shared.settings import Secret
from tollhouse.v1 import ledger_pb2, ledger_pb2_grpc, usage_pb2, usage_pb2_grpc

TOKEN = Secret("thst_good")
NAME = "tollhouse.v1.UsageService"


class Service(usage_pb2_grpc.UsageServiceServicer):
    """One rpc that answers and one that refuses, as unary and as stream; the others are missing on purpose."""

    async def GetBalance(  # noqa: N802
        self, request: usage_pb2.GetBalanceRequest, context: Any
    ) -> usage_pb2.GetBalanceResponse:
        if request.tenant_id == "nobody":
            raise Refusal(Kind.NOT_FOUND, "there is nobody")
        if request.tenant_id == "defect":
            raise ValueError("a secret of ours")
        return usage_pb2.GetBalanceResponse(balance_nano=1)

    async def WatchUsage(  # noqa: N802
        self, request: usage_pb2.WatchUsageRequest, context: Any
    ) -> AsyncIterator[usage_pb2.WatchUsageResponse]:
        yield usage_pb2.WatchUsageResponse(resume_token="1")
        if request.tenant_id == "defect":
            raise ValueError("a secret of ours")
        raise Refusal(Kind.INVALID_REQUEST, "no more")


async def guard(method: str, context: Any) -> None:
    assert method.startswith(f"/{NAME}/")
    if dict(context.invocation_metadata()).get("authorization") != "Bearer thst_good":
        raise Refusal(Kind.TOKEN_UNKNOWN, "who are you")


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[str]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{sock.getsockname()[1]}"
    server = rpc.Server(address, [NAME], guard)
    usage_pb2_grpc.add_UsageServiceServicer_to_server(Service(), server.grpc)  # type: ignore[abstract]
    await server.start()
    try:
        yield address
    finally:
        await server.stop(0)


@contextlib.asynccontextmanager
async def client(token: Secret | None = TOKEN) -> AsyncIterator[Any]:
    async with served() as address, rpc.channel(address, token) as channel:
        yield usage_pb2_grpc.UsageServiceStub(channel)


async def test_a_call_brings_its_token_unary_and_as_stream() -> None:
    async with client() as usage:
        assert (await usage.GetBalance(usage_pb2.GetBalanceRequest(tenant_id="x"), timeout=5)).balance_nano == 1
        stream = usage.WatchUsage(usage_pb2.WatchUsageRequest(), timeout=5)
        assert (await stream.read()).resume_token == "1"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stream.read()
        assert rpc.refusal_of(caught.value, Kind.LEDGER_UNAVAILABLE).kind is Kind.INVALID_REQUEST


@pytest.mark.parametrize("token", [None, Secret("thst_bad")])
async def test_the_guard_stands_before_every_call_but_health(token: Secret | None) -> None:
    async with served() as address, rpc.channel(address, token) as channel:
        usage: Any = usage_pb2_grpc.UsageServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as unary:
            await usage.GetBalance(usage_pb2.GetBalanceRequest(), timeout=5)
        with pytest.raises(grpc.aio.AioRpcError) as stream:
            await usage.WatchUsage(usage_pb2.WatchUsageRequest(), timeout=5).read()
        for caught in (unary, stream):
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
        health: Any = health_pb2_grpc.HealthStub(channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service=NAME), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_a_refused_token_of_ours_is_not_told_as_the_clients() -> None:
    async with client(Secret("thst_bad")) as usage:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await usage.GetBalance(usage_pb2.GetBalanceRequest(), timeout=5)
        assert rpc.refusal_of(caught.value, Kind.LEDGER_UNAVAILABLE).kind is Kind.LEDGER_UNAVAILABLE


async def test_a_refusal_crosses_with_its_kind() -> None:
    async with client() as usage:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await usage.GetBalance(usage_pb2.GetBalanceRequest(tenant_id="nobody"), timeout=5)
        assert rpc.refusal_of(caught.value, Kind.LEDGER_UNAVAILABLE).kind is Kind.NOT_FOUND


async def test_a_defect_is_internal_without_detail_unary_and_as_stream() -> None:
    async with client() as usage:
        with pytest.raises(grpc.aio.AioRpcError) as unary:
            await usage.GetBalance(usage_pb2.GetBalanceRequest(tenant_id="defect"), timeout=5)
        stream = usage.WatchUsage(usage_pb2.WatchUsageRequest(tenant_id="defect"), timeout=5)
        await stream.read()
        with pytest.raises(grpc.aio.AioRpcError) as streamed:
            await stream.read()
        for caught in (unary, streamed):
            assert caught.value.code() == grpc.StatusCode.INTERNAL
            assert "secret" not in str(caught.value.details())


async def test_a_blocking_channel_brings_the_token_too() -> None:
    async with served() as address:

        def ask() -> int:
            with grpc.insecure_channel(address) as channel:
                usage = usage_pb2_grpc.UsageServiceStub(rpc.with_token(channel, TOKEN))
                first = next(usage.WatchUsage(usage_pb2.WatchUsageRequest(), timeout=5))
                assert first.resume_token == "1"
                return usage.GetBalance(usage_pb2.GetBalanceRequest(), timeout=5).balance_nano

        assert await asyncio.to_thread(ask) == 1


async def _ledger(name: str) -> tuple[grpc.aio.Server, str]:
    """A replica that answers a renewal with its name."""

    async def renew(request: ledger_pb2.RenewGrantsRequest, context: object) -> ledger_pb2.RenewGrantsResponse:
        return ledger_pb2.RenewGrantsResponse(grant_ids=[name])

    handler = grpc.unary_unary_rpc_method_handler(
        renew, ledger_pb2.RenewGrantsRequest.FromString, ledger_pb2.RenewGrantsResponse.SerializeToString
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("tollhouse.v1.LedgerService", {"RenewGrants": handler}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"


@pytest.mark.parametrize("spread", [True, False])
async def test_callers_of_several_replicas_ask_another_one_when_one_is_lost(spread: bool) -> None:
    (one, here), (other, there) = await _ledger("one"), await _ledger("other")
    async with rpc.channel(f"{here},{there}", spread=spread) as channel:
        stub: ledger_pb2_grpc.LedgerServiceAsyncStub = ledger_pb2_grpc.LedgerServiceStub(channel)

        async def asked() -> str:
            request = ledger_pb2.RenewGrantsRequest()
            return (await stub.RenewGrants(request, timeout=10, wait_for_ready=True)).grant_ids[0]

        heard = {await asked()}
        async with asyncio.timeout(10):
            while spread and len(heard) < 2:  # until both are connected
                heard.add(await asked())
        assert heard == ({"one", "other"} if spread else {"one"})
        await one.stop(None)
        assert {await asked() for _ in range(10)} == {"other"}
    await other.stop(None)
