"""Upstreams that mean harm: their client gets a clean error or a clean answer, the edge stays small, nobody else's
request is touched, and nothing that they count is believed beyond reason."""

import itertools
import json
from collections.abc import Iterable, Iterator

import pytest

from bench import processes
from tests.deployment import Answer, Deployment, eventually
from tests.hostile_upstream import ANSWER, OK, HostileUpstream, hostile, whole

STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
FAILING: dict[str, Iterable[bytes]] = {
    "endless-head": itertools.chain([OK], itertools.repeat(b"x-more: " + b"a" * 8000 + b"\r\n")),
    "endless-field": itertools.chain([OK, b"x-more: "], itertools.repeat(b"a" * 65536)),
    "endless-informational": itertools.repeat(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" * 100),
    "endless-answer": itertools.chain([OK, b"\r\n"], itertools.repeat(b" " * 65536)),
    "endless-extension": itertools.chain([OK, b"transfer-encoding: chunked\r\n\r\n1;"], itertools.repeat(b"a" * 65536)),
    "folded-field": [whole(head=b"request-id: a\r\n set-cookie: b\r\n")],
    "bare-cr": [whole(head=b"request-id: a\rset-cookie: b\r\n")],
    "control-character": [whole(head=b"request-id: a\x00b\r\n")],
    "two-lengths": [whole(head=b"content-length: 3\r\n")],
    "length-and-chunks": [whole(head=b"transfer-encoding: chunked\r\n")],
    "cut-short": [OK + b"content-length: 100000\r\n\r\n" + ANSWER],
    "gzip-bomb": [whole(head=b"content-encoding: gzip\r\n", body=b"\x1f\x8b\x08" + b"\0" * 1000)],
    "redirect": [b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /kept-plain\r\ncontent-length: 0\r\n\r\n"],
    "switching": [b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"],
    "status-999": [whole().replace(b"200 OK", b"999 Odd")],
    "status-600": [whole().replace(b"200 OK", b"600 Odd")],
    "no-http": [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 10],
}
OTHERS: dict[str, Iterable[bytes]] = {
    "kept-plain": [whole()],
    "kept-two-answers": [whole() + whole(ANSWER.replace(b"msg_hostile", b"msg_of_another"))],
    "cookies": [
        whole(
            head=b"set-cookie: a=b\r\nserver: x\r\nlocation: http://x/\r\naccess-control-allow-origin: http://evil\r\n"
            b"x-request-id: up\r\nanthropic-organization-id: ours\r\nstrict-transport-security: max-age=1\r\n"
        )
    ],
    "nested": [whole(b'{"a":' * 100_000)],
    "too-many-tokens": [whole(ANSWER.replace(b":20}", b":" + b"9" * 30 + b"}"))],
    "negative-tokens": [whole(ANSWER.replace(b":20}", b":-20}"))],
    "endless-line": itertools.chain([STREAM], itertools.repeat(b"10000\r\n" + b"x" * 65536 + b"\r\n", 4000)),
}
GROWTH_MOST_MIB = 150
"""Of 250 MB of one line; a plain answer of 64 MiB was refused just before."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[HostileUpstream]:
    with hostile(FAILING | OTHERS) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tollhouse: Deployment, upstream: HostileUpstream) -> Deployment:
    """With an account for each scene, of the model that is called like it."""
    for scene in upstream.scenes:
        tollhouse.account(f"hostile-{scene}", upstream.url(scene), {scene: scene})
    eventually(lambda: all(listed(tollhouse, scene) for scene in upstream.scenes), 30, "the models are known")
    return tollhouse


def listed(gateway: Deployment, model: str) -> bool:
    return gateway.call("GET", f"/v1/models/{model}", {"x-api-key": gateway.key}).status == 200


def asked(gateway: Deployment, scene: str) -> Answer:
    return gateway.messages(gateway.key, model=scene)


@pytest.mark.parametrize("scene", FAILING)
def test_an_answer_that_is_none_becomes_a_clean_error(gateway: Deployment, scene: str) -> None:
    answer = asked(gateway, scene)
    assert answer.status in (502, 503, 504)
    assert answer.json()["type"] == "error"
    assert "set-cookie" not in answer.headers


def test_a_redirect_is_not_followed(gateway: Deployment, upstream: HostileUpstream) -> None:
    before = upstream.asked["kept-plain"]
    assert asked(gateway, "redirect").status in (502, 503)
    assert upstream.asked["kept-plain"] == before


def test_an_answer_that_nobody_asked_for_reaches_nobody(gateway: Deployment) -> None:
    for _ in range(5):
        answer = asked(gateway, "kept-two-answers")
        assert (answer.status, answer.body) == (200, ANSWER)


def test_of_an_answers_headers_only_known_ones_go_on(gateway: Deployment) -> None:
    answer = asked(gateway, "cookies")
    assert answer.status == 200
    assert answer.headers.keys() <= {"date", "content-type", "content-length", "request-id", "x-request-id"}
    assert answer.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize("scene", ["nested", "too-many-tokens", "negative-tokens"])
def test_what_cannot_be_read_of_an_answer_is_estimated_and_booked(gateway: Deployment, scene: str) -> None:
    tenant = gateway.tenant()
    answer = gateway.messages(tenant.key, model=scene)
    assert answer.status == 200
    usage = json.loads(gateway.usage_of(tenant.key, answer.headers["x-request-id"]).body)
    assert usage
    assert 0 < gateway.balance_nano(tenant.tenant_id) <= 10 * 10**9


def test_a_stream_of_one_line_does_not_fill_the_edge(gateway: Deployment) -> None:
    edges = gateway.pids("edge")
    before_mib = processes.resident_mib(edges)
    tenant = gateway.tenant(dollars=10_000)
    answer = gateway.messages(tenant.key, model="endless-line", stream=True, max_tokens=64_000)
    assert answer.status == 200
    assert processes.resident_mib(edges) - before_mib < GROWTH_MOST_MIB
