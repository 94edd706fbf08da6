"""Which requests are traced, and the spans of one: the request, and each attempt at an upstream."""

import random as randomness
from collections.abc import Callable
from typing import Final

from services.edge.apis import Api
from services.edge.exchange import Attempt, Exchange
from services.edge.metrics import OPERATIONS, PROVIDERS, fault, outcome_name
from services.edge.reply import Reply
from services.edge.settings import EdgeSettings
from services.shared import clock, tracing
from services.shared.tracing import Trace, Tracer
from tollhouse.v1 import router_pb2

_LATE_A_SECOND: Final = 10
_NS: Final = 1_000_000_000
_OURS: Final = frozenset(("upstream", "ours"))


class Traces:
    """The traces that begin at this edge.

    Args:
        random: from 0.0 to below 1.0; the coin.
    """

    def __init__(self, tracer: Tracer, settings: EdgeSettings, random: Callable[[], float] = randomness.random) -> None:
        self._tracer = tracer
        self._share = settings.trace_share if tracer.on else 0.0
        self._by_clients = settings.trace_by_clients and tracer.on
        self._slow_s = settings.trace_slow_ms / clock.MS_PER_S
        self._random = random
        self._late_second, self._late_count = 0, 0

    def begin(self, traceparent: bytes) -> Trace | None:
        """The trace of a request, if it has one: that of a client, whose ids are kept, or where the coin says so."""
        sampled = self._random() < self._share
        if not traceparent:
            return tracing.new_trace() if sampled else None
        said = tracing.read(traceparent.decode("latin-1"))
        if said is None:
            return tracing.new_trace() if sampled else None
        return said.child(sampled=sampled or (self._by_clients and said.sampled))

    def ended(
        self, trace: Trace | None, api: Api, exchange: Exchange | None, reply: Reply, began_s: float, now_s: float
    ) -> Trace | None:
        """Exports the spans of a request that is traced, or should have been: it failed by no fault of its client's, or
        we held it up for long. Answers the trace that it has now; times are on the monotonic clock."""
        if trace is not None and trace.sampled:
            self._export(trace, api, exchange, reply, began_s, now_s)
            return trace
        if self._tracer.on and self._is_worth_it(exchange, reply) and self._may_be_late(now_s):
            trace = trace._replace(sampled=True) if trace is not None else tracing.new_trace()
            self._export(trace, api, exchange, reply, began_s, now_s)
        return trace

    def _is_worth_it(self, exchange: Exchange | None, reply: Reply) -> bool:
        if fault(reply.status, reply.error) in _OURS:
            return True
        answered = exchange is not None and exchange.attempts and reply.first_byte_s is not None
        if not answered or not self._slow_s:
            return False
        assert exchange is not None
        assert reply.first_byte_s is not None
        return exchange.added_s(reply.first_byte_s) >= self._slow_s

    def _may_be_late(self, now_s: float) -> bool:
        """So many a second at most: where everything fails, a few tell why."""
        if int(now_s) != self._late_second:
            self._late_second, self._late_count = int(now_s), 0
        self._late_count += 1
        return self._late_count <= _LATE_A_SECOND

    def _export(
        self, trace: Trace, api: Api, exchange: Exchange | None, reply: Reply, began_s: float, now_s: float
    ) -> None:
        epoch_ns = clock.now_ns() - round(now_s * _NS)

        def at_ns(monotonic_s: float) -> int:
            return epoch_ns + round(monotonic_s * _NS)

        attributes: dict[str, str | int | float | bool] = {
            "http.request.method": "POST",
            "http.route": api.value,
            "http.response.status_code": reply.status or 0,
            "tollhouse.request.id": reply.request_id,
        }
        if exchange is not None:
            attributes["tollhouse.tenant.id"] = exchange.principal.tenant_id
            attributes["tollhouse.stream"] = exchange.request.stream
            for attempt in exchange.attempts:
                if attempt.began_s:
                    attributes["gen_ai.request.model"] = exchange.request.model
                    self._tracer.record(
                        f"{OPERATIONS[api.label]} {exchange.request.model}",
                        trace.child(),
                        at_ns(attempt.began_s),
                        at_ns(attempt.ended_s),
                        _of_attempt(api, exchange, attempt),
                        role="client",
                        error="" if attempt.outcome == router_pb2.OUTCOME_OK else outcome_name(attempt.outcome),
                    )
        error = reply.error or ""
        self._tracer.record(
            f"POST {api.value}", trace, at_ns(began_s), at_ns(now_s), attributes, role="server", error=error
        )


def _of_attempt(api: Api, exchange: Exchange, attempt: Attempt) -> dict[str, str | int | float | bool]:
    """OpenTelemetry's attributes of a call of a model, and ours. No text of anybody's is among them (I6):
    https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/"""
    tokens, picked = attempt.tokens, attempt.picked
    return {
        "gen_ai.operation.name": OPERATIONS[api.label],
        "gen_ai.provider.name": PROVIDERS.get(picked.kind, "other"),
        "gen_ai.request.model": picked.upstream_model,
        "gen_ai.usage.input_tokens": tokens.input + tokens.cache_read + tokens.cache_write_5m + tokens.cache_write_1h,
        "gen_ai.usage.output_tokens": tokens.output,
        "http.response.status_code": attempt.http_status,
        "tollhouse.upstream_account.id": picked.upstream_account_id,
        "tollhouse.attempt": attempt.number,
        "tollhouse.first_content_ms": max(0, round((attempt.content_s - attempt.began_s) * 1000)),
        "tollhouse.tokens.estimated": attempt.estimated,
    }
