"""Traces: the ids of one, how it goes from process to process, and what exports its spans.

Spans are made when what they tell of has ended, from the times and facts that are known of it anyway; before that a
trace is three numbers. So a request that is not traced costs the toss of a coin, and one that is traced next to nothing
until its end (docs/adr/0032). The SDK's own spans cost some 5 us each even when they are not sampled.

Nothing is loaded and nothing is exported where the standard variables name no endpoint:
https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

import asyncio
import random
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from services.shared import clock
from services.shared.settings import plain

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

_PARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.ASCII)
"""https://www.w3.org/TR/trace-context/#traceparent-header"""
_SAMPLED: Final = 1
_FLUSH_S: Final = 5.0
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

Attributes = Mapping[str, str | int | float | bool]
Role = Literal["server", "client", "consumer", "internal"]


class Trace(NamedTuple):
    """A place in a trace: the span that is under way. `parent_id` is 0 where it is the first one."""

    trace_id: int
    span_id: int
    parent_id: int = 0
    sampled: bool = True

    @property
    def traceparent(self) -> str:
        """For whoever goes on with it."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.sampled:02x}"

    @property
    def hexadecimal(self) -> str:
        """The trace's id, for logs."""
        return f"{self.trace_id:032x}"

    def child(self, *, sampled: bool | None = None) -> "Trace":
        """A span under this one."""
        chosen = self.sampled if sampled is None else sampled
        return Trace(self.trace_id, _new_id(64), self.span_id, chosen)


def new_trace() -> Trace:
    """The first span of a trace of its own."""
    return Trace(_new_id(128), _new_id(64))


def read(traceparent: str) -> Trace | None:
    """Whose span it is that a traceparent names; None where it is malformed."""
    found = _PARENT.fullmatch(traceparent)
    if found is None or traceparent.startswith("ff"):
        return None
    trace_id, span_id = int(found[1], 16), int(found[2], 16)
    if not trace_id or not span_id:
        return None
    return Trace(trace_id, span_id, sampled=bool(int(found[3], 16) & _SAMPLED))


class Tracer:
    """Exports the spans of one process, if there is where to."""

    def __init__(self, service: str, replica: str) -> None:
        self._processor: BatchSpanProcessor | None = None
        self._resource: Resource | None = None
        if any(map(plain, _ENDPOINTS)) and plain("OTEL_SDK_DISABLED") != "true":
            self._begin(service, replica)

    def _begin(self, service: str, replica: str) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        named = {"service.namespace": "tollhouse", "service.name": service, "service.instance.id": replica}
        self._resource = Resource.create(named)
        self._processor = BatchSpanProcessor(OTLPSpanExporter())

    @property
    def on(self) -> bool:
        """Whether spans go anywhere."""
        return self._processor is not None

    def record(
        self,
        name: str,
        trace: Trace,
        began_ns: int,
        ended_ns: int,
        attributes: Attributes,
        *,
        role: Role = "internal",
        error: str = "",
    ) -> None:
        """Exports a span that has ended. Times are Unix nanoseconds; `error` is why it failed."""
        if self._processor is None:
            return
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        def context(span_id: int) -> SpanContext:
            return SpanContext(trace.trace_id, span_id, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

        self._processor.on_end(
            ReadableSpan(
                name,
                context(trace.span_id),
                context(trace.parent_id) if trace.parent_id else None,
                self._resource,
                attributes={**attributes, "error.type": error} if error else attributes,
                kind=SpanKind[role.upper()],
                status=Status(StatusCode.ERROR) if error else Status(),
                start_time=began_ns,
                end_time=ended_ns,
            )
        )

    def begin(self, name: str, traceparent: str, since_ms: int = 0) -> "Span | None":
        """Begins a span under somebody else's, `since_ms` ago; None where spans go nowhere, or nobody samples it."""
        parent = read(traceparent) if self.on else None
        if parent is None or not parent.sampled:
            return None
        return Span(self, name, parent.child(), clock.now_ns() - since_ms * 1_000_000)

    async def close(self) -> None:
        """Sends what is there, for a few seconds at most."""
        if self._processor is not None:
            await asyncio.to_thread(self._processor.force_flush, round(_FLUSH_S * 1000))
            await asyncio.to_thread(self._processor.shutdown)


class Span:
    """One that is under way."""

    __slots__ = ("_began_ns", "_name", "_trace", "_tracer")

    def __init__(self, tracer: Tracer, name: str, trace: Trace, began_ns: int) -> None:
        self._tracer = tracer
        self._name = name
        self._trace = trace
        self._began_ns = began_ns

    def end(self, attributes: Attributes | None = None, *, error: str = "") -> None:
        """Exports it. `error` is why it failed."""
        now_ns = clock.now_ns()
        self._tracer.record(
            self._name, self._trace, self._began_ns, now_ns, attributes or {}, role="server", error=error
        )


def _new_id(bits: int) -> int:
    return random.getrandbits(bits) or 1  # an id, and no secret
