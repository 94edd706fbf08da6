"""Unit tests of services.edge.transports: accounts that are reached through a proxy."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from services.edge.pressure import Pressure
from services.edge.transport import PooledTransport
from services.edge.transports import Transports
from services.edge.upstream import Failure, Patience, UpstreamFailed
from tests.unit.edge.test_picks import SETTINGS as STRICT

SETTINGS = dataclasses.replace(STRICT, private_upstreams=True)

PATIENCE = Patience(5, 5)


@asynccontextmanager
async def proxy(status: int = 200) -> AsyncIterator[tuple[str, list[bytes]]]:
    """An HTTP proxy that answers by itself; its address and the heads of what it was asked."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 %d Said\r\nContent-Length: 2\r\n\r\nok" % status)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", heads


async def test_a_request_for_an_account_with_a_proxy_goes_to_the_proxy() -> None:
    transports = Transports(SETTINGS, Pressure(0))
    async with proxy() as (address, heads):
        transport = transports.to(address)
        answer = await transport.send("http://upstream.invalid/v1/messages", [(b"x-api-key", b"k")], b"{}", PATIENCE)
        assert (answer.status, await answer.read(100)) == (200, b"ok")
        answer.close()
        assert heads[0].startswith(b"POST http://upstream.invalid/v1/messages HTTP/1.1\r\n")
        assert b"x-api-key: k\r\n" in heads[0]
        assert transports.to(address) is transport
    await transports.close()


async def test_an_upstream_behind_tls_is_tunnelled_to_and_a_proxy_that_refuses_is_no_connection() -> None:
    transports = Transports(SETTINGS, Pressure(0))
    async with proxy(status=403) as (address, heads):
        with pytest.raises(UpstreamFailed) as failed:
            await transports.to(address).send("https://upstream.invalid/v1/messages", [], b"{}", PATIENCE)
        assert heads[0].startswith(b"CONNECT upstream.invalid:443 HTTP/1.1\r\n")
    assert (failed.value.failure, failed.value.reached) == (Failure.CONNECT, False)
    await transports.close()


async def test_without_a_proxy_the_transport_is_the_one_that_the_settings_say() -> None:
    pooled, reference = (
        Transports(SETTINGS, Pressure(0)),
        Transports(dataclasses.replace(SETTINGS, transport="aiohttp"), Pressure(0)),
    )
    assert isinstance(pooled.to(""), PooledTransport)
    assert not isinstance(reference.to(""), PooledTransport)
    await pooled.close()
    await reference.close()
