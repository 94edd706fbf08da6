"""The bus over TLS: who is let in, and who comes back after a rotation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client

from services.embedded import nats as embedded_nats
from services.embedded.authority import operator
from services.embedded.health import healthy
from services.embedded.ports import free
from services.embedded.process import Child
from services.embedded.state import StateFolder
from services.shared import bus, clock
from services.shared.permissions import Peer
from services.shared.settings import Secret
from tests.certificates import issued, replace_authority, tls_of

PASSWORD = "a-password"


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    made = StateFolder(tmp_path / "state")
    made.create()
    issued(made.tls)
    return made


@asynccontextmanager
async def served(folder: StateFolder, port: int) -> AsyncIterator[Child]:
    program = embedded_nats.program(folder, port, PASSWORD, operator(folder.tls))
    child = Child(program, folder.log, lambda: None)
    child.start()
    try:
        await child.ready(clock.monotonic_s() + 20)
        yield child
    finally:
        await child.stop()


@asynccontextmanager
async def connected(folder: StateFolder, port: int, wait_s: float = 10) -> AsyncIterator[Client]:
    url = Secret(embedded_nats.client_url(port, PASSWORD))
    nc = await bus.connect(url, name="test", wait_s=wait_s, tls=tls_of(folder.tls, Peer.EDGE))
    try:
        yield nc
    finally:
        await nc.close()


async def test_only_who_shows_a_certificate_is_spoken_to(folder: StateFolder, tmp_path: Path) -> None:
    port = free(1)[0]
    async with served(folder, port):
        async with connected(folder, port) as nc:
            assert (await nc.jetstream().account_info()).streams == 0
        assert await healthy(embedded_nats.client_url(port, PASSWORD), operator(folder.tls))
        assert not await healthy(embedded_nats.client_url(port, PASSWORD))
        issued(tmp_path / "stranger")
        assert not await healthy(embedded_nats.client_url(port, PASSWORD), operator(tmp_path / "stranger"))


async def test_a_client_under_tls_says_nothing_to_a_server_without(folder: StateFolder) -> None:
    heard = bytearray()

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"server_id":"x","version":"2.11.0","max_payload":1048576}\r\n')
        heard.extend(await reader.read(65536))
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(OSError, match="NATS did not answer"):
            async with connected(folder, port, wait_s=0.2):
                raise AssertionError("it took a server without TLS for ours")
    assert heard
    assert b"CONNECT" not in heard
    assert PASSWORD.encode() not in heard


async def test_a_client_comes_back_under_another_authority(folder: StateFolder) -> None:
    port = free(1)[0]
    async with served(folder, port) as child, connected(folder, port) as nc:
        replace_authority(folder.tls)
        await child.stop()
        async with served(folder, port):
            async with asyncio.timeout(20):
                while not nc.is_connected:
                    await asyncio.sleep(0.05)
                await nc.flush()


async def test_the_server_shows_its_new_certificate_when_it_is_told(folder: StateFolder) -> None:
    port = free(1)[0]
    async with served(folder, port) as child:
        replace_authority(folder.tls)
        renewed = operator(folder.tls)
        assert not await healthy(embedded_nats.client_url(port, PASSWORD), renewed)
        child.reload()
        async with asyncio.timeout(20):
            while not await healthy(embedded_nats.client_url(port, PASSWORD), renewed):
                await asyncio.sleep(0.05)
        async with connected(folder, port) as latecomer:
            await latecomer.flush()
