"""Unit tests of services.shared.web and the lines of services.shared.connections: how a server leaves, how clients do,
and what they are sent without waiting."""

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.shared import web
from services.shared.connections import LINE, Line

DATE = re.compile(rb"date: [^\r]+\r\n")
REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@contextlib.asynccontextmanager
async def serving(app: Any = answer, *, lines: bool = False) -> AsyncIterator[tuple[web.Server, int]]:
    server, door = web.server(app, drain_s=5, lines=lines), web.listen("127.0.0.1", 0, shared=True)
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


async def test_a_server_that_is_told_to_stop_does_not_wait_for_its_next_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_TICK_S", 3600)
    async with asyncio.timeout(60), serving() as (server, _):
        await asyncio.sleep(0)
        server.should_exit = False
        assert not server.should_exit, "nobody has said so yet"


class Held:
    """An application whose requests are answered when a test says so, and which notes whose clients leave."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.sends: list[Any] = []
        self.gone: asyncio.Queue[int] = asyncio.Queue()
        self.go_on: asyncio.Queue[None] = asyncio.Queue()
        self.waits: asyncio.Event | None = None

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        line: Line = scope.pop(LINE)
        number = len(self.lines)
        self.lines.append(line)
        self.sends.append(send)
        if self.waits is not None:
            await self.waits.wait()
        while (await receive())["more_body"]:
            pass
        line.watch(lambda: self.gone.put_nowait(number))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await self.go_on.get()
        line.unwatch()
        await send({"type": "http.response.body", "body": b""})

    async def begun(self, requests: int) -> None:
        async with asyncio.timeout(5):
            while len(self.lines) < requests:
                await asyncio.sleep(0.005)


async def head_of(connection: socket.socket) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += await told(connection)
    return received


async def test_a_client_that_leaves_is_noticed_at_once() -> None:
    app = Held()
    async with serving(app, lines=True) as (_, port):
        connection = connected(port)
        await asyncio.get_running_loop().sock_sendall(connection, REQUEST)
        await head_of(connection)
        connection.close()
        async with asyncio.timeout(5):
            assert await app.gone.get() == 0
        app.go_on.put_nowait(None)


async def test_a_client_that_leaves_is_noticed_behind_a_body_that_stopped_the_reading() -> None:
    app, size = Held(), 300_000
    async with serving(app, lines=True) as (_, port):
        connection = connected(port)
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
        await asyncio.get_running_loop().sock_sendall(connection, head + b"x" * size)
        await head_of(connection)
        connection.close()
        async with asyncio.timeout(5):
            assert await app.gone.get() == 0
        app.go_on.put_nowait(None)


async def test_the_request_that_is_being_answered_hears_that_the_client_left_not_the_one_behind_it() -> None:
    app = Held()
    async with serving(app, lines=True) as (_, port):
        connection = connected(port)
        await asyncio.get_running_loop().sock_sendall(connection, REQUEST * 2)
        await head_of(connection)
        assert len(app.lines) == 1, "the second waits for the first"
        connection.close()
        async with asyncio.timeout(5):
            assert await app.gone.get() == 0
        assert not app.lines[0].write(b"to nobody")
        app.go_on.put_nowait(None)
        await asyncio.sleep(0.05)
        assert app.gone.empty()


async def test_a_client_that_left_before_it_was_watched_is_noticed_all_the_same() -> None:
    app = Held()
    app.waits = asyncio.Event()
    async with serving(app, lines=True) as (_, port):
        connection = connected(port)
        await asyncio.get_running_loop().sock_sendall(connection, REQUEST * 2)
        await app.begun(1)
        connection.close()
        await asyncio.sleep(0.05)
        app.waits.set()
        async with asyncio.timeout(5):
            assert await app.gone.get() == 0
        app.go_on.put_nowait(None)


async def test_a_request_that_has_ended_hears_nothing_of_its_client() -> None:
    app = Held()
    async with serving(app, lines=True) as (_, port):
        connection = connected(port)
        await asyncio.get_running_loop().sock_sendall(connection, REQUEST)
        await head_of(connection)
        app.go_on.put_nowait(None)
        assert await told(connection) == b"0\r\n\r\n"
        assert not app.lines[0].write(b"behind its end")
        connection.close()
        await asyncio.sleep(0.05)
        assert app.gone.empty()


async def test_pieces_are_written_as_chunks_until_the_client_reads_too_slowly() -> None:
    app, piece = Held(), b"x" * 65_536
    async with serving(app, lines=True) as (_, port):
        loop = asyncio.get_running_loop()
        connection = connected(port)
        await loop.sock_sendall(connection, REQUEST)
        assert b"transfer-encoding: chunked" in await head_of(connection)
        [line] = app.lines
        assert line.write(b"hello")
        assert await told(connection) == b"5\r\nhello\r\n"
        assert not line.write(b""), "an empty chunk would end the answer"
        written = 0
        while line.write(piece):
            written += 1
            await asyncio.sleep(0)
            assert written < 10_000
        sending = asyncio.create_task(app.sends[0]({"type": "http.response.body", "body": b"last", "more_body": True}))
        received = b""
        while not received.endswith(b"4\r\nlast\r\n"):
            received += await told(connection)
        assert received.count(b"10000\r\n" + piece + b"\r\n") == written
        await sending
        connection.close()
        async with asyncio.timeout(5):
            await app.gone.get()
        assert not line.write(b"to nobody")
        app.go_on.put_nowait(None)


async def test_an_answer_of_known_length_is_not_written_in_pieces() -> None:
    found: list[bool] = []

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        line: Line = scope.pop(LINE)
        found.append(line.write(b"before its head"))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        found.append(line.write(b"ok"))
        await send({"type": "http.response.body", "body": b"ok"})

    async with serving(app, lines=True) as (_, port):
        connection = connected(port)
        await asyncio.get_running_loop().sock_sendall(connection, REQUEST)
        assert (await head_of(connection)).endswith(b"ok")
    assert found == [False, False]


LENGTH = (b"content-length", b"5")
ODD = [(b"a b", b"c"), (b"a: b", b"c"), (b"x-app", b"a\r\nx-forged: b"), (b"x-app", b"a\nb"), (b"x-app", b"a\0b")]
"""Names and values of which nobody may make a header."""


class Twins:
    """An application that answers at once where it may, and otherwise, or always, as ASGI has it."""

    def __init__(self, headers: list[tuple[bytes, bytes]], *, by_line: bool) -> None:
        self.headers = headers
        self.by_line = by_line
        self.at_once: list[bool] = []

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        line: Line = scope.pop(LINE)
        if self.by_line:
            self.at_once.append(line.answer(200, self.headers, b"hello"))
            if self.at_once[-1]:
                return
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        await send({"type": "http.response.body", "body": b"hello"})

    async def said(self, request: bytes, *, farewell: bool = False) -> tuple[bytes, bool]:
        """What a client is told that asks twice, but for the time of day; and whether its connection is closed."""
        async with serving(self, lines=True) as (server, port):
            if farewell:
                server.say_farewell()
            connection, received = connected(port), b""
            with connection:
                await asyncio.get_running_loop().sock_sendall(connection, request)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.3):
                        while piece := await told(connection):
                            received += piece
                        return DATE.sub(b"", received), True
                return DATE.sub(b"", received), False


@pytest.mark.parametrize(
    ("request_", "headers", "farewell", "at_once"),
    [
        (REQUEST * 2, [(b"content-type", b"text/plain"), (b"x-app", b"\xe4\t~"), LENGTH], False, [True, True]),
        (REQUEST * 2, [LENGTH], True, [False]),
        (REQUEST * 2, [LENGTH, (b"connection", b"close")], False, [False]),
        (REQUEST.replace(b"/1.1", b"/1.0"), [LENGTH], False, [False]),
        (REQUEST.replace(b"Host", b"Connection: close\r\nHost"), [LENGTH], False, [False]),
        (REQUEST.replace(b"GET", b"HEAD") + REQUEST, [LENGTH], False, [False, True]),
    ],
    ids=["two requests", "a farewell", "an answer that closes", "HTTP/1.0", "a client that closes", "HEAD"],
)
async def test_a_whole_answer_is_the_same_at_once_as_by_asgi(
    request_: bytes, headers: list[tuple[bytes, bytes]], farewell: bool, at_once: list[bool]
) -> None:
    app = Twins(headers, by_line=True)
    said = await app.said(request_, farewell=farewell)
    assert said == await Twins(headers, by_line=False).said(request_, farewell=farewell)
    assert said[0].startswith(b"HTTP/1.1 200 OK\r\n")
    assert app.at_once == at_once


@pytest.mark.parametrize("odd", ODD)
async def test_a_header_that_is_none_is_not_written(odd: tuple[bytes, bytes]) -> None:
    app = Twins([odd, LENGTH], by_line=True)
    received, closed = await app.said(REQUEST)
    assert app.at_once == [False]
    assert odd[1] not in received
    assert closed


async def test_nobody_is_answered_twice_or_after_leaving() -> None:
    found, ends, left = list[bool](), asyncio.Event(), asyncio.Event()

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        line: Line = scope.pop(LINE)
        await receive()
        line.watch(left.set)
        if found:
            await left.wait()
        found.append(line.answer(200, [LENGTH], b"hello"))
        found.append(line.answer(200, [LENGTH], b"hello"))
        found.append(line.write(b"more"))
        line.unwatch()
        if len(found) > 3:
            ends.set()

    async with serving(app, lines=True) as (_, port), asyncio.timeout(5):
        connection = connected(port)
        await asyncio.get_running_loop().sock_sendall(connection, REQUEST)
        assert (await told(connection)).endswith(b"\r\n\r\nhello")
        await asyncio.get_running_loop().sock_sendall(connection, REQUEST)
        await asyncio.sleep(0.05)
        connection.close()
        await ends.wait()
    assert found == [True, False, False, False, False, False]
