"""Traces through the real processes, from a client's header to the booking, as a collector receives them."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment import Answer, Deployment, deployed, eventually, message, request
from tests.spans import Received, Spans, received

SERVER, CLIENT = 2, 3
SPAN_ID = "00f067aa0ba902b7"


@pytest.fixture(scope="module")
def spans() -> Iterator[Spans]:
    with received() as receiving:
        yield receiving


@pytest.fixture(scope="module")
def traced(spans: Spans, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """No coin falls on the right side here: what is traced is traced for another reason."""
    settings = exporting(spans) | {"TOLLHOUSE_EDGE_TRACE_SHARE": "0", "TOLLHOUSE_EDGE_TRACE_BY_CLIENTS": "true"}
    with deployed(tmp_path_factory.mktemp("traced") / "state", **settings) as tollhouse:
        yield tollhouse


def exporting(spans: Spans) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": spans.url, "OTEL_BSP_SCHEDULE_DELAY": "100"}


def ask(tollhouse: Deployment, trace_id: str, flags: str, **fields: object) -> Answer:
    """A message of a client that traces."""
    headers = {
        "x-api-key": tollhouse.key,
        "content-type": "application/json",
        "traceparent": f"00-{trace_id}-{SPAN_ID}-{flags}",
    }
    body = json.dumps(message(**fields)).encode()
    return request(tollhouse.base_url, "POST", "/v1/messages", headers, body)


def logged(tollhouse: Deployment, request_id: str) -> dict[str, object]:
    """The log record of a request."""

    def found() -> list[dict[str, object]]:
        lines = (tollhouse.state_dir / "log" / "edge-0.log").read_text().splitlines()
        return [record for record in map(json.loads, lines) if record.get("request_id") == request_id]

    eventually(lambda: bool(found()))
    return found()[-1]


def test_a_trace_goes_from_the_clients_span_over_grpc_and_nats_to_the_booking(traced: Deployment, spans: Spans) -> None:
    trace_id = secrets.token_hex(16)
    answer = ask(traced, trace_id, "01", stream=True)
    request_id = answer.headers["x-request-id"]
    eventually(lambda: len(spans.of_request(request_id)) == 5, what="five spans")
    by_name: dict[str, Received] = {span.name: span for span in spans.of_request(request_id)}
    edge = by_name["POST /v1/messages"]
    assert {name: span.service for name, span in by_name.items()} == {
        "POST /v1/messages": "edge",
        "chat claude-sonnet-4-6": "edge",
        "admit": "auth",
        "pick": "router",
        "book": "ledger",
    }
    assert (edge.trace_id, edge.parent_id, edge.kind) == (trace_id, SPAN_ID, SERVER)
    assert {span.parent_id for span in by_name.values() if span is not edge} == {edge.span_id}
    assert {span.trace_id for span in by_name.values()} == {trace_id}
    assert len({span.span_id for span in by_name.values()}) == 5
    assert not any(span.failed for span in by_name.values())
    call = by_name["chat claude-sonnet-4-6"]
    assert call.kind == CLIENT
    assert edge.began_ns <= call.began_ns <= call.ended_ns <= edge.ended_ns
    assert call.attributes["gen_ai.provider.name"] == "simulator"
    assert call.attributes["gen_ai.operation.name"] == "chat"
    assert call.attributes["gen_ai.usage.output_tokens"] == 40
    assert by_name["pick"].attributes["tollhouse.pick.reason"] in ("affinity", "conversation")
    assert logged(traced, request_id)["trace_id"] == trace_id


def test_an_unsampled_trace_of_a_client_is_logged_and_not_exported(traced: Deployment, spans: Spans) -> None:
    trace_id = secrets.token_hex(16)
    request_id = ask(traced, trace_id, "00").headers["x-request-id"]
    assert logged(traced, request_id)["trace_id"] == trace_id
    later = ask(traced, secrets.token_hex(16), "01").headers["x-request-id"]
    eventually(lambda: bool(spans.of_request(later)))
    assert not spans.of_request(request_id)


def test_a_request_that_failed_is_traced_whatever_the_coin_said(traced: Deployment, spans: Spans) -> None:
    key = traced.tenant().key
    refused = traced.messages(key, simulator="status=400").headers["x-request-id"]
    failed = traced.messages(key, simulator="status=500").headers["x-request-id"]
    eventually(lambda: len(spans.of_request(failed)) == 2)
    edge, call = sorted(spans.of_request(failed), key=lambda span: span.kind)
    assert (edge.failed, edge.attributes["error.type"]) == (True, "upstream_failed")
    assert (call.failed, call.attributes["error.type"]) == (True, "upstream_fault")
    assert call.attributes["http.response.status_code"] == 500
    assert logged(traced, failed)["trace_id"] == edge.trace_id
    assert not spans.of_request(refused)
    assert logged(traced, refused)["trace_id"] is None


def test_what_was_not_exported_yet_is_when_the_processes_end(spans: Spans, tmp_path: Path) -> None:
    patient = exporting(spans) | {"OTEL_BSP_SCHEDULE_DELAY": "600000", "TOLLHOUSE_EDGE_TRACE_SHARE": "1"}
    with deployed(tmp_path / "state", **patient) as tollhouse:
        tenant = tollhouse.tenant()
        request_id = tollhouse.messages(tenant.key).headers["x-request-id"]
        eventually(lambda: bool(tollhouse.usages(tenant.tenant_id)), what="booked")
        assert not spans.of_request(request_id)
    assert len(spans.of_request(request_id)) == 5
