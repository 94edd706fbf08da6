"""Unit tests of services.shared.web: how a server leaves."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.shared import web

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[web.Server, int]]:
    server, door = web.server(answer, drain_s=5), web.listen("127.0.0.1", 0, shared=True)
    task = asyncio.create_task(server.serve([door]))
    port = int(door.getsockname()[1])
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield server, port
    finally:
        server.should_exit = True
        await task


async def told(connection: socket.socket) -> bytes:
    return await asyncio.get_running_loop().sock_recv(connection, 4096)


def connected(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    connection.setblocking(False)
    return connection


async def test_after_the_farewell_an_answer_ends_its_connection() -> None:
    async with serving() as (server, port):
        loop = asyncio.get_running_loop()
        connection = connected(port)
        await loop.sock_sendall(connection, REQUEST)
        assert b"connection: close" not in await told(connection)
        server.say_farewell()
        await loop.sock_sendall(connection, REQUEST)
        assert b"connection: close" in await told(connection)
        assert await told(connection) == b""


async def test_connections_that_wait_when_the_doors_close_are_served_and_later_ones_refused() -> None:
    async with serving() as (server, port):
        loop = asyncio.get_running_loop()
        waiting = [connected(port) for _ in range(20)]  # the loop does not run meanwhile: the kernel keeps them
        server.say_farewell()
        await server.close_doors()
        with pytest.raises(ConnectionRefusedError):
            connected(port)
        for connection in waiting:
            await loop.sock_sendall(connection, REQUEST)
            assert (await told(connection)).startswith(b"HTTP/1.1 200")


async def test_another_listener_of_the_port_goes_on() -> None:
    async with serving() as (server, port):
        other = web.listen("127.0.0.1", port, shared=True)
        with other:
            await server.close_doors()
            connections = [connected(port) for _ in range(10)]
            other.setblocking(True)
            assert all(other.accept() for _ in connections)
