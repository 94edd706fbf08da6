"""Unit tests of services.edge.metrics."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from services.edge.apis import Api
from services.edge.brand import BUILT_IN
from services.edge.dialects.speech import SPEECHES
from services.edge.exchange import Exchange
from services.edge.metrics import OPERATIONS, PROVIDERS, Metrics, fault
from services.edge.reply import Reply
from services.shared.errors import Kind
from services.shared.metrics import Exposition
from services.shared.pricing import Tokens
from tests.unit.edge.test_exchange import begun, exchange
from tollhouse.v1 import router_pb2

NOW_S = 105.0


class Measured:
    """The metrics of an edge, and what they show."""

    def __init__(self) -> None:
        self.exposition = Exposition("edge")
        self.metrics = Metrics(self.exposition)

    def ended(self, made: Exchange | None, reply: Reply, brand: str = "tollhouse") -> None:
        self.metrics.ended(Api.MESSAGES, brand, made, reply, 100.0, NOW_S)

    def samples(self, name: str) -> dict[tuple[str, ...], float]:
        """By the values of the labels, in the order of their names."""

        def every() -> Iterator[tuple[tuple[str, ...], float]]:
            for family in text_string_to_metric_families(self.exposition.text()[0].decode()):
                for sample in family.samples:
                    if sample.name == name:
                        yield tuple(value for _, value in sorted(sample.labels.items())), sample.value

        return dict(every())


def reply(status: int | None = 200, error: str | None = None, first_byte_s: float | None = 103.0) -> Reply:
    made = Reply(cast(Any, None), cast(Any, None), "req_1", SPEECHES[Api.MESSAGES], BUILT_IN)
    made.status, made.error, made.first_byte_s = status, error, first_byte_s
    return made


def answered(model: str = "opus", **times: float) -> Exchange:
    """A stream that was answered by its only attempt."""
    made = exchange()
    made.request.model = model
    attempt = begun(made)
    attempt.picked.kind = router_pb2.UPSTREAM_KIND_ANTHROPIC
    attempt.began_s, attempt.content_s, attempt.ended_s = 100.5, 102.9, 104.5
    for name, value in times.items():
        setattr(attempt, name, value)
    attempt.answered(Tokens(input=10, output=20, cache_read=30), estimated=False)
    return made


def test_a_request_is_counted_by_brand_api_model_and_what_became_of_it() -> None:
    measured = Measured()
    measured.ended(answered(), reply())
    measured.ended(answered(), reply(), brand="cc")
    measured.ended(None, reply(401, "key_unknown"))
    measured.ended(None, reply(None, "client_gone", None))
    # api, brand, error_type, fault, model, status
    assert measured.samples("tollhouse_edge_requests_total") == {
        ("messages", "tollhouse", "", "", "opus", "2xx"): 1,
        ("messages", "cc", "", "", "opus", "2xx"): 1,
        ("messages", "tollhouse", "key_unknown", "client", "", "4xx"): 1,
        ("messages", "tollhouse", "client_gone", "client", "", "none"): 1,
    }


def test_a_model_that_no_upstream_was_asked_for_is_not_named() -> None:
    measured = Measured()
    made = exchange()
    made.next_attempt()
    measured.ended(made, reply(404, "model_unknown"))
    assert [labels[4] for labels in measured.samples("tollhouse_edge_requests_total")] == [""]
    assert measured.samples("tollhouse_edge_upstream_attempts_total") == {}


def test_models_beyond_the_most_are_one() -> None:
    measured = Measured()
    for number in range(150):
        measured.ended(answered(f"model-{number}"), reply())
    counts = {labels[4]: count for labels, count in measured.samples("tollhouse_edge_requests_total").items()}
    assert len(counts) == 101
    assert counts["other"] == 50


def test_tokens_are_told_by_class_those_of_the_cache_only_where_there_are_some() -> None:
    measured = Measured()
    measured.ended(answered(), reply())
    # operation, provider, model, class
    assert measured.samples("gen_ai_client_token_usage_sum") == {
        ("chat", "anthropic", "opus", "input"): 10,
        ("chat", "anthropic", "opus", "output"): 20,
        ("chat", "anthropic", "opus", "cache_read"): 30,
    }


def test_added_latency_is_what_was_waited_for_no_upstream_and_for_no_client() -> None:
    measured = Measured()
    made = answered()
    failed = begun(exchange())
    failed.began_s, failed.ended_s = 100.2, 100.4
    made.attempts.insert(0, failed)
    made.body_s = 0.1
    measured.ended(made, reply(first_byte_s=103.0))
    # 3 s, less 0.1 for the body, 0.2 for the first attempt, 2.4 until the second had content
    assert measured.samples("tollhouse_edge_added_latency_seconds_sum")[()] == pytest.approx(0.3)
    assert measured.samples("gen_ai_server_time_to_first_token_seconds_sum")["chat",] == pytest.approx(3.0)
    assert sum(measured.samples("gen_ai_client_operation_duration_seconds_sum").values()) == pytest.approx(4.2)


def test_an_answer_that_never_began_adds_no_latency() -> None:
    measured = Measured()
    measured.ended(answered(), reply(None, "client_gone", None))
    assert measured.samples("tollhouse_edge_added_latency_seconds_count")[()] == 0
    assert measured.samples("gen_ai_server_time_to_first_token_seconds_count") == {}


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.label)
def test_a_refusal_is_the_fault_of_whom_the_catalogue_blames(kind: Kind) -> None:
    assert fault(kind.http_status, kind.label) == kind.blame.value
    assert fault(200, kind.label) == kind.blame.value  # a stream that broke off


def test_a_fault_without_a_refusal_is_the_clients() -> None:
    assert [fault(200, None), fault(400, None), fault(None, None)] == ["", "client", "client"]
    assert [fault(None, "client_gone"), fault(None, "cancelled"), fault(200, "unheard of")] == [
        "client",
        "ours",
        "ours",
    ]


def test_every_api_has_an_operation_and_every_kind_a_provider() -> None:
    assert set(OPERATIONS) == {api.label for api in Api}
    assert set(PROVIDERS) == set(router_pb2.UpstreamKind.values()) - {router_pb2.UPSTREAM_KIND_UNSPECIFIED}
