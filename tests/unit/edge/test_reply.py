"""Unit tests of services.edge.reply."""

import json
from typing import Any

import pytest

from services.edge.reply import Reply
from services.shared.errors import Kind, Refusal


class Client:
    """What a client was sent, as ASGI says it."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    async def send(self, message: dict[str, Any]) -> None:
        self.messages.append(message)

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
    return Reply(client.send, "req_1")


async def test_a_whole_answer_says_its_length_and_its_request_id(client: Client, reply: Reply) -> None:
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
