"""What the edge measures of its requests.

Everything of a request is counted once, when it has ended, from what its exchange and its reply know: about two
microseconds. Names are put together at a scrape.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple, TypeAlias

from services.edge.apis import Api, UpstreamKind
from services.edge.clients import Clients
from services.edge.exchange import NO_TOKENS, Attempt, Exchange
from services.edge.incoming import Bodies
from services.edge.journal import Journal
from services.edge.outbox import Outbox
from services.edge.reply import Reply
from services.edge.settings import EdgeSettings
from services.shared.errors import Kind
from services.shared.metrics import ITEMS, OTHER, Distribution, Exposition, Labels, Names, counter, gauge, histogram
from tollhouse.v1 import router_pb2

Outcome: TypeAlias = router_pb2.Outcome.ValueType

OPERATIONS: Final = {
    "messages": "chat",
    "chat": "chat",
    "responses": "chat",
    "embeddings": "embeddings",
    "count_tokens": "count_tokens",
}
"""`gen_ai.operation.name` by API; counting tokens has none there."""
PROVIDERS: Final = {
    router_pb2.UPSTREAM_KIND_ANTHROPIC: "anthropic",
    router_pb2.UPSTREAM_KIND_OPENAI: "openai",
    router_pb2.UPSTREAM_KIND_GEMINI_OPENAI: "gcp.gemini",
    router_pb2.UPSTREAM_KIND_OPENROUTER: "openrouter",
    router_pb2.UPSTREAM_KIND_SIMULATOR: "simulator",
}
"""`gen_ai.provider.name`: https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/"""

_MODELS_MOST: Final = 100
_BRANDS_MOST: Final = 100
_LONG_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_OPERATION_S: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS: Final = tuple(float(4**power) for power in range(14))
_FIRST_TOKEN_S: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""The bounds that OpenTelemetry names for the three: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/"""
_ADDED_S: Final = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_GONE: Final = {"client_gone": "client", "cancelled": "ours"}
_REFUSED: Final = 400
_FAULTS: Final = {kind.label: kind.blame.value for kind in Kind} | _GONE

REQUESTS: Final = counter(
    "tollhouse_edge_requests",
    "requests that ended, by the class of their status (`none`: the client left before the answer began). `error_type`"
    " is the kind of our refusal, or of what broke an answer off; `fault` whose fault that was: `client`, `upstream`,"
    " `ours`, or none. `model` is empty where no upstream was asked",
    *("brand", "api", "model", "status", "error_type", "fault"),
)
DURATION: Final = histogram(
    "tollhouse_edge_request_duration_seconds",
    "from the request to the end of its answer",
    *("api", "stream"),
    bounds=_LONG_S,
)
FIRST_TOKEN: Final = histogram(
    "gen_ai_server_time_to_first_token_seconds",
    "from a streamed request to its first byte of content",
    "gen_ai_operation_name",
    bounds=_FIRST_TOKEN_S,
)
ADDED: Final = histogram(
    "tollhouse_edge_added_latency_seconds",
    "of the time to the first byte of an answer, what was waited neither for an upstream nor for the client's body",
    bounds=_ADDED_S,
)
TOKEN_USAGE: Final = histogram(
    "gen_ai_client_token_usage",
    "tokens of an attempt by class, those of the cache beside OpenTelemetry's own; `_sum` is how many there were",
    *("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type"),
    bounds=_TOKENS,
)
OPERATION: Final = histogram(
    "gen_ai_client_operation_duration_seconds",
    "how long attempts at upstreams took, to the end of their answers",
    *("gen_ai_operation_name", "gen_ai_provider_name"),
    bounds=_OPERATION_S,
)
ATTEMPTS: Final = counter(
    "tollhouse_edge_upstream_attempts",
    "attempts that were sent to upstream accounts, by outcome",
    *("gen_ai_provider_name", "outcome"),
)
IN_FLIGHT: Final = gauge("tollhouse_edge_requests_in_flight", "requests under way, of every route")
STREAMS: Final = gauge("tollhouse_edge_streams_in_flight", "streams under way")
OUTBOX: Final = gauge("tollhouse_edge_outbox_requests", "ended requests whose usage JetStream has not confirmed")
OUTBOX_LIMIT: Final = gauge("tollhouse_edge_outbox_limit_requests", "with so many of them no work is taken")
JOURNAL: Final = gauge("tollhouse_edge_journal_bytes", "bytes of the journal that are written and still needed")
JOURNAL_LIMIT: Final = gauge("tollhouse_edge_journal_limit_bytes", "bytes that the journal may take")
BODIES: Final = gauge("tollhouse_edge_bodies_bytes", "bytes of request bodies in memory")
BODIES_LIMIT: Final = gauge("tollhouse_edge_bodies_limit_bytes", "bytes of request bodies that may be in memory")
REPLICAS: Final = gauge(
    "tollhouse_edge_replicas", "replicas of a service that this edge asks, and that answer", "service"
)
BATCHES: Final = histogram(
    "tollhouse_edge_batch_items", "questions of a batch, by the service that it goes to", "service", bounds=ITEMS
)


class _Calls(NamedTuple):
    """What every attempt of one kind, API and model is counted in, so that it is looked up once."""

    operation: str
    provider: str
    durations: Distribution
    input: Distribution
    output: Distribution


class Metrics:
    """The tallies of one edge's requests."""

    def __init__(self, exposition: Exposition) -> None:
        self._models, self._brands = Names(_MODELS_MOST), Names(_BRANDS_MOST)
        self._requests: defaultdict[tuple[str, str, str, int | None, str | None], int] = defaultdict(int)
        self._attempts: defaultdict[tuple[UpstreamKind, Outcome], int] = defaultdict(int)
        self._calls: dict[tuple[UpstreamKind, str, str], _Calls] = {}
        self._durations = exposition.histogram(DURATION)
        self._first_token = exposition.histogram(FIRST_TOKEN)
        self._added = exposition.histogram(ADDED)[()]
        self._operations = exposition.histogram(OPERATION)
        self._tokens = exposition.histogram(TOKEN_USAGE)
        self.batches = exposition.histogram(BATCHES)
        """By service."""
        exposition.show(REQUESTS, self._shown_requests)
        exposition.show(ATTEMPTS, self._shown_attempts)

    def ended(
        self, api: Api, brand: str, exchange: Exchange | None, reply: Reply, began_s: float, now_s: float
    ) -> None:
        """Counts a request; times are on the monotonic clock."""
        model, stream = "", "false"
        if exchange is not None:
            if exchange.request.stream:
                stream = "true"
            for attempt in exchange.attempts:
                if attempt.began_s:
                    model = self._models.of(exchange.request.model)
                    self._ended_attempt(api.label, model, attempt)
            if model and reply.first_byte_s is not None:
                self._added.observe(exchange.added_s(reply.first_byte_s))
                if stream == "true":
                    self._first_token[OPERATIONS[api.label],].observe(reply.first_byte_s - began_s)
        self._durations[api.label, stream].observe(now_s - began_s)
        self._requests[self._brands.of(brand), api.label, model, reply.status, reply.error] += 1

    def _ended_attempt(self, api: str, model: str, attempt: Attempt) -> None:
        kind, tokens = attempt.picked.kind, attempt.tokens
        self._attempts[kind, attempt.outcome] += 1
        calls = self._calls.get((kind, api, model)) or self._first_call(kind, api, model)
        calls.durations.observe(attempt.ended_s - attempt.began_s)
        if tokens is NO_TOKENS:
            return
        calls.input.observe(tokens.input)
        calls.output.observe(tokens.output)
        usage, operation, provider = self._tokens, calls.operation, calls.provider
        if tokens.cache_read:
            usage[operation, provider, model, "cache_read"].observe(tokens.cache_read)
        if tokens.cache_write_5m:
            usage[operation, provider, model, "cache_write_5m"].observe(tokens.cache_write_5m)
        if tokens.cache_write_1h:
            usage[operation, provider, model, "cache_write_1h"].observe(tokens.cache_write_1h)

    def _first_call(self, kind: UpstreamKind, api: str, model: str) -> _Calls:
        operation, provider = OPERATIONS[api], PROVIDERS.get(kind, OTHER)
        calls = self._calls[kind, api, model] = _Calls(
            operation,
            provider,
            self._operations[operation, provider],
            self._tokens[operation, provider, model, "input"],
            self._tokens[operation, provider, model, "output"],
        )
        return calls

    def _shown_requests(self) -> Iterable[tuple[Labels, float]]:
        counts: Counter[Labels] = Counter()
        for (brand, api, model, status, error), count in self._requests.items():
            shown = f"{status // 100}xx" if status else "none"
            counts[brand, api, model, shown, error or "", fault(status, error)] += count
        return counts.items()

    def _shown_attempts(self) -> Iterator[tuple[Labels, float]]:
        for (kind, outcome), count in self._attempts.items():
            yield (PROVIDERS.get(kind, OTHER), outcome_name(outcome)), count


def fault(status: int | None, error: str | None) -> str:
    """Whose fault it was that a request has not got its answer: `client`, `upstream` or `ours`; empty where it has."""
    if error is not None:
        return _FAULTS.get(error, "ours")
    return "client" if status is None or status >= _REFUSED else ""


def outcome_name(outcome: Outcome) -> str:
    """`ok`, `client_fault` and so on."""
    return router_pb2.Outcome.Name(outcome).removeprefix("OUTCOME_").lower()


def show(
    exposition: Exposition,
    clients: Clients,
    outbox: Outbox,
    journal: Journal,
    bodies: Bodies,
    settings: EdgeSettings,
    in_flight: Callable[[], int],
    streams: Callable[[], int],
) -> None:
    """Shows how the parts of the edge are now."""
    exposition.show(IN_FLIGHT, in_flight)
    exposition.show(STREAMS, streams)
    exposition.show(OUTBOX, lambda: outbox.depth)
    exposition.show(OUTBOX_LIMIT, lambda: settings.outbox_requests)
    exposition.show(JOURNAL, lambda: journal.needed_bytes)
    exposition.show(JOURNAL_LIMIT, lambda: settings.journal_max_bytes)
    exposition.show(BODIES, lambda: bodies.bytes)
    exposition.show(BODIES_LIMIT, lambda: bodies.most_bytes)
    exposition.show(
        REPLICAS,
        lambda: [
            (("auth",), sum(member.up for member in clients.auth.members)),
            (("router",), sum(member.up for member in clients.routers.members)),
        ],
    )
