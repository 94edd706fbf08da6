"""Clients that attack the edge over raw sockets: what frames a message is read in one way or refused, and nothing that
a client does or leaves undone keeps a part of the edge for long."""

import contextlib
import json
import time
from collections.abc import Iterator

import pytest

from bench.firehose import Firehose, firehose
from tests.deployment import Deployment, deployed, eventually, message
from tests.raw_http import connected, rest_of, said_to

BODY = json.dumps(message()).encode()
LENGTH = b"content-length: %d\r\n" % len(BODY)
CHUNKED = b"transfer-encoding: chunked\r\n"
IN_CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
POST = b"POST /v1/messages HTTP/1.1\r\nhost: gateway\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: gateway\r\n\r\n"
CONNECTIONS = 40
BODY_BYTES = 250_000
BYTES_OF_A_STREAM = 2_000_000_000
HOSED = "claude-attack-firehose"

MALFORMED = {
    "both lengths, the number first": (LENGTH + CHUNKED, IN_CHUNKS),
    "both lengths, the coding first": (CHUNKED + LENGTH, IN_CHUNKS),
    "a number that hides a request": (b"content-length: 4\r\n" + CHUNKED, b"0\r\n\r\n"),
    "two equal numbers": (LENGTH + LENGTH, BODY),
    "two numbers": (LENGTH + b"content-length: 4\r\n", BODY),
    "a list of numbers": (b"content-length: 4, 4\r\n", BODY),
    "a signed number": (b"content-length: +%d\r\n" % len(BODY), BODY),
    "a negative number": (b"content-length: -1\r\n", BODY),
    "a number beyond all bounds": (b"content-length: 99999999999999999999999\r\n", BODY),
    "a number in hexadecimal": (b"content-length: 0x10\r\n", BODY),
    "a space before the colon": (b"content-length : %d\r\n" % len(BODY), BODY),
    "a coding on a folded line": (b"transfer-encoding:\r\n chunked\r\n", IN_CHUNKS),
    "a coding that is twice there": (CHUNKED + CHUNKED, IN_CHUNKS),
    "a coding behind a vertical tab": (b"transfer-encoding:\x0bchunked\r\n", IN_CHUNKS),
    "a coding that is none": (b"transfer-encoding: xchunked\r\n", IN_CHUNKS),
    "a coding after chunked": (b"transfer-encoding: chunked, identity\r\n", IN_CHUNKS),
    "a coding that nobody undoes": (b"transfer-encoding: gzip, chunked\r\n", IN_CHUNKS),
    "a folded line": (LENGTH + b"x-app: a\r\n b\r\n", BODY),
    "a line that ends in LF": (LENGTH + b"x-app: a\n", BODY),
    "CR within a line": (LENGTH + b"x-app: a\rx-api-key: b\r\n", BODY),
    "NUL in a value": (LENGTH + b"x-app: a\0b\r\n", BODY),
    "a control character in a value": (LENGTH + b"x-app: a\x01b\r\n", BODY),
    "a field without a name": (LENGTH + b": b\r\n", BODY),
    "a chunk of more bytes than there are numbers": (CHUNKED, b"fffffffffffffffff\r\n" + BODY),
    "a chunk with a sign": (CHUNKED, b"-%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "a chunk with 0x": (CHUNKED, b"0x%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "a chunk that ends in nothing": (CHUNKED, b"%x\r\n%bXX0\r\n\r\n" % (len(BODY), BODY)),
    "chunks whose lines end in LF": (CHUNKED, b"%x\n%b\n0\n\n" % (len(BODY), BODY)),
    "LF in an extension of a chunk": (CHUNKED, b"%x;a\n\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)),
    "a length among the trailers": (CHUNKED, IN_CHUNKS[:-2] + b"content-length: 4\r\n\r\n"),
    "two hosts": (LENGTH + b"host: other\r\n", BODY),
}
"""Lines of a head behind its first two, and the body."""


@pytest.fixture(scope="module")
def hose() -> Iterator[Firehose]:
    with firehose(BYTES_OF_A_STREAM) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, hose: Firehose) -> Iterator[Deployment]:
    """One edge that waits for nobody."""
    short = {"HEAD_TIMEOUT_S": "1", "BODY_TIMEOUT_S": "1", "SEND_TIMEOUT_S": "1"}
    bodies = {"BODIES_MAX_BYTES": str(2 * BODY_BYTES), "BODY_MAX_BYTES": str(BODY_BYTES)}
    limits = short | bodies | {"CONNECTIONS_PER_ADDRESS": str(CONNECTIONS)}
    settings = {f"TOLLHOUSE_EDGE_{name}": value for name, value in limits.items()}
    with deployed(tmp_path_factory.mktemp("attacked") / "state", **settings) as deployment:
        deployment.account("attack-hose", hose.url, {HOSED: HOSED})
        eventually(lambda: listed(deployment, HOSED), what="the model is known")
        yield deployment


def listed(gateway: Deployment, model: str) -> bool:
    return gateway.call("GET", f"/v1/models/{model}", {"x-api-key": gateway.key}).status == 200


def key_line(gateway: Deployment) -> bytes:
    return f"x-api-key: {gateway.key}\r\n".encode()


def last_request(gateway: Deployment) -> bytes:
    """A good one, after which the edge closes: its status shows that what came before was read as it was meant."""
    return b"GET /v1/models HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n" + key_line(gateway) + b"\r\n"


# ---- framing ----


@pytest.mark.parametrize(("lines", "body"), MALFORMED.values(), ids=MALFORMED)
def test_a_message_with_doubtful_framing_is_refused_and_nothing_behind_it_is_read(
    gateway: Deployment, lines: bytes, body: bytes
) -> None:
    said = said_to(gateway.base_url, POST + key_line(gateway) + lines + b"\r\n" + body + SMUGGLED)
    (status,) = said.statuses
    assert status in (400, 501)


@pytest.mark.parametrize(
    "body",
    [IN_CHUNKS, b"%x;name=value\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY), IN_CHUNKS[:-2] + b"x-trailer: 1\r\n\r\n"],
    ids=["chunks", "an extension", "a trailer"],
)
def test_a_body_in_chunks_ends_where_it_says(gateway: Deployment, body: bytes) -> None:
    request = POST + key_line(gateway) + CHUNKED + b"\r\n" + body
    assert said_to(gateway.base_url, request + last_request(gateway)).statuses == [200, 200]


@pytest.mark.parametrize("trailer", [b"x-api-key: other", b"authorization: Bearer other", b"content-encoding: gzip"])
def test_trailers_are_no_headers(gateway: Deployment, trailer: bytes) -> None:
    request = POST + key_line(gateway) + CHUNKED + b"\r\n" + IN_CHUNKS[:-2] + trailer + b"\r\n\r\n"
    assert said_to(gateway.base_url, request + last_request(gateway)).statuses == [200, 200]


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"TLS/1.3, x"])
@pytest.mark.parametrize("pause_s", [0.0, 0.1], ids=["at once", "in pieces"])
def test_an_upgrade_is_ignored_and_hides_no_request_in_a_body(
    gateway: Deployment, protocol: bytes, pause_s: float
) -> None:
    upgrade = b"connection: upgrade, http2-settings\r\nhttp2-settings: AAMAAABk\r\nupgrade: " + protocol + b"\r\n"
    body = json.dumps(message(system=SMUGGLED.decode())).encode()
    head = POST + key_line(gateway) + upgrade + b"content-length: %d\r\n\r\n" % len(body)
    said = said_to(gateway.base_url, head, body, last_request(gateway), pause_s=pause_s)
    assert said.statuses == [200, 200]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"GET http://gateway/v1/models HTTP/1.1\r\nhost: other", 200),
        (b"GET ftp://gateway/v1/models HTTP/1.1\r\nhost: gateway", 400),
        (b"GET http://user@gateway/v1/models HTTP/1.1\r\nhost: gateway", 400),
        (b"GET http://gateway:99999/v1/models HTTP/1.1\r\nhost: gateway", 400),
        (b"GET models HTTP/1.1\r\nhost: gateway", 400),
        (b"GET /v1/mod\0els HTTP/1.1\r\nhost: gateway", 400),
        (b"GET /v1/\xff HTTP/1.1\r\nhost: gateway", 400),
        (b"GET /v1/models%00%0d%0aset-cookie:%20a HTTP/1.1\r\nhost: gateway", 404),
        (b"GET /v1/../v1/models HTTP/1.1\r\nhost: gateway", 404),
        (b"GET /v1/models HTTP/1.1\r\nx: y", 400),
        (b"GET /v1/models HTTP/1.1\r\nhost: a/../b@c", 400),
        (b"GET /v1/models HTTP/1.2\r\nhost: gateway", 400),
        (b"GET /v1/models HTTP/2.0\r\nhost: gateway", 505),
        (b"GET /v1/models", 505),
        (b"OPTIONS * HTTP/1.1\r\nhost: gateway", 404),
        (b"CONNECT gateway:443 HTTP/1.1\r\nhost: gateway", 405),
        (b"TRACE /v1/messages HTTP/1.1\r\nhost: gateway", 405),
        (b"FOO /v1/models HTTP/1.1\r\nhost: gateway", 400),
        (b"PRI * HTTP/2.0", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)
def test_odd_first_lines_have_one_answer(gateway: Deployment, target: bytes, status: int) -> None:
    said = said_to(gateway.base_url, target + b"\r\nconnection: close\r\n" + key_line(gateway) + b"\r\n")
    assert said.statuses == [status]
    assert b"set-cookie" not in said.data.partition(b"\r\n\r\n")[0]


def test_a_client_that_was_not_told_to_continue_is_not_taken_to_send_its_body(gateway: Deployment) -> None:
    refused = POST + LENGTH + b"expect: 100-continue\r\n\r\n"
    assert said_to(gateway.base_url, refused, last_request(gateway), pause_s=0.2).statuses == [401]


def test_a_client_that_asks_whether_to_continue_is_told_so(gateway: Deployment) -> None:
    head = POST + key_line(gateway) + LENGTH + b"expect: 100-continue\r\n\r\n"
    assert said_to(gateway.base_url, head, BODY, pause_s=0.2).statuses == [100, 200]


def test_what_follows_a_good_request_is_refused_after_its_answer(gateway: Deployment) -> None:
    said = said_to(gateway.base_url, POST + key_line(gateway) + LENGTH + b"\r\n" + BODY + b"\0\1\r\n\r\n")
    assert said.statuses == [200]
    assert json.loads(said.data.partition(b"\r\n\r\n")[2])["type"] == "message"


def test_requests_are_answered_in_order_and_only_so_many_may_wait(gateway: Deployment) -> None:
    one = b"GET /v1/balance HTTP/1.1\r\nhost: gateway\r\n" + key_line(gateway) + b"\r\n"
    statuses = said_to(gateway.base_url, one * 1000).statuses
    assert set(statuses) == {200}
    assert len(statuses) < 20


# ---- sizes ----


@pytest.mark.parametrize(
    "lines",
    [
        b"user-agent: " + b"a" * 70_000 + b"\r\n",
        b"user-agent: " + b"a" * 3_000_000 + b"\r\n",
        b"a: b\r\n" * 300,
        b"a: b\r\n" * 300_000,
        b"x" * 200_000 + b": a\r\n",
    ],
    ids=["a long value", "a longer value", "many fields", "more fields", "a long name"],
)
def test_a_head_over_the_limit_is_refused(gateway: Deployment, lines: bytes) -> None:
    said = said_to(gateway.base_url, POST + key_line(gateway) + LENGTH + lines + b"\r\n" + BODY)
    assert said.statuses in ([431], [])  # closed with bytes unread, the network may lose the answer
    assert gateway.messages(gateway.key).status == 200


def test_a_long_url_is_refused(gateway: Deployment) -> None:
    said = said_to(gateway.base_url, b"GET /v1/models?" + b"a" * 100_000 + b" HTTP/1.1\r\nhost: gateway\r\n\r\n")
    assert said.statuses in ([431], [])


@pytest.mark.parametrize(
    "endless", [b"1;" + b"a" * 500_000, b"0\r\nx: " + b"a" * 500_000, b"0\r\n" + b"a: b\r\n" * 90_000]
)
def test_bytes_of_a_body_that_are_no_body_have_an_end(gateway: Deployment, endless: bytes) -> None:
    head = POST + key_line(gateway) + CHUNKED + b"\r\n"
    assert said_to(gateway.base_url, head, endless).statuses in ([431], [])


@pytest.mark.parametrize("coding", [b"gzip", b"deflate", b"br", b"zstd", b"identity, gzip", b"x"])
def test_a_compressed_body_is_refused_unread(gateway: Deployment, coding: bytes) -> None:
    head = POST + key_line(gateway) + LENGTH + b"content-encoding: " + coding + b"\r\nconnection: close\r\n\r\n"
    said = said_to(gateway.base_url, head + BODY)
    assert said.statuses == [415]
    assert b"content-encoding" in said.data.partition(b"\r\n\r\n")[2]


def test_nul_in_what_is_written_down_does_not_keep_it_from_being_booked(gateway: Deployment) -> None:
    tenant = gateway.tenant()
    answer = gateway.messages(tenant.key, metadata={"user_id": "a\0b"}, system="\0")
    assert answer.status == 200
    assert gateway.usage_of(tenant.key, answer.headers["x-request-id"]).status == 200
    assert gateway.messages(tenant.key, model="no\0model").status == 404


# ---- time ----


def test_a_connection_without_a_word_is_closed(gateway: Deployment) -> None:
    with connected(gateway.base_url) as sock:
        assert rest_of(sock).data == b""


@pytest.mark.parametrize("before", [b"", b"GET / HTTP/1.1\r\nhost: gateway\r\n\r\n"], ids=["at first", "kept alive"])
def test_a_head_that_comes_in_drops_is_given_up(gateway: Deployment, before: bytes) -> None:
    with connected(gateway.base_url) as sock:
        sock.sendall(before + b"GET / HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionError):
            for number in range(100):
                sock.sendall(b"x-%d: y\r\n" % number)
                time.sleep(0.05)
        assert rest_of(sock).statuses[-1:] in ([408], [])


def test_a_body_that_comes_in_drops_is_given_up(gateway: Deployment) -> None:
    with connected(gateway.base_url) as sock:
        sock.sendall(POST + key_line(gateway) + b"content-length: %d\r\n\r\n" % BODY_BYTES + BODY[:1])
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                sock.sendall(b" ")
                time.sleep(0.05)
        said = rest_of(sock)
    assert said.statuses in ([408], [])


def test_the_rest_of_a_body_that_was_refused_is_not_read_for_ever(gateway: Deployment) -> None:
    def send_on() -> None:
        for _ in range(400):
            sock.sendall(b" " * 1000)
            time.sleep(0.025)

    with connected(gateway.base_url) as sock:
        sock.sendall(POST + b"content-length: 100000000000\r\n\r\n")
        with pytest.raises(ConnectionError):
            send_on()


def test_a_client_that_takes_nothing_of_its_answer_is_left_and_its_upstream_too(
    gateway: Deployment, hose: Firehose
) -> None:
    tenant = gateway.tenant(dollars=10_000)
    body = json.dumps(message(model=HOSED, stream=True, max_tokens=64_000)).encode()
    head = POST + f"x-api-key: {tenant.key}\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    with connected(gateway.base_url) as sock:
        sock.sendall(head + body)
        eventually(lambda: hose.broken == 1, within_s=30, what="the upstream's connection is closed")
    eventually(lambda: len(gateway.usages(tenant.tenant_id)) == 1, what="what was produced is booked")


# ---- numbers ----


def test_one_address_has_so_many_connections_and_no_more(gateway: Deployment) -> None:
    with contextlib.ExitStack() as held:
        socks = [held.enter_context(connected(gateway.base_url)) for _ in range(CONNECTIONS + 5)]
        assert rest_of(socks[-1]).statuses == [429]
    eventually(lambda: said_to(gateway.base_url, last_request(gateway)).statuses == [200], what="they are free again")


def test_bodies_that_do_not_end_have_so_much_room_and_no_more(gateway: Deployment) -> None:
    known, blank = {"x-api-key": gateway.key}, b" " * 120_000
    part = b"%b%bcontent-length: %d\r\n\r\n%b" % (POST, key_line(gateway), BODY_BYTES, blank)
    answers = [gateway.call("POST", "/v1/messages", known, blank)]
    assert answers[0].status == 400, "there is room, but that is no JSON"
    with contextlib.ExitStack() as held:
        for _ in range(5):
            held.enter_context(connected(gateway.base_url)).sendall(part)
        while answers[-1].status == 400 and len(answers) < 50:
            answers.append(gateway.call("POST", "/v1/messages", known, blank))
    assert answers[-1].status == 503
    assert answers[-1].json()["error"]["type"] == "overloaded_error"
    assert answers[-1].headers["retry-after"] == "2"
    eventually(lambda: gateway.messages(gateway.key).status == 200, what="there is room again")
