"""Unit tests of services.shared.tracing, with a receiver of spans."""

import pytest

from services.shared import tracing
from services.shared.tracing import Trace, Tracer
from tests.spans import received

TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_traceparent_is_read_and_written_alike() -> None:
    said = f"00-{TRACE_ID}-{SPAN_ID}-01"
    trace = tracing.read(said)
    assert trace == Trace(int(TRACE_ID, 16), int(SPAN_ID, 16), sampled=True)
    assert trace.traceparent == said
    assert trace.hexadecimal == TRACE_ID
    assert tracing.read(f"00-{TRACE_ID}-{SPAN_ID}-00") == trace._replace(sampled=False)


def test_a_later_version_may_say_more() -> None:
    trace = tracing.read(f"01-{TRACE_ID}-{SPAN_ID}-03-and-more")
    assert trace is not None
    assert trace.sampled


@pytest.mark.parametrize(
    "said",
    [
        "",
        "00",
        f"00-{TRACE_ID}-{SPAN_ID}",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID.upper()}-{SPAN_ID}-01",
        f"00-{TRACE_ID}x-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-01\n",
    ],
)
def test_a_malformed_traceparent_is_none(said: str) -> None:
    assert tracing.read(said) is None


def test_a_child_has_the_trace_and_the_parent() -> None:
    parent = tracing.new_trace()
    child = parent.child()
    assert (child.trace_id, child.parent_id, child.sampled) == (parent.trace_id, parent.span_id, True)
    assert child.span_id != parent.span_id
    assert not parent.child(sampled=False).sampled


async def test_without_an_endpoint_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", raising=False)
    tracer = Tracer("edge", "edge-0")
    assert not tracer.on
    assert tracer.begin("admit", f"00-{TRACE_ID}-{SPAN_ID}-01") is None
    tracer.record("a span", tracing.new_trace(), 1, 2, {})
    await tracer.close()


async def test_spans_are_exported_with_their_times_and_their_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with received() as spans:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", spans.url)
        tracer = Tracer("edge", "edge-0")
        trace = tracing.new_trace()
        tracer.record("a span", trace, 1_000, 2_000, {"tollhouse.attempt": 1}, role="client", error="throttled")
        under = tracer.begin("under it", trace.traceparent, since_ms=1_000)
        assert under is not None
        under.end({"tollhouse.pool": "main"})
        assert tracer.begin("not sampled", trace._replace(sampled=False).traceparent) is None
        assert tracer.begin("malformed", "nonsense") is None
        await tracer.close()
        span, child = spans.all
    assert (span.service, span.name, span.began_ns, span.ended_ns, span.failed) == (
        "edge",
        "a span",
        1_000,
        2_000,
        True,
    )
    assert span.attributes == {"tollhouse.attempt": 1, "error.type": "throttled"}
    assert (span.trace_id, span.span_id) == (trace.hexadecimal, f"{trace.span_id:016x}")
    assert (child.trace_id, child.parent_id, child.failed) == (span.trace_id, span.span_id, False)
    assert child.ended_ns - child.began_ns >= 1_000_000_000


async def test_the_standard_switch_turns_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert not Tracer("edge", "edge-0").on
