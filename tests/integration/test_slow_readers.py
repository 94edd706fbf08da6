"""Clients that read slowly hold back their upstreams, not the edge; and a large body is there once."""

import json
import time
from collections.abc import Iterator

import pytest

from bench import processes
from bench.firehose import Firehose, firehose
from bench.readers import SlowReaders
from tests.deployment import Deployment, deployed, eventually

MB = 1_000_000
MODEL = "claude-firehose"
READERS = 20
STREAM_BYTES = 60 * MB
GROWTH_MOST_MIB = 80
"""Of 1,200 MB that the streams have."""
BODY_BYTES = 20 * MB
BODY_MOST_MIB = 32
"""Once, and what comes with it; twice would be 38."""


@pytest.fixture(scope="module")
def hose() -> Iterator[Firehose]:
    with firehose(STREAM_BYTES, plain_after_s=0.5) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, hose: Firehose) -> Iterator[Deployment]:
    with deployed(tmp_path_factory.mktemp("slow") / "state") as deployment:
        deployment.account("firehose", hose.url, {MODEL: MODEL})
        known = {"x-api-key": deployment.key}
        eventually(
            lambda: deployment.call("GET", f"/v1/models/{MODEL}", known).status == 200, what="the model is known"
        )
        yield deployment


def edge_of(gateway: Deployment) -> int:
    (pid,) = gateway.pids("edge")
    return pid


def test_a_large_body_is_held_once(gateway: Deployment) -> None:
    tenant, edge = gateway.tenant(dollars=10_000), edge_of(gateway)
    body = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "x" * BODY_BYTES}]}
    before_mib = processes.resident_mib([edge])  # the first test here: memory that was used before would be used again
    processes.forget_peak(edge)
    answer = gateway.call("POST", "/v1/messages", {"x-api-key": tenant.key}, json.dumps(body).encode())
    assert answer.status == 200
    assert processes.peak_mib(edge) - before_mib < BODY_MOST_MIB


def test_slow_readers_hold_back_their_upstreams_and_nobody_else(gateway: Deployment, hose: Firehose) -> None:
    tenant, edge = gateway.tenant(dollars=10_000), edge_of(gateway)
    assert gateway.messages(tenant.key).status == 200
    before_mib = processes.resident_mib([edge])
    with SlowReaders(gateway.base_url, tenant.key, MODEL, READERS) as readers:
        eventually(lambda: len(hose.sent_bytes) == READERS, what="every stream has begun")
        most_mib, sent = 0.0, -1
        while sent != (sent := sum(hose.sent_bytes.values())):  # until no upstream can send any more
            readers.read_a_byte()
            assert gateway.messages(tenant.key).status == 200
            most_mib = max(most_mib, processes.resident_mib([edge]))
            time.sleep(0.5)
        assert readers.read_a_byte() == READERS, "every reader has something to read"
        assert max(hose.sent_bytes.values()) < STREAM_BYTES // 2
        assert most_mib - before_mib < GROWTH_MOST_MIB
    eventually(lambda: hose.broken == READERS, what="the upstreams' connections are closed with their readers'")
