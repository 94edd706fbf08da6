"""Unit tests of services.edge.traces: which requests are traced."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from services.edge.apis import Api
from services.edge.reply import Reply
from services.edge.settings import EdgeSettings
from services.edge.traces import Traces
from services.shared.settings import Secret
from services.shared.tracing import Trace, Tracer
from tests.unit.edge.test_metrics import answered, reply

SETTINGS = EdgeSettings(
    nats_url=Secret(""), key_pepper=Secret(""), ledger_token=Secret(""), journal_dir="", trace_share=0.5
)
SAMPLED = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
UNSAMPLED = SAMPLED[:-1] + b"0"
TRACE_ID = 0x4BF92F3577B34DA6A3CE929D0E0E4736
HEADS, TAILS = 0.49, 0.5


@pytest.fixture
async def tracer(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Tracer]:
    """One that is on; what it exports finds nobody."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    made = Tracer("edge", "edge-0")
    yield made
    await made.close()


def traces(tracer: Tracer, coin: float, **settings: object) -> Traces:
    return Traces(tracer, replace(SETTINGS, **settings), lambda: coin)  # type: ignore[arg-type]


def late(made: Traces, told: Reply, now_s: float = 105.0) -> Trace | None:
    """The trace that a request without one has at its end."""
    return made.ended(None, Api.MESSAGES, answered(), told, 100.0, now_s)


def test_the_coin_decides_without_a_client(tracer: Tracer) -> None:
    found = traces(tracer, HEADS).begin(b"")
    assert found is not None
    assert found.sampled
    assert traces(tracer, TAILS).begin(b"") is None


@pytest.mark.parametrize("header", [SAMPLED, UNSAMPLED])
def test_a_clients_ids_are_kept_and_the_coin_decides(tracer: Tracer, header: bytes) -> None:
    for coin, sampled in ((HEADS, True), (TAILS, False)):
        trace = traces(tracer, coin).begin(header)
        assert trace is not None
        assert (trace.trace_id, trace.parent_id, trace.sampled) == (TRACE_ID, 0x00F067AA0BA902B7, sampled)


def test_a_client_decides_only_where_the_operator_lets_it(tracer: Tracer) -> None:
    for header, sampled in ((SAMPLED, True), (UNSAMPLED, False)):
        trace = traces(tracer, TAILS, trace_by_clients=True).begin(header)
        assert trace is not None
        assert trace.sampled == sampled


@pytest.mark.parametrize("header", [b"nonsense", b"\xff\xfe"])
def test_a_malformed_header_is_as_good_as_none(tracer: Tracer, header: bytes) -> None:
    assert traces(tracer, TAILS).begin(header) is None
    assert traces(tracer, HEADS).begin(header) is not None


def test_nothing_is_sampled_where_spans_go_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", raising=False)
    off = traces(Tracer("edge", "edge-0"), 0.0, trace_share=1.0, trace_by_clients=True)
    assert off.begin(b"") is None
    trace = off.begin(SAMPLED)
    assert trace is not None
    assert not trace.sampled
    assert late(off, reply(500, "internal")) is None


def test_what_fails_is_traced_after_all_unless_its_client_is_to_blame(tracer: Tracer) -> None:
    made = traces(tracer, TAILS)
    assert late(made, reply(502, "upstream_failed")) is not None
    assert late(made, reply(200, "upstream_failed")) is not None
    assert late(made, reply(400, "invalid_request")) is None
    assert late(made, reply()) is None


def test_what_we_held_up_for_long_is_traced_after_all(tracer: Tracer) -> None:
    told = reply(first_byte_s=103.0)  # of which 2.4 s were the upstream's
    assert late(traces(tracer, TAILS, trace_slow_ms=500), told) is not None
    assert late(traces(tracer, TAILS, trace_slow_ms=700), told) is None
    assert late(traces(tracer, TAILS, trace_slow_ms=0), told) is None


def test_so_many_a_second_are_traced_after_all(tracer: Tracer) -> None:
    made = traces(tracer, TAILS)
    found = [late(made, reply(500, "internal"), 105.0 + number / 100) for number in range(30)]
    assert sum(trace is not None for trace in found) == 10
    assert late(made, reply(500, "internal"), 106.0) is not None
