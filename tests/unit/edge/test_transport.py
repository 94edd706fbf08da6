"""The pooled transport against a scripted server; where both should behave alike, aiohttp stands beside it."""

import asyncio
import contextlib
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.edge.settings import EdgeSettings
from services.edge.transport import PooledTransport
from services.edge.transport_aiohttp import AiohttpTransport
from services.edge.upstream import Answer, Failure, Headers, Patience, Transport, UpstreamFailed
from services.shared.settings import SettingsError, load

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
OPEN = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
MIB = 1024 * 1024

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy:DeprecationWarning")
only_pooled = pytest.mark.parametrize("kind", ["pooled", "pooled on asyncio"], indirect=True)


# ---- the client ----


class Client:
    """A transport that is used with the same patience each time."""

    def __init__(self, transport: Transport, patience: Patience) -> None:
        self.transport = transport
        self.patience = patience

    async def send(self, url: str, headers: Headers, body: bytes) -> Answer:
        return await self.transport.send(url, headers, body, self.patience)

    async def close(self) -> None:
        await self.transport.close()


# ---- the scripted server ----


class Peer:
    """One connection, seen from the server."""

    def __init__(self, upstream: "Upstream", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = upstream.connections
        self.reader = reader
        self.writer = writer
        self._upstream = upstream

    async def request(self) -> bytes:
        """The next request's body; its head is recorded. Raises IncompleteReadError when there is none."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self._upstream.heads.append(head)
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        return await self.reader.readexactly(int(length.split(b":")[1]))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def gone(self) -> None:
        """Waits until the client closes."""
        with contextlib.suppress(OSError):
            while await self.reader.read(65536):
                pass


Script = Callable[[Peer], Awaitable[None]]


class Upstream:
    """A server that lets `script` speak on each connection, and closes it when the script ends."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.connections = 0
        self.open = 0
        self.url = ""

    @contextlib.asynccontextmanager
    async def serve(
        self, script: Script, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> AsyncIterator["Upstream"]:
        running: set[asyncio.Task[None]] = set()

        async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            running.add(task)
            self.connections += 1
            self.open += 1
            try:
                await script(Peer(self, reader, writer))
            except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
                pass
            finally:
                self.open -= 1
                writer.close()
                running.discard(task)

        server = await asyncio.start_server(converse, host, 0, ssl=tls)
        name = f"[{host}]" if ":" in host else host
        self.url = f"http{'s' if tls else ''}://{name}:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in list(running):
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


async def always_ok(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.send(OK)


def answering(wire: bytes) -> Script:
    """Answers every request with `wire`, and closes after it if the client does not."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(wire)

    return script


def lasting(wire: bytes) -> Script:
    """Answers one request with `wire`, then says nothing and waits for the client to go."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(wire)
        await peer.gone()

    return script


# ---- the transports ----

Make = Callable[..., Client]


POOLED = ["pooled", "pooled on asyncio"]


@pytest.fixture(params=[*POOLED, "aiohttp"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def event_loop_policy(kind: str) -> asyncio.AbstractEventLoopPolicy:
    return asyncio.DefaultEventLoopPolicy() if kind.endswith("asyncio") else uvloop.EventLoopPolicy()


@pytest.fixture
async def make(kind: str) -> AsyncIterator[Make]:
    made: list[Client] = []

    def make(
        connect_s: float = 2,
        silence_s: float = 2,
        idle_s: float = 30,
        warm_s: float = 300,
        context: ssl.SSLContext | None = None,
        rest_s: float = 0,
        private: bool = True,
    ) -> Client:
        transport: Transport
        if kind == "aiohttp":
            transport = AiohttpTransport(connect_s, ssl_context=context, private=private)
        else:
            transport = PooledTransport(
                connect_s, silence_s / 10, idle_s, warm_s, context, rest_s=lambda: rest_s, private=private
            )
        made.append(Client(transport, Patience(silence_s, silence_s)))
        return made[-1]

    yield make
    for transport in made:
        await transport.close()


async def whole(transport: Client, url: str, body: bytes = b"{}") -> bytes:
    answer = await transport.send(url, [(b"x-key", b"k")], body)
    try:
        return await answer.read(MIB)
    finally:
        answer.close()


async def failure_of(doing: Awaitable[object]) -> tuple[Failure, bool]:
    with pytest.raises(UpstreamFailed) as failed:
        await doing
    return failed.value.failure, failed.value.reached


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.002)


def nothing_left(transport: Client) -> bool:
    return not isinstance(transport.transport, PooledTransport) or not transport.transport.connections


# ---- keep-alive ----


async def test_requests_in_turn_share_one_connection(make: Make) -> None:
    transport = make()
    async with Upstream().serve(always_ok) as upstream:
        for _ in range(50):
            assert await whole(transport, upstream.url) == b"ok"
        assert upstream.connections == 1


async def test_parallel_requests_have_a_connection_each_and_keep_them(make: Make) -> None:
    transport = make()
    async with Upstream().serve(always_ok) as upstream:
        for _ in range(5):
            assert set(await asyncio.gather(*(whole(transport, upstream.url) for _ in range(32)))) == {b"ok"}
        assert upstream.connections <= 32


async def test_a_connection_that_the_server_closed_is_not_used(make: Make) -> None:
    transport = make()
    async with Upstream().serve(answering(OK)) as upstream:
        for _ in range(3):
            assert await whole(transport, upstream.url) == b"ok"
            await soon(lambda: not upstream.open and nothing_left(transport))
            await asyncio.sleep(0.01)
        assert upstream.connections == 3


async def closes_on_its_second_request(peer: Peer) -> None:
    await peer.request()
    await peer.send(OK)
    await peer.request()
    if peer.number > 1:
        await peer.send(OK)


@only_pooled
async def test_a_request_that_met_the_closing_of_a_kept_connection_is_sent_again(make: Make) -> None:
    transport = make()
    async with Upstream().serve(closes_on_its_second_request) as upstream:
        assert await whole(transport, upstream.url) == b"ok"
        assert await whole(transport, upstream.url, b"again") == b"ok"
        assert (upstream.connections, len(upstream.heads)) == (2, 3)


@only_pooled
async def test_a_large_request_that_met_the_closing_of_a_kept_connection_is_sent_again_whole(make: Make) -> None:
    transport = make()
    bodies = []

    async def script(peer: Peer) -> None:
        bodies.append(await peer.request())
        await peer.send(OK)
        if peer.number == 1:
            await peer.reader.read(1000)
            peer.writer.transport.abort()

    async with Upstream().serve(script) as upstream:
        await whole(transport, upstream.url)
        assert await whole(transport, upstream.url, b"x" * 8 * MIB) == b"ok"
        assert [len(body) for body in bodies] == [2, 8 * MIB]


@only_pooled
async def test_a_request_is_sent_again_once_only_and_on_a_fresh_connection(make: Make) -> None:
    transport = make()

    async def script(peer: Peer) -> None:
        await peer.request()
        if peer.number <= 2:
            await asyncio.sleep(0.02)  # so that both are open at once
            await peer.send(OK)
            await peer.request()

    async with Upstream().serve(script) as upstream:
        await asyncio.gather(whole(transport, upstream.url), whole(transport, upstream.url))
        assert await failure_of(whole(transport, upstream.url)) == (Failure.DROPPED, True)
        assert (upstream.connections, len(upstream.heads)) == (3, 4)


async def test_a_kept_connection_that_broke_off_in_the_head_is_not_tried_again(make: Make) -> None:
    transport = make()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-")

    async with Upstream().serve(script) as upstream:
        await whole(transport, upstream.url)
        assert await failure_of(whole(transport, upstream.url)) == (Failure.DROPPED, True)
        assert upstream.connections == 1


async def test_a_fresh_connection_that_drops_may_have_been_reached(make: Make) -> None:
    transport = make()
    async with Upstream().serve(answering(b"")) as upstream:
        assert await failure_of(whole(transport, upstream.url)) == (Failure.DROPPED, True)
        assert upstream.connections == 1
        assert nothing_left(transport)


@only_pooled
async def test_an_idle_connection_is_closed_in_time(make: Make) -> None:
    transport = make(idle_s=0.05)
    async with Upstream().serve(always_ok) as upstream:
        await whole(transport, upstream.url)
        assert upstream.open == 1
        await soon(lambda: upstream.open == 0)
        assert nothing_left(transport)
        assert await whole(transport, upstream.url) == b"ok"


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\n\r\nok",
    ],
    ids=["connection: close", "http/1.0", "until closed", "http/1.0 until closed"],
)
async def test_a_connection_that_ends_with_its_answer_is_not_used_again(make: Make, wire: bytes) -> None:
    transport = make()
    async with Upstream().serve(answering(wire)) as upstream:
        for _ in range(3):
            assert await whole(transport, upstream.url) == b"ok"
            assert nothing_left(transport)
        assert upstream.connections == 3


# ---- bodies ----

BODIES = {
    "content-length": (b"Content-Length: 10\r\n\r\n0123456789", b"0123456789"),
    "empty": (b"Content-Length: 0\r\n\r\n", b""),
    "chunked": (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", b"abc0123456789"),
    "chunk extensions": (b"Transfer-Encoding: chunked\r\n\r\n3;a=b;c\r\nabc\r\n0;x\r\n\r\n", b"abc"),
    "trailers": (b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\nX-Z: 9\r\n\r\n", b"abc"),
    "chunked, empty": (b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b""),
    "until closed": (b"Connection: close\r\n\r\n0123456789", b"0123456789"),
}


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest.mark.parametrize("name", BODIES)
async def test_a_body_is_whole_however_its_bytes_are_split(make: Make, name: str, step: int) -> None:
    transport = make()
    rest, expected = BODIES[name]
    wire = b"HTTP/1.1 200 OK\r\n" + rest

    async def script(peer: Peer) -> None:
        for _ in range(1 if name == "until closed" else 2):
            await peer.request()
            for at in range(0, len(wire), step):
                await peer.send(wire[at : at + step])
                await asyncio.sleep(0)

    async with Upstream().serve(script) as upstream:
        assert [await whole(transport, upstream.url) for _ in range(2)] == [expected] * 2
        assert upstream.connections == (2 if name == "until closed" else 1)


async def test_everything_received_is_one_chunk(make: Make) -> None:
    transport = make()
    wire = OPEN + b"5\r\nagain\r\n" * 63 + b"0\r\n\r\n"
    async with Upstream().serve(answering(wire)) as upstream:
        answer = await transport.send(upstream.url, [], b"")
        await asyncio.sleep(0.01)
        assert await answer.chunk() == b"first" + b"again" * 63
        assert await answer.chunk() == b""
        assert await answer.chunk() == b""
        answer.close()


async def test_informational_answers_are_skipped(make: Make) -> None:
    transport = make()
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"

    async def script(peer: Peer) -> None:
        for _ in range(2):
            await peer.request()
            await peer.send(early)
            await asyncio.sleep(0.01)
            await peer.send(early + OK)

    async with Upstream().serve(script) as upstream:
        for _ in range(2):
            answer = await transport.send(upstream.url, [], b"")
            assert (answer.status, list(answer.headers)) == (200, [(b"Content-Length", b"2")])
            assert await answer.read(10) == b"ok"
            answer.close()
        assert upstream.connections == 1


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_answers_without_a_body_end_with_their_head(make: Make, status: bytes) -> None:
    transport = make()

    async def script(peer: Peer) -> None:
        for _ in range(2):
            await peer.request()
            await peer.send(b"HTTP/1.1 %b\r\nETag: 1\r\n\r\n" % status)

    async with Upstream().serve(script) as upstream:
        for _ in range(2):
            answer = await transport.send(upstream.url, [], b"")
            assert answer.status == int(status[:3])
            assert await answer.read(10) == b""
            answer.close()
        assert upstream.connections == 1


async def test_a_body_over_the_limit_is_not_read_on(make: Make) -> None:
    transport = make()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OPEN)
        for _ in range(2000):
            await peer.send(b"fff\r\n" + b"x" * 0xFFF + b"\r\n")

    async with Upstream().serve(script) as upstream:
        answer = await transport.send(upstream.url, [], b"")
        assert await failure_of(answer.read(100_000)) == (Failure.TOO_LARGE, True)
        answer.close()
        await soon(lambda: upstream.open == 0)
        assert nothing_left(transport)
    async with Upstream().serve(always_ok) as upstream:
        answer = await transport.send(upstream.url, [], b"")
        assert await failure_of(answer.read(1)) == (Failure.TOO_LARGE, True)
        answer.close()


# ---- what belongs to no answer ----


@only_pooled
@pytest.mark.parametrize("extra", [b"HTTP/1.1 200 OK\r\nX-Leak: ", OK.replace(b"ok", b"ko"), b"garbage", b"HTTP"])
async def test_bytes_after_an_answer_never_become_the_next_one(make: Make, extra: bytes) -> None:
    transport = make()

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(OK + extra)

    async with Upstream().serve(script) as upstream:
        for _ in range(3):
            answer = await transport.send(upstream.url, [], b"")
            assert list(answer.headers) == [(b"Content-Length", b"2")]
            assert await answer.read(10) == b"ok"
            answer.close()
        assert upstream.connections == 3


@only_pooled
async def test_an_answer_before_any_request_is_none(make: Make) -> None:
    transport = make()

    async def script(peer: Peer) -> None:
        await peer.send(OK.replace(b"ok", b"no"))
        await always_ok(peer)

    async with Upstream().serve(script) as upstream:
        for _ in range(2):
            with contextlib.suppress(UpstreamFailed):  # unless the request was faster
                assert await whole(transport, upstream.url) in (b"ok", b"no")
            await soon(lambda: not upstream.open)
        assert upstream.connections == 2
        assert nothing_left(transport)


@only_pooled
async def test_bytes_on_an_idle_connection_close_it(make: Make) -> None:
    transport = make()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await asyncio.sleep(0.02)
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nleaked")
        await peer.gone()

    async with Upstream().serve(script) as upstream:
        assert await whole(transport, upstream.url) == b"ok"
        await soon(lambda: upstream.open == 0)
        assert await whole(transport, upstream.url) == b"ok"
        assert upstream.connections == 2


async def test_an_answer_before_the_request_is_sent_whole_closes_the_connection(make: Make) -> None:
    transport = make()

    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        while peer.writer.transport.get_write_buffer_size():
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)

    async with Upstream().serve(script) as upstream:
        for _ in range(2):
            answer = await transport.send(upstream.url, [], b"x" * 16 * MIB)
            assert answer.status == 413
            assert await answer.read(10) == b"no"
            answer.close()
            assert nothing_left(transport)
        assert upstream.connections == 2


# ---- broken answers ----


@pytest.mark.parametrize(
    "wire",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
async def test_a_malformed_head_is_no_answer(make: Make, wire: bytes) -> None:
    transport = make()
    async with Upstream().serve(answering(wire)) as upstream:
        assert await failure_of(whole(transport, upstream.url)) == (Failure.DROPPED, True)
        assert nothing_left(transport)


@only_pooled
async def test_switching_protocols_is_no_answer(make: Make) -> None:
    transport = make()
    wire = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nabc"
    async with Upstream().serve(lasting(wire)) as upstream:
        assert await failure_of(whole(transport, upstream.url)) == (Failure.DROPPED, True)
        await soon(lambda: upstream.open == 0)


@pytest.mark.parametrize("line", [b"X-Many: " + b"x" * 100 + b"\r\n", b"x" * 1024], ids=["many lines", "one line"])
@pytest.mark.parametrize("ended", [b"", b"Content-Length: 0\r\n\r\n"], ids=["endless", "ended"])
async def test_a_head_over_the_limit_is_no_answer(make: Make, line: bytes, ended: bytes) -> None:
    transport = make()
    start = b"HTTP/1.1 200 OK\r\n" + (b"X: " if len(line) == 1024 else b"")
    wire = start + line * (2 * 64 * 1024 // len(line)) + (b"\r\n" if len(line) == 1024 and ended else b"") + ended
    async with Upstream().serve(lasting(wire)) as upstream:
        assert await failure_of(whole(transport, upstream.url)) == (Failure.DROPPED, True)
        await soon(lambda: upstream.open == 0)
        assert nothing_left(transport)


@only_pooled
@pytest.mark.parametrize("flood", [b"0\r\n" + b"X: y\r\n" * 200_000, b"5;" + b"x" * MIB])
async def test_what_is_not_body_is_not_gathered_without_end(make: Make, flood: bytes) -> None:
    transport = make()
    async with Upstream().serve(lasting(OPEN + flood)) as upstream:
        assert await failure_of(whole(transport, upstream.url)) == (Failure.CUT, True)
        await soon(lambda: upstream.open == 0)


def first_then(rest: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OPEN)
        await asyncio.sleep(0.01)
        await peer.send(rest)
        if rest:
            await asyncio.sleep(0.05)

    return script


@pytest.mark.parametrize("rest", [b"", b"5\r\nfi"], ids=["between chunks", "in a chunk"])
async def test_a_chunked_answer_without_its_end_is_cut(make: Make, rest: bytes) -> None:
    transport = make()
    async with Upstream().serve(first_then(rest)) as upstream:
        assert await failure_of(whole(transport, upstream.url)) == (Failure.CUT, True)
        assert nothing_left(transport)


@only_pooled  # aiohttp 3.14 closes the connection and leaves the reader waiting for ever
@pytest.mark.parametrize("rest", [b"zz\r\n", b"5\r\nagainX\r\n"], ids=["no size", "no line break"])
async def test_a_malformed_chunk_cuts_the_answer(make: Make, rest: bytes) -> None:
    transport = make()
    async with Upstream().serve(first_then(rest)) as upstream:
        assert await failure_of(whole(transport, upstream.url)) == (Failure.CUT, True)
        assert nothing_left(transport)


@pytest.mark.parametrize("reset", [False, True])
async def test_a_short_answer_is_cut(make: Make, reset: bool) -> None:
    transport = make()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst")
        await asyncio.sleep(0.02)
        if reset:
            peer.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            peer.writer.transport.abort()

    async with Upstream().serve(script) as upstream:
        answer = await transport.send(upstream.url, [], b"")
        assert await answer.chunk() == b"first"
        for _ in range(2):
            assert await failure_of(answer.chunk()) == (Failure.CUT, True)
        answer.close()
        assert nothing_left(transport)


@only_pooled
async def test_what_came_before_the_cut_is_handed_over_first(make: Make) -> None:
    transport = make()
    async with Upstream().serve(answering(OPEN)) as upstream:
        answer = await transport.send(upstream.url, [], b"")
        await soon(lambda: nothing_left(transport))
        assert await answer.chunk() == b"first"
        assert await failure_of(answer.chunk()) == (Failure.CUT, True)


# ---- reaching it ----


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def test_a_refused_connection_did_not_reach_the_upstream(make: Make) -> None:
    assert await failure_of(whole(make(), f"http://127.0.0.1:{free_port()}")) == (Failure.CONNECT, False)


async def test_a_name_that_does_not_resolve_did_not_reach_the_upstream(make: Make) -> None:
    name = "a." * 130 + "invalid"  # longer than names are: no server is asked for it
    assert await failure_of(whole(make(), f"http://{name}/")) == (Failure.CONNECT, False)


@only_pooled
async def test_a_name_that_is_none_did_not_reach_the_upstream(make: Make) -> None:
    assert await failure_of(whole(make(), "http://a..b/")) == (Failure.CONNECT, False)


async def test_a_server_that_speaks_no_tls_was_not_reached(make: Make) -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(1)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    transport = make()
    async with Upstream().serve(script) as upstream:
        url = upstream.url.replace("http:", "https:")
        assert await failure_of(whole(transport, url)) == (Failure.CONNECT, False)
        assert nothing_left(transport)


async def test_a_connection_that_takes_too_long_was_not_reached(make: Make) -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    transport = make(connect_s=0.1)
    async with Upstream().serve(script) as upstream:
        url = upstream.url.replace("http:", "https:")  # the handshake is never answered
        assert await failure_of(whole(transport, url)) == (Failure.CONNECT, False)
        await soon(lambda: upstream.open == 0)
        assert nothing_left(transport)


# ---- silence ----


async def test_silence_before_the_head(make: Make) -> None:
    transport = make(silence_s=0.1)
    async with Upstream().serve(lasting(b"HTTP/1.1 200")) as upstream:
        assert await failure_of(whole(transport, upstream.url)) == (Failure.SILENT, True)
        await soon(lambda: upstream.open == 0)
        assert nothing_left(transport)


async def test_silence_on_a_kept_connection_is_not_tried_again(make: Make) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OK)
        await peer.gone()

    transport = make(silence_s=0.1)
    async with Upstream().serve(script) as upstream:
        await whole(transport, upstream.url)
        assert await failure_of(whole(transport, upstream.url)) == (Failure.SILENT, True)
        assert upstream.connections == 1


async def test_silence_between_two_chunks(make: Make) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OPEN)
        for _ in range(4):  # each within the limit, all together beyond it
            await asyncio.sleep(0.06)
            await peer.send(b"5\r\nagain\r\n")
        await peer.gone()

    transport = make(silence_s=0.15)
    async with Upstream().serve(script) as upstream:
        answer = await transport.send(upstream.url, [], b"")
        body = b""
        while len(body) < 25:
            body += await answer.chunk()
        assert await failure_of(answer.chunk()) == (Failure.SILENT, True)
        answer.close()
        await soon(lambda: upstream.open == 0)
        assert nothing_left(transport)


# ---- streams that are taken as they come ----


def paced(count: int, every_s: float, last: bytes = b"0\r\n\r\n") -> Script:
    """Answers with `count` chunks of a byte, each a write of its own, and `last`."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(count):
            await asyncio.sleep(every_s)
            await peer.send(b"1\r\n%c\r\n" % (97 + number % 26))
        await peer.send(last)
        await peer.gone()

    return script


def letters(count: int) -> bytes:
    return bytes(97 + number % 26 for number in range(count))


async def test_what_arrives_is_taken_as_it_arrives_to_the_end(make: Make) -> None:
    transport, taken = make(), list[bytes]()
    async with Upstream().serve(paced(30, 0.003)) as upstream:
        answer = await transport.send(upstream.url, [], b"")

        def take(chunk: bytes) -> bool:
            taken.append(chunk)
            return True

        assert await answer.flow(take)
        assert b"".join(taken) == letters(30)
        assert len(taken) > 5
        assert await answer.flow(take)
        assert await answer.chunk() == b""
        answer.close()


async def test_a_taker_that_has_enough_is_given_nothing_more_until_it_asks_again(make: Make) -> None:
    transport, taken = make(), list[bytes]()
    async with Upstream().serve(paced(20, 0.003)) as upstream:
        answer = await transport.send(upstream.url, [], b"")

        def take(chunk: bytes) -> bool:
            taken.append(chunk)
            return False

        assert not await answer.flow(take)
        assert len(taken) == 1
        await asyncio.sleep(0.02)
        assert len(taken) == 1
        while not await answer.flow(take):
            pass
        assert b"".join(taken) == letters(20)
        answer.close()


async def test_a_taker_that_fails_fails_the_flow(make: Make) -> None:
    transport = make()
    async with Upstream().serve(paced(5, 0.005)) as upstream:
        answer = await transport.send(upstream.url, [], b"")

        def take(chunk: bytes) -> bool:
            raise KeyError(chunk)

        with pytest.raises(KeyError):
            await answer.flow(take)
        answer.close()
        await soon(lambda: upstream.open == 0)
        assert nothing_left(transport)


@only_pooled
async def test_a_taker_that_fails_while_its_flow_is_cancelled_fails_no_other_flow(make: Make) -> None:
    transport, taken = make(), list[bytes]()

    async def script(peer: Peer) -> None:
        for _ in range(2):
            await peer.request()
            await peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            await asyncio.sleep(0.02)
            await peer.send(b"1\r\na\r\n")
            await asyncio.sleep(0.02)
            await peer.send(b"1\r\nb\r\n0\r\n\r\n")
        await peer.gone()

    async with Upstream().serve(script) as upstream:
        answer = await transport.send(upstream.url, [], b"")

        def take(chunk: bytes) -> bool:
            flowing.cancel()
            raise KeyError(chunk)

        flowing = asyncio.create_task(answer.flow(take))
        with pytest.raises(asyncio.CancelledError):
            await flowing
        while await answer.chunk():
            pass
        answer.close()

        def take_well(chunk: bytes) -> bool:
            taken.append(chunk)
            return True

        again = await transport.send(upstream.url, [], b"")
        assert await again.flow(take_well)
        assert b"".join(taken) == b"ab"
        assert upstream.connections == 1, "the first one was used again"


async def test_a_flow_that_breaks_off_says_so_after_what_came(make: Make) -> None:
    transport, taken = make(), list[bytes]()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OPEN)
        await asyncio.sleep(0.02)
        await peer.send(b"5\r\nagain\r\n")
        await asyncio.sleep(0.02)

    async with Upstream().serve(script) as upstream:
        answer = await transport.send(upstream.url, [], b"")

        def take(chunk: bytes) -> bool:
            taken.append(chunk)
            return True

        assert await failure_of(answer.flow(take)) == (Failure.CUT, True)
        assert b"".join(taken) == b"firstagain"
        answer.close()
        assert nothing_left(transport)


async def test_a_flow_that_falls_silent_ends_in_time_and_not_before(make: Make) -> None:
    transport, taken = make(silence_s=0.15), list[bytes]()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OPEN)
        for _ in range(4):  # each within the limit, all together beyond it
            await asyncio.sleep(0.06)
            await peer.send(b"5\r\nagain\r\n")
        await peer.gone()

    async with Upstream().serve(script) as upstream:
        answer = await transport.send(upstream.url, [], b"")

        def take(chunk: bytes) -> bool:
            taken.append(chunk)
            return True

        assert await failure_of(answer.flow(take)) == (Failure.SILENT, True)
        assert b"".join(taken) == b"first" + 4 * b"again"
        answer.close()


async def test_a_flow_that_was_cancelled_can_be_heard_out(make: Make) -> None:
    transport, taken = make(), list[bytes]()
    async with Upstream().serve(paced(20, 0.005)) as upstream:
        answer = await transport.send(upstream.url, [], b"")

        def take(chunk: bytes) -> bool:
            taken.append(chunk)
            return True

        task = asyncio.create_task(answer.flow(take))
        await soon(lambda: len(taken) >= 3)
        await cancel(task)
        while chunk := await answer.chunk():
            taken.append(chunk)
        assert b"".join(taken) == letters(20)
        answer.close()


@only_pooled
async def test_a_stream_that_rests_is_read_together_and_to_its_end(make: Make) -> None:
    transport, taken = make(rest_s=0.1), list[bytes]()
    async with Upstream().serve(paced(50, 0.002)) as upstream:
        answer = await transport.send(upstream.url, [], b"")

        def take(chunk: bytes) -> bool:
            taken.append(chunk)
            return True

        assert await answer.flow(take)
        assert b"".join(taken) == letters(50)
        assert len(taken) < 25
        answer.close()


@only_pooled
async def test_a_stream_that_is_left_while_it_rests_is_closed(make: Make) -> None:
    transport, taken = make(rest_s=0.05), list[bytes]()
    async with Upstream().serve(paced(1000, 0.002)) as upstream:
        answer = await transport.send(upstream.url, [], b"")

        def take(chunk: bytes) -> bool:
            taken.append(chunk)
            return True

        task = asyncio.create_task(answer.flow(take))
        await soon(lambda: len(taken) >= 1)
        await cancel(task)
        answer.close()
        await soon(lambda: upstream.open == 0)
        assert nothing_left(transport)
        await asyncio.sleep(0.1)


# ---- leaving ----


async def test_closing_before_the_end_closes_the_connection(make: Make) -> None:
    transport = make()
    async with Upstream().serve(lasting(OPEN)) as upstream:
        answer = await transport.send(upstream.url, [], b"")
        assert await answer.chunk() == b"first"
        answer.close()
        await soon(lambda: upstream.open == 0)
        assert nothing_left(transport)
        answer.close()
        assert await failure_of(answer.chunk()) == (Failure.CUT, True)


@pytest.mark.parametrize("read", [True, False])
async def test_closing_after_the_end_gives_the_connection_back(make: Make, read: bool) -> None:
    transport = make()
    async with Upstream().serve(always_ok) as upstream:
        for _ in range(3):
            answer = await transport.send(upstream.url, [], b"")
            if read:
                assert await answer.chunk() == b"ok"
            answer.close()
            answer.close()
        assert upstream.connections == 1


async def test_an_answer_that_ended_does_not_touch_the_next_one(make: Make) -> None:
    transport = make()
    async with Upstream().serve(always_ok) as upstream:
        first = await transport.send(upstream.url, [], b"")
        assert await first.read(10) == b"ok"
        second = await transport.send(upstream.url, [], b"")
        first.close()
        assert await second.read(10) == b"ok"
        assert upstream.connections == 1


async def cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancelled_while_it_connects(make: Make) -> None:
    async def script(peer: Peer) -> None:
        await peer.gone()

    transport = make()
    async with Upstream().serve(script) as upstream:
        task = asyncio.create_task(whole(transport, upstream.url.replace("http:", "https:")))
        await soon(lambda: upstream.open == 1)
        await cancel(task)
        await soon(lambda: upstream.open == 0)
        assert nothing_left(transport)


async def test_cancelled_while_it_waits_for_the_head(make: Make) -> None:
    transport = make()
    async with Upstream().serve(lasting(b"")) as upstream:
        task = asyncio.create_task(whole(transport, upstream.url))
        await soon(lambda: len(upstream.heads) == 1)
        await cancel(task)
        await soon(lambda: upstream.open == 0)
        assert nothing_left(transport)


async def test_cancelled_while_it_waits_for_a_chunk(make: Make) -> None:
    transport = make()
    async with Upstream().serve(lasting(OPEN)) as upstream:
        task = asyncio.create_task(whole(transport, upstream.url))
        await soon(lambda: len(upstream.heads) == 1)
        await asyncio.sleep(0.01)
        await cancel(task)
        await soon(lambda: upstream.open == 0)
        assert nothing_left(transport)


async def test_what_comes_after_a_wait_was_cancelled_can_still_be_read(make: Make) -> None:
    transport = make()
    waited = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(OPEN)
        await waited.wait()
        await peer.send(b"4\r\nlast\r\n0\r\n\r\n")

    async with Upstream().serve(script) as upstream:
        answer = await transport.send(upstream.url, [], b"{}")
        assert await answer.chunk() == b"first"
        task = asyncio.create_task(answer.chunk())
        await asyncio.sleep(0.01)
        await cancel(task)
        waited.set()
        assert await answer.read(MIB) == b"last"
        answer.close()


@only_pooled
async def test_closing_the_transport_closes_everything(make: Make) -> None:
    transport = make()

    async def script(peer: Peer) -> None:
        while (await peer.request()) == b"{}":
            await peer.send(OK)
        await peer.send(OPEN)
        await peer.gone()

    async with Upstream().serve(script) as upstream:
        answer = await transport.send(upstream.url, [], b"stream")
        assert await answer.chunk() == b"first"
        waiting = asyncio.ensure_future(failure_of(answer.chunk()))
        await whole(transport, upstream.url)
        assert upstream.open == 2
        await transport.close()
        assert nothing_left(transport)
        assert await waiting == (Failure.CUT, True)
        await soon(lambda: upstream.open == 0)
        assert await failure_of(whole(transport, upstream.url)) == (Failure.CONNECT, False)


# ---- flow ----


async def test_an_upstream_is_held_back_by_a_reader_that_does_not_read(make: Make) -> None:
    transport = make()
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(OPEN)
        for _ in range(1024):
            await peer.send(piece)
            sent += 65536
        await peer.send(b"0\r\n\r\n")

    async with Upstream().serve(script) as upstream:
        answer = await transport.send(upstream.url, [], b"")
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.05)
        assert sent < 24 * MIB  # the kernel's buffers
        held = len(await answer.chunk())
        assert held <= MIB
        while size := len(await answer.chunk()):
            held += size
        assert held == 64 * MIB + len(b"first")
        answer.close()


async def test_a_large_request_arrives_whole(make: Make) -> None:
    transport = make()
    body = bytes(range(256)) * (8 * MIB // 256)

    async def script(peer: Peer) -> None:
        for _ in range(2):
            await peer.send(OK if await peer.request() == body else OK.replace(b"ok", b"no"))

    async with Upstream().serve(script) as upstream:
        for _ in range(2):
            assert await whole(transport, upstream.url, body) == b"ok"
        assert upstream.connections == 1


@only_pooled
async def test_an_upstream_that_reads_a_large_request_is_not_silent(make: Make) -> None:
    transport = make(silence_s=0.2)

    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        for _ in range(32):
            await peer.reader.readexactly(MIB)
            await asyncio.sleep(0.01)
        await peer.send(OK)

    async with Upstream().serve(script) as upstream:
        assert await whole(transport, upstream.url, b"x" * 32 * MIB) == b"ok"


@only_pooled
async def test_an_upstream_that_does_not_read_a_large_request_is_silent(make: Make) -> None:
    transport = make(silence_s=0.1)

    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await asyncio.Event().wait()

    async with Upstream().serve(script) as upstream:
        assert await failure_of(whole(transport, upstream.url, b"x" * 32 * MIB)) == (Failure.SILENT, True)
        assert nothing_left(transport)


# ---- what is sent and received ----


async def test_the_request_is_what_was_asked_for(make: Make) -> None:
    transport = make()
    bodies = []

    async def script(peer: Peer) -> None:
        bodies.append(await peer.request())
        await peer.send(b"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nX-B: \xff\r\nset-cookie: b\r\nContent-Length: 0\r\n\r\n")

    async with Upstream().serve(script) as upstream:
        url = upstream.url + "/v1/messages?beta=true&x=%2F?y"
        answer = await transport.send(url, [(b"x-one", b"1"), (b"x-two", b"\xe9"), (b"x-one", b"2")], b"\0{}")
        assert list(answer.headers) == [
            (b"Set-Cookie", b"a"),
            (b"X-B", b"\xff"),
            (b"set-cookie", b"b"),
            (b"Content-Length", b"0"),
        ]
        answer.close()
        assert bodies == [b"\0{}"]
        lines = upstream.heads[0].split(b"\r\n")
        assert lines[0] == b"POST /v1/messages?beta=true&x=%2F?y HTTP/1.1"
        assert lines[1] == b"Host: " + upstream.url.removeprefix("http://").encode()
        assert b"Content-Length: 3" in lines
        assert [line for line in lines if line.startswith(b"x-")][:1] == [b"x-one: 1"]
        assert sorted(line for line in lines if line.startswith(b"x-one")) == [b"x-one: 1", b"x-one: 2"]


async def test_an_ipv6_upstream_is_reached(make: Make) -> None:
    transport = make()
    async with Upstream().serve(always_ok, host="::1") as upstream:
        assert await whole(transport, upstream.url) == b"ok"
        host = upstream.url.removeprefix("http://").encode()
        assert host.startswith(b"[::1]:")
        assert b"\r\nHost: %b\r\n" % host in upstream.heads[0]


@pytest.mark.parametrize("field", [(b"x-a", b"1\r\nx-b: 2"), (b"x-a\r\nx-b", b"1"), (b"x-a", b"1\n"), (b"x\r", b"")])
async def test_a_line_break_in_a_header_is_refused(make: Make, field: tuple[bytes, bytes]) -> None:
    transport = make()
    async with Upstream().serve(always_ok) as upstream:
        with pytest.raises(ValueError):
            await transport.send(upstream.url, [field], b"")
        assert upstream.heads == []


@only_pooled
@pytest.mark.parametrize(
    "url",
    [
        "ftp://a/b",
        "http:///b",
        "http://a/b c",
        "http://a/b?c d",
        "http://a/b\r\n",
        "http://a/b?c\r\n",
        "http://u:p@a/",
        "http://a:99999/",
        "http://a/#b",
        "http://é/",
    ],
)
async def test_a_url_that_is_none_of_an_upstream_is_refused(make: Make, url: str) -> None:
    with pytest.raises(ValueError):
        await make().send(url, [], b"")


@only_pooled
async def test_host_names_the_port_only_where_it_is_not_the_usual_one(make: Make) -> None:
    transport = make()
    assert isinstance(transport.transport, PooledTransport)
    hosts = {
        "https://api.example.com/v1": b"api.example.com",
        "https://api.example.com:443/v1": b"api.example.com",
        "https://api.example.com:80/v1": b"api.example.com:80",
        "http://api.example.com:80": b"api.example.com",
        "http://[::1]/": b"[::1]",
        "http://[::1]:81/": b"[::1]:81",
    }
    assert {url: transport.transport.target(url).origin.host_field for url in hosts} == hosts
    assert transport.transport.target("http://a").line == b"POST /"


@only_pooled
async def test_what_is_remembered_of_urls_is_bounded(make: Make) -> None:
    transport = make()
    assert isinstance(transport.transport, PooledTransport)
    async with Upstream().serve(always_ok) as upstream:
        await whole(transport, upstream.url)
        for number in range(3000):
            transport.transport.target(f"http://host-{number}.example/")
        assert len(transport.transport.targets) <= 1024
        assert len(transport.transport.origins) <= 1025  # and the one that has connections
        assert await whole(transport, upstream.url) == b"ok"
        assert upstream.connections == 1


# ---- TLS ----


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate authority, and the chain of a server named localhost with its key."""
    folder = tmp_path_factory.mktemp("tls")
    now = datetime.datetime.now(datetime.UTC)
    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])

    def build(subject: str, public: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
        begin, end = now - datetime.timedelta(hours=1), now + datetime.timedelta(hours=1)
        builder = x509.CertificateBuilder().subject_name(name(subject)).issuer_name(name("test authority"))
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begin).not_valid_after(end)
        return builder.public_key(public)

    # From Python 3.13 on, contexts hold certificates to RFC 5280: an authority says what its key is
    # for, and who is signed says by which key.
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    usage = x509.KeyUsage(
        key_cert_sign=True, crl_sign=True, digital_signature=False, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    authority = build("test authority", ca_key.public_key())
    authority = authority.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    authority = authority.add_extension(usage, critical=True)
    authority = authority.add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("::1"))])
    server = build("localhost", key.public_key()).add_extension(names, critical=False)
    server = server.add_extension(issuer, critical=False)
    ca_path, server_path = folder / "ca.pem", folder / "server.pem"
    pem = serialization.Encoding.PEM
    ca_path.write_bytes(authority.sign(ca_key, hashes.SHA256()).public_bytes(pem))
    server_path.write_bytes(
        server.sign(ca_key, hashes.SHA256()).public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return ca_path, server_path


def server_context(server_path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_path)
    return context


def client_context(ca_path: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_path)


async def test_tls_is_spoken_and_kept_alive(make: Make, certificates: tuple[Path, Path]) -> None:
    ca, server = certificates
    transport = make(context=client_context(ca))
    body = b"x" * 3 * MIB

    async def script(peer: Peer) -> None:
        while got := await peer.request():
            wire = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(got)
            await peer.send(wire + got)

    async with Upstream().serve(script, host="localhost", tls=server_context(server)) as upstream:
        for _ in range(3):
            answer = await transport.send(upstream.url, [], body)
            assert await answer.read(4 * MIB) == body
            answer.close()
        assert len(upstream.heads) == 3
        assert upstream.connections <= 2  # one may be ahead of need


@pytest.mark.parametrize("kind", POOLED)
async def test_over_tls_a_connection_is_there_before_it_is_needed(make: Make, certificates: tuple[Path, Path]) -> None:
    ca, server = certificates
    transport = make(context=client_context(ca))
    async with Upstream().serve(lasting(OPEN), host="localhost", tls=server_context(server)) as upstream:
        first = await transport.send(upstream.url, [], b"{}")
        await soon(lambda: upstream.connections == 2)
        second = await transport.send(upstream.url, [], b"{}")  # on the second; a third is ahead
        await soon(lambda: upstream.connections == 3)
        first.close()
        second.close()
        await soon(lambda: upstream.open == 1)
        assert len(upstream.heads) == 2


@pytest.mark.parametrize("kind", POOLED)
async def test_over_tls_one_connection_stays_for_a_while_and_the_others_go(
    make: Make, certificates: tuple[Path, Path]
) -> None:
    ca, server = certificates
    transport = make(idle_s=0.1, warm_s=0.6, context=client_context(ca))
    async with Upstream().serve(always_ok, host="localhost", tls=server_context(server)) as upstream:
        answers = [await transport.send(upstream.url, [], b"{}") for _ in range(3)]
        for answer in answers:
            await answer.read(MIB)
            answer.close()
        await soon(lambda: upstream.open == 1)
        connections = upstream.connections
        assert await whole(transport, upstream.url) == b"ok"
        assert len(upstream.heads) == 4
        assert connections <= 4
        await soon(lambda: upstream.open == 0)


@pytest.mark.parametrize("kind", POOLED)
async def test_without_tls_no_connection_is_opened_ahead(make: Make) -> None:
    transport = make(idle_s=0.1)
    async with Upstream().serve(always_ok) as upstream:
        assert await whole(transport, upstream.url) == b"ok"
        await soon(lambda: upstream.open == 0)
        assert upstream.connections == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_certificate_of_another_name_or_authority_is_not_believed(
    make: Make, certificates: tuple[Path, Path], host: str
) -> None:
    ca, server = certificates
    transport = make(context=client_context(ca) if host == "127.0.0.1" else None)
    async with Upstream().serve(always_ok, host=host, tls=server_context(server)) as upstream:
        assert await failure_of(whole(transport, upstream.url)) == (Failure.CONNECT, False)
        assert upstream.heads == []
        assert nothing_left(transport)


async def test_an_ipv6_address_is_verified_as_an_address(make: Make, certificates: tuple[Path, Path]) -> None:
    ca, server = certificates
    transport = make(context=client_context(ca))
    async with Upstream().serve(always_ok, host="::1", tls=server_context(server)) as upstream:
        assert await whole(transport, upstream.url) == b"ok"


@pytest.mark.parametrize("wire", [OPEN, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst"])
async def test_over_tls_too_an_answer_that_breaks_off_is_cut(
    make: Make, certificates: tuple[Path, Path], wire: bytes
) -> None:
    ca, server = certificates
    transport = make(context=client_context(ca))
    async with Upstream().serve(answering(wire), host="localhost", tls=server_context(server)) as upstream:
        assert await failure_of(whole(transport, upstream.url)) == (Failure.CUT, True)
        assert nothing_left(transport)


async def test_over_tls_too_closing_before_the_end_closes_the_connection(
    make: Make, certificates: tuple[Path, Path]
) -> None:
    ca, server = certificates
    transport = make(context=client_context(ca))
    async with Upstream().serve(lasting(OPEN), host="localhost", tls=server_context(server)) as upstream:
        answer: Answer = await transport.send(upstream.url, [], b"")
        assert await answer.chunk() == b"first"
        answer.close()
        await soon(lambda: upstream.connections - upstream.open == 1)  # this one, not the one ahead of need


# ---- choosing ----


def test_only_transports_that_exist_can_be_chosen() -> None:
    needed = {
        f"TOLLHOUSE_EDGE_{name}": "nats://x" for name in ("NATS_URL", "KEY_PEPPER", "LEDGER_TOKEN", "JOURNAL_DIR")
    }
    assert load(EdgeSettings, "edge", needed).transport == "pooled"
    assert load(EdgeSettings, "edge", needed | {"TOLLHOUSE_EDGE_TRANSPORT": "aiohttp"}).transport == "aiohttp"
    with pytest.raises(SettingsError, match="'quic' is neither"):
        load(EdgeSettings, "edge", needed | {"TOLLHOUSE_EDGE_TRANSPORT": "quic"})
