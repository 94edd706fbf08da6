"""Clients that leave and upstreams that break off: the upstream's connection is closed, the bill is right, nothing is
left behind."""

import json
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.deployment import MODEL, SONNET_NANO, Deployment, Tenant, eventually, message
from tollhouse.v1 import events_pb2, router_pb2, usage_pb2


def open_stream(
    tollhouse: Deployment, tenant: Tenant, script: str, path: str = "/v1/messages", **fields: Any
) -> socket.socket:
    """Sends a request and answers its connection, nothing of the answer read yet."""
    parts = urlsplit(tollhouse.base_url)
    body = json.dumps(message(**fields)).encode()
    sock = socket.create_connection((parts.hostname, parts.port), timeout=20)
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {tenant.key}\r\nx-simulator: {script}\r\n"
    sock.sendall(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
    return sock


def unchunked(answer: bytes) -> bytes:
    """The body of an answer that came in chunks, whose borders may lie anywhere."""
    rest = answer.partition(b"\r\n\r\n")[2]
    chunks: list[bytes] = []
    while True:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return b"".join(chunks)
        chunks.append(rest[:length])
        rest = rest[length + len(b"\r\n") :]


def only_usage(tollhouse: Deployment, tenant: Tenant) -> usage_pb2.Usage:
    """The one request that the tenant made, once it is booked."""
    eventually(lambda: len(tollhouse.usages(tenant.tenant_id)) == 1, what="the request is booked")
    return tollhouse.usages(tenant.tenant_id)[0]


def in_flight(tollhouse: Deployment) -> int:
    accounts = tollhouse.router.ListUpstreamAccounts(router_pb2.ListUpstreamAccountsRequest()).accounts
    return sum(account.in_flight for account in accounts)


def assert_nothing_is_left(tollhouse: Deployment, tenant: Tenant) -> None:
    """No lease, no open upstream request, and all that was not spent can be spent: no hold."""
    eventually(lambda: in_flight(tollhouse) == 0, what="no lease stands")
    eventually(lambda: tollhouse.served()["open"] == 0, what="no upstream request is open")
    left_nano = tollhouse.balance_nano(tenant.tenant_id)
    tokens = left_nano // SONNET_NANO["output"] - 100
    eventually(
        lambda: tollhouse.messages(tenant.key, simulator="tokens=1", max_tokens=tokens).status == 200,
        what="the whole balance can be held",
    )


def test_a_client_that_leaves_in_mid_stream_pays_for_what_was_produced(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=1)
    aborted = tollhouse.served()["aborted"]
    sock = open_stream(tollhouse, tenant, "tokens=500;gap_ms=20;input_tokens=123", stream=True, max_tokens=600)
    received = b""
    while received.count(b"content_block_delta\n") < 10:
        received += sock.recv(65536)
    sock.close()
    eventually(lambda: tollhouse.served()["aborted"] == aborted + 1, what="the upstream sees it")
    usage = only_usage(tollhouse, tenant)
    assert usage.status == events_pb2.USAGE_STATUS_CLIENT_GONE
    assert usage.estimated
    assert usage.tokens.input == 123
    assert 10 <= usage.tokens.output <= 40
    assert usage.cost_nano == 123 * SONNET_NANO["input"] + usage.tokens.output * SONNET_NANO["output"]
    assert tollhouse.balance_nano(tenant.tenant_id) == 1_000_000_000 - usage.cost_nano
    assert_nothing_is_left(tollhouse, tenant)


def test_a_client_that_leaves_just_before_the_end_pays_what_the_upstream_says(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=1)
    sock = open_stream(tollhouse, tenant, "tokens=12;gap_ms=40;input_tokens=123", stream=True, max_tokens=600)
    received = b""
    while received.count(b"content_block_delta\n") < 11:
        received += sock.recv(65536)
    sock.close()
    usage = only_usage(tollhouse, tenant)
    assert usage.status == events_pb2.USAGE_STATUS_CLIENT_GONE or usage.status == events_pb2.USAGE_STATUS_OK
    assert not usage.estimated
    assert (usage.tokens.input, usage.tokens.output) == (123, 12)
    assert_nothing_is_left(tollhouse, tenant)


def test_a_client_of_chat_that_leaves_at_the_reason_to_finish_is_charged_exactly(tollhouse: Deployment) -> None:
    kind = router_pb2.UPSTREAM_KIND_OPENAI
    tollhouse.account("leaving-chat", tollhouse.simulator_url, {"gpt-left": "gpt-5.2"}, kind=kind)
    eventually(lambda: b"gpt-left" in tollhouse.call("GET", "/v1/models", {"x-api-key": tollhouse.key}).body)
    tenant = tollhouse.tenant(dollars=1)
    script = "tokens=5;gap_ms=50;input_tokens=900;cache_read=500"
    path = "/v1/chat/completions"
    sock = open_stream(tollhouse, tenant, script, path=path, model="gpt-left", stream=True, max_tokens=600)
    received = b""
    while b'"finish_reason":"stop"' not in received:
        received += sock.recv(65536)
    sock.close()
    usage = only_usage(tollhouse, tenant)
    assert (usage.tokens.input, usage.tokens.cache_read, usage.tokens.output) == (900, 500, 5)
    assert not usage.estimated


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_before_the_first_byte_pays_nothing(tollhouse: Deployment, stream: bool) -> None:
    tenant = tollhouse.tenant(dollars=1)
    open_before = tollhouse.served()["open"]
    sock = open_stream(tollhouse, tenant, "first_ms=5000", stream=stream)
    eventually(lambda: tollhouse.served()["open"] == open_before + 1, what="it reached the upstream")
    sock.close()
    usage = only_usage(tollhouse, tenant)
    assert usage.status == events_pb2.USAGE_STATUS_CLIENT_GONE
    assert usage.cost_nano == 0
    assert_nothing_is_left(tollhouse, tenant)


def test_an_upstream_that_breaks_off_ends_the_stream_with_an_error_event(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=1)
    answer = tollhouse.messages(tenant.key, simulator="tokens=50;gap_ms=5;cut_after=10;input_tokens=77", stream=True)
    assert answer.status == 200
    last = answer.body.decode().strip().split("\n\n")[-1]
    assert last.startswith("event: error\ndata: ")
    error = json.loads(last.split("data: ")[1])
    assert error["type"] == "error"
    assert answer.headers["x-request-id"] in error["error"]["message"]
    usage = only_usage(tollhouse, tenant)
    assert usage.status == events_pb2.USAGE_STATUS_INTERRUPTED
    assert usage.estimated
    assert usage.tokens.input == 77
    assert 1 <= usage.tokens.output <= 50
    assert_nothing_is_left(tollhouse, tenant)


def test_an_upstream_that_falls_silent_in_mid_stream_is_given_up(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=1)
    answer = tollhouse.messages(tenant.key, simulator="hang=after;cut_after=8;gap_ms=5", stream=True)
    assert b"event: error" in answer.body
    usage = only_usage(tollhouse, tenant)
    assert usage.status == events_pb2.USAGE_STATUS_INTERRUPTED
    assert_nothing_is_left(tollhouse, tenant)


def test_a_plain_answer_that_breaks_off_is_502_and_free(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=1)
    answer = tollhouse.messages(tenant.key, simulator="cut_after=1")
    assert answer.status == 502
    usage = only_usage(tollhouse, tenant)
    assert (usage.status, usage.cost_nano) == (events_pb2.USAGE_STATUS_UPSTREAM_FAULT, 0)
    assert_nothing_is_left(tollhouse, tenant)


def test_a_stream_that_begins_with_an_error_costs_nothing(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=1)
    answer = tollhouse.messages(tenant.key, simulator="error_first=1", stream=True)
    assert b"overloaded_error" in answer.body
    assert only_usage(tollhouse, tenant).cost_nano == 0


def test_a_slow_reader_gets_the_whole_answer(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=10)
    sock = open_stream(tollhouse, tenant, "tokens=20000", stream=True, max_tokens=20_000)
    received = b""
    while not received.endswith(b"0\r\n\r\n"):
        received += sock.recv(100_000)
        time.sleep(0.002)
    sock.close()
    assert unchunked(received).count(b"event: content_block_delta") == 20_000
    usage = only_usage(tollhouse, tenant)
    assert (usage.tokens.output, usage.estimated, usage.model) == (20_000, False, MODEL)
