"""HTTP on the wire, by the byte."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from services.simulator.connection import Connection, Request

Wire = tuple[asyncio.StreamReader, asyncio.StreamWriter]
SEEN: list[Request] = []


async def echo(request: Request, connection: Connection) -> None:
    """Answers with the body after some turns of the loop; `/break` is a fault of the handler, `/cut` breaks off."""
    SEEN.append(request)
    await asyncio.sleep(0)
    if request.target == "/break":
        raise RuntimeError("broken")
    connection.head(200, [], len(request.body))
    if request.target == "/cut":
        connection.write(request.body[:1])
        connection.cut()
        return
    connection.write(request.body)


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    SEEN.clear()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(echo, 10), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    yield reader, writer
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    server.close()


def post(body: bytes, target: str = "/", *headers: str) -> bytes:
    lines = [f"POST {target} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "\r\n"]).encode() + body


async def test_pipelined_requests_are_answered_in_their_order(wire: Wire) -> None:
    reader, writer = wire
    writer.write(post(b"one") + post(b"two"))
    received = b""
    for body in (b"one", b"two"):
        received = await reader.readuntil(body)
    assert received.startswith(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n")


async def test_who_sends_more_requests_than_can_wait_is_dropped(wire: Wire) -> None:
    reader, writer = wire
    writer.write(post(b"x") * 200)
    with contextlib.suppress(ConnectionError):
        await reader.read()
    assert len(SEEN) < 200


async def test_a_request_may_come_byte_by_byte(wire: Wire) -> None:
    reader, writer = wire
    for byte in post(b"body", "/a?b=c", "X-Mixed-Case: Yes"):
        writer.write(bytes([byte]))
        await asyncio.sleep(0)
    await reader.readuntil(b"body")
    [request] = SEEN
    assert (request.method, request.target, request.body) == ("POST", "/a?b=c", b"body")
    assert ("X-Mixed-Case", "Yes") in request.headers
    assert request.header("x-mixed-case") == "Yes"


async def test_a_body_over_the_limit_is_told_from_one_at_it(wire: Wire) -> None:
    reader, writer = wire
    writer.write(post(b"0123456789") + post(b"0123456789a"))
    await reader.readuntil(b"0123456789")
    await reader.readuntil(b"content-length: 0\r\n\r\n")
    assert [request.too_large for request in SEEN] == [False, True]


async def test_a_connection_that_is_to_end_ends_with_the_answer(wire: Wire) -> None:
    reader, writer = wire
    writer.write(post(b"last", "/", "Connection: close"))
    assert (await reader.read()).endswith(b"\r\nconnection: close\r\n\r\nlast")


async def test_a_head_request_gets_no_body(wire: Wire) -> None:
    reader, writer = wire
    writer.write(b"HEAD / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody")
    assert (await reader.read()).endswith(b"content-length: 4\r\nconnection: close\r\n\r\n")


async def test_who_waits_for_continue_is_told_to(wire: Wire) -> None:
    reader, writer = wire
    head, _, body = post(b"body", "/", "Expect: 100-continue").partition(b"\r\n\r\n")
    writer.write(head + b"\r\n\r\n")
    await reader.readuntil(b"HTTP/1.1 100 Continue\r\n\r\n")
    writer.write(body)
    await reader.readuntil(b"body")


async def test_what_was_written_before_a_cut_arrives_and_nothing_after_it(wire: Wire) -> None:
    reader, writer = wire
    writer.write(post(b"body", "/cut") + post(b"next"))
    assert await reader.read() == b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nb"
    assert len(SEEN) == 1


@pytest.mark.parametrize(
    "data", [b"\x16\x03\x01 not http\r\n\r\n", post(b"last", "/", "Connection: Upgrade", "Upgrade: h2c")]
)
async def test_what_is_not_http_or_would_leave_it_is_dropped(wire: Wire, data: bytes) -> None:
    reader, writer = wire
    writer.write(data)
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""


async def test_a_fault_of_the_handler_drops_the_connection_and_is_reported(wire: Wire) -> None:
    reports: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context["message"]))
    reader, writer = wire
    writer.write(post(b"", "/break"))
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    assert reports == ["the simulator itself failed"]
