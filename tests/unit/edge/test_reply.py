"""Unit tests of services.edge.reply."""

import asyncio
import hashlib
import json
from collections.abc import Iterable
from typing import Any, cast

import pytest

from services.edge.apis import Api
from services.edge.brand import BUILT_IN, Brand
from services.edge.dialects.speech import SPEECHES
from services.edge.keepalive import KeepAlive
from services.edge.reply import Reply
from services.shared.connections import Line
from services.shared.errors import Kind, Refusal


class Client:
    """What a client was sent, as ASGI says it."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.keeps_up = True

    async def send(self, message: dict[str, Any]) -> None:
        self.messages.append(message)

    def answer(self, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bool:
        if self.keeps_up:
            self.messages.append({"type": "http.response.start", "status": status, "headers": list(headers)})
            self.messages.append({"type": "http.response.body", "body": body})
        return self.keeps_up

    def write(self, piece: bytes) -> bool:
        if self.keeps_up:
            self.messages.append({"type": "http.response.body", "body": piece, "more_body": True})
        return self.keeps_up

    def reply(self, brand: Brand = BUILT_IN, api: Api = Api.MESSAGES, *, from_browser: bool = False) -> Reply:
        return Reply(self.send, cast(Line, self), "req_1", SPEECHES[api], brand, from_browser=from_browser)

    @property
    def status(self) -> int:
        assert self.messages[0]["type"] == "http.response.start"
        return int(self.messages[0]["status"])

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.messages[0]["headers"])

    @property
    def body(self) -> bytes:
        assert {message["type"] for message in self.messages[1:]} <= {"http.response.body"}
        return b"".join(message["body"] for message in self.messages[1:])

    @property
    def ended(self) -> bool:
        return len(self.messages) > 1 and not self.messages[-1].get("more_body", False)


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def reply(client: Client) -> Reply:
    return client.reply()


@pytest.mark.parametrize("keeps_up", [True, False])
async def test_a_whole_answer_says_its_length_and_its_request_id(client: Client, reply: Reply, keeps_up: bool) -> None:
    client.keeps_up = keeps_up
    await reply.whole(201, [(b"content-type", b"text/plain")], b"hello")
    assert client.status == reply.status == 201
    assert client.headers == {b"content-type": b"text/plain", b"content-length": b"5", b"x-request-id": b"req_1"}
    assert client.body == b"hello"
    assert client.ended


async def test_pieces_go_on_as_they_came(client: Client, reply: Reply) -> None:
    await reply.start(200, [])
    for piece in (b"da", b"ta: 1\n\n", b"\xff"):
        await reply.piece(piece)
    assert not client.ended
    await reply.end()
    assert [message["body"] for message in client.messages[1:]] == [b"da", b"ta: 1\n\n", b"\xff", b""]
    assert client.ended
    assert client.headers == {b"x-request-id": b"req_1"}


async def test_pieces_go_on_at_once_while_the_client_keeps_up(client: Client, reply: Reply) -> None:
    await reply.start(200, [])
    assert reply.piece_now(b"data: 1\n\n")
    client.keeps_up = False
    assert not reply.piece_now(b"data: 2\n\n")
    assert client.body == b"data: 1\n\n"
    assert reply.sha256 == hashlib.sha256(b"data: 1\n\n").digest()
    assert reply.size_bytes == len(b"data: 1\n\n")


async def test_no_piece_overtakes_a_ping(client: Client, reply: Reply) -> None:
    await reply.start(200, [])
    reply.ping_soon()
    assert not reply.piece_now(b"data: 1\n\n")
    await reply.piece(b"data: 1\n\n")
    assert client.body == b'event: ping\ndata: {"type": "ping"}\n\ndata: 1\n\n'


async def test_the_first_byte_is_timed_when_the_answer_begins(reply: Reply) -> None:
    assert reply.first_byte_s is None
    assert reply.status is None
    await reply.start(200, [])
    assert reply.first_byte_s is not None


@pytest.mark.parametrize(
    ("sent", "blank_first"), [(b"data: {}\n\n", False), (b"data: {", True), (b"data: {}\n", True), (b"", False)]
)
async def test_a_stream_that_breaks_ends_with_an_error_event_of_its_own(
    client: Client, reply: Reply, sent: bytes, blank_first: bool
) -> None:
    await reply.start(200, [])
    await reply.piece(sent)
    await reply.break_off(Refusal(Kind.UPSTREAM_FAILED, "the upstream broke off its answer"))
    last = client.messages[-1]["body"]
    assert last.startswith(b"\n\nevent: error\n" if blank_first else b"event: error\n")
    assert last.endswith(b"\n\n")
    data = json.loads(last.partition(b"data: ")[2])
    assert data["error"]["type"] == "upstream_error"
    assert data["request_id"] == "req_1"
    assert client.ended
    assert reply.error == "upstream_failed"


async def test_a_refusal_before_the_answer_is_the_answer(client: Client, reply: Reply) -> None:
    await reply.refuse(Refusal(Kind.BALANCE_EXHAUSTED, "no credit"))
    assert client.status == reply.status == 402
    assert client.headers[b"x-request-id"] == b"req_1"
    assert client.headers[b"content-length"] == str(len(client.body)).encode()
    assert json.loads(client.body)["error"]["message"] == "no credit (request id: req_1)"
    assert reply.error == "balance_exhausted"


async def test_a_refusal_after_the_answer_began_leaves_it_without_its_end(client: Client, reply: Reply) -> None:
    await reply.start(200, [])
    await reply.piece(b"data: {}\n\n")
    await reply.refuse(Refusal(Kind.INTERNAL, "a defect"))
    assert not client.ended
    assert client.body == b"data: {}\n\n"
    assert (reply.status, reply.error) == (200, "internal")


async def pinged(reply: Reply) -> None:
    reply.ping_soon()
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_ping_begins_an_answer_and_the_answer_goes_on_behind_it(client: Client, reply: Reply) -> None:
    reply.limits = [(b"x-limit", b"1")]
    await pinged(reply)
    assert reply.only_pings
    assert client.headers[b"content-type"].startswith(b"text/event-stream")
    assert client.headers[b"x-limit"] == b"1"
    await reply.start(200, [(b"content-type", b"text/event-stream")])
    await reply.piece(b"data: 1\n\n")
    await reply.end()
    assert client.body == b'event: ping\ndata: {"type": "ping"}\n\ndata: 1\n\n'
    assert reply.sha256 == hashlib.sha256(client.body).digest()
    assert reply.size_bytes == len(client.body)
    assert not reply.only_pings


async def test_an_answer_that_began_with_a_ping_can_only_be_refused_by_an_event(client: Client, reply: Reply) -> None:
    await pinged(reply)
    await reply.refuse(Refusal(Kind.UPSTREAM_OVERLOADED, "all are busy"))
    assert client.status == 200
    assert b"event: error\n" in client.body
    assert b"overloaded_error" in client.body
    assert client.ended


async def test_an_upstreams_own_error_comes_as_an_event_too_when_a_ping_was_first(client: Client, reply: Reply) -> None:
    await pinged(reply)
    await reply.whole(400, [], b'{\n "type": "error",\n "error": {"type": "invalid_request_error", "message": "no"}}')
    event = client.body.partition(b"event: error\ndata: ")[2]
    assert json.loads(event)["error"]["type"] == "invalid_request_error"
    assert event.count(b"\n") == 2
    assert client.ended


async def test_no_ping_comes_inside_of_an_event(client: Client, reply: Reply) -> None:
    await reply.start(200, [])
    await reply.piece(b"data: half")
    await pinged(reply)
    assert client.body == b"data: half"
    await reply.piece(b" of it\n\n")
    await pinged(reply)
    assert client.body.endswith(b'event: ping\ndata: {"type": "ping"}\n\n')


async def test_a_client_that_is_slow_to_read_gets_no_pings() -> None:
    free = asyncio.Event()

    class Slow(Client):
        async def send(self, message: dict[str, Any]) -> None:
            await super().send(message)
            if len(self.messages) == 2:
                await free.wait()

    client = Slow()
    reply = client.reply()
    await reply.start(200, [])
    writing = asyncio.create_task(reply.piece(b"data: 1\n\n"))
    await asyncio.sleep(0)
    await pinged(reply)
    assert len(client.messages) == 2
    free.set()
    await writing


async def test_keep_alive_pings_only_what_is_silent(client: Client) -> None:
    keep_alive, silent, flowing = (
        KeepAlive(0.1),
        client.reply(),
        Client().reply(),
    )
    running = asyncio.create_task(keep_alive.run())
    keep_alive.add(silent)
    keep_alive.add(flowing)
    await flowing.start(200, [])
    for _ in range(12):
        await flowing.piece(b"data: 1\n\n")
        await asyncio.sleep(0.02)
    keep_alive.remove(silent)
    running.cancel()
    assert 1 <= client.body.count(b"event: ping") <= 3
    assert flowing.size_bytes == 12 * len(b"data: 1\n\n")


# ---- brands and browsers ----


async def test_a_brand_has_its_own_names_for_our_request_id_and_the_account(client: Client) -> None:
    brand = Brand(request_id_header="X-CC-Request-Id", upstream_account_id_header="X-CC-Account-Id")
    reply = client.reply(brand)
    reply.upstream_account_id = "acc_1"
    await reply.whole(200, [], b"")
    assert client.headers[b"x-request-id"] == client.headers[b"x-cc-request-id"] == b"req_1"
    assert client.headers[b"x-cc-account-id"] == b"acc_1"


@pytest.mark.parametrize("api", Api)
async def test_a_page_may_read_whatever_the_answer_begins_with(api: Api) -> None:
    async def whole(reply: Reply) -> None:
        await reply.whole(200, [], b"")

    async def refused(reply: Reply) -> None:
        await reply.refuse(Refusal(Kind.INTERNAL, "no"))

    async def streamed(reply: Reply) -> None:
        await reply.start(200, [])

    async def pinged(reply: Reply) -> None:
        reply.ping_soon()
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    for begin in (whole, refused, streamed, pinged):
        client = Client()
        await begin(client.reply(api=api, from_browser=True))
        assert client.headers[b"access-control-allow-origin"] == b"*", begin.__name__
        assert b"x-request-id" in client.headers[b"access-control-expose-headers"]
