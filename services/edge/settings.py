"""Settings of the edge."""

from dataclasses import dataclass

from services.edge import access
from services.shared.addresses import Address
from services.shared.connections import Limits
from services.shared.settings import Secret, SettingsError, setting, variable
from services.shared.tls import TlsSettings


@dataclass(frozen=True)
class EdgeSettings(TlsSettings):
    """Read from TOLLHOUSE_EDGE_*."""

    nats_url: Secret = setting("URL of NATS, credentials included; of a cluster several between commas")
    key_pepper: Secret = setting("the pepper of the keyed hash that stands for client keys; the same for auth and edge")
    ledger_token: Secret = setting("the ledger's internal service token")
    journal_dir: str = setting("folder of this edge alone, on local disk, for usage that is not booked yet")
    other_key_peppers: Secret | None = setting(
        "further peppers that keys may be hashed under, between commas, while the pepper is changed", default=None
    )
    ledger_address: Address = setting(
        "host:port of the ledger's gRPC; of several replicas a name that leads to all of them, or their IPs and"
        " ports between commas",
        default=Address("127.0.0.1:7003"),
    )
    host: str = setting("address to listen on for clients", default="127.0.0.1")
    port: int = setting(
        "port to listen on for clients; several edges may share it", default=8080, at_least=1, at_most=65535
    )
    ops_host: str = setting("address to listen on for /healthz, /readyz and /metrics", default="127.0.0.1")
    ops_port: int = setting(
        "port to listen on for /healthz, /readyz and /metrics", default=8081, at_least=1, at_most=65535
    )
    edge_id: str = setting(
        "this edge's name, unique in the deployment: it stands in ids of JetStream messages and in logs, and holds of"
        " an earlier life are released by it",
        default="edge-0",
    )
    connections: int = setting("connections of clients to this edge, at most", default=16_384, at_least=1)
    connections_per_address: int = setting(
        "connections from one address to this edge, at most; not for those of `trusted_proxies`",
        default=4096,
        at_least=1,
    )
    head_timeout_s: float = setting("seconds until the head of a request is there", default=30, at_least=0.1)
    send_timeout_s: float = setting(
        "seconds that a client may take for the next 48 KiB of its answer", default=300, at_least=0.1
    )
    body_max_bytes: int = setting("bytes of a request body, at most", default=32 * 1024 * 1024, at_least=1024)
    bodies_max_bytes: int = setting(
        "bytes of request bodies in memory at a time, at most, and half of that of one tenant; of those that stream,"
        " until their answer begins. What is rewritten for its upstream is there twice meanwhile, and counts once",
        default=256 * 1024 * 1024,
        at_least=1024,
    )
    body_timeout_s: float = setting("seconds between two pieces of a request body, at most", default=30, at_least=0.1)
    body_bytes_per_s: int = setting(
        "bytes of a request body that come each second on average, at least, once `body_timeout_s` is over",
        default=4096,
        at_least=0,
    )
    answer_max_bytes: int = setting("bytes of a plain answer, at most", default=64 * 1024 * 1024, at_least=1024)
    decision_timeout_s: float = setting("seconds to wait for auth and for the router", default=3, at_least=0.1)
    usage_wait_ms: int = setting(
        "milliseconds that /v1/usage waits for a fresh id", default=2000, at_least=0, at_most=10_000
    )
    connect_timeout_s: float = setting("seconds to connect to an upstream", default=10, at_least=0.1)
    first_byte_timeout_s: float = setting(
        "seconds until the first byte of a stream, unless its model says otherwise", default=120, at_least=0.1
    )
    silence_timeout_s: float = setting(
        "seconds between two bytes of a stream, unless its model says otherwise", default=300, at_least=0.1
    )
    answer_timeout_s: float = setting(
        "seconds until a plain answer, which comes when all of it is there, unless the model says otherwise",
        default=660,
        at_least=0.1,
    )
    total_timeout_s: float = setting(
        "seconds that a request may take altogether, unless its model says otherwise", default=3600, at_least=1
    )
    keep_alive_s: float = setting(
        "seconds of silence after which the client of a stream gets a ping", default=10, at_least=0.1
    )
    stream_rest_ms: int = setting(
        "milliseconds that a stream whose events were just sent on is not read, while the edge is busy without a break:"
        " what comes meanwhile goes on together, for half of the work; 0 for never",
        default=20,
        at_least=0,
        at_most=1000,
    )
    pick_wait_s: float = setting(
        "seconds to wait for an upstream account that is free again soon, when none is now", default=2, at_least=0
    )
    private_upstreams: bool = setting(
        "whether upstream accounts and their proxies may be on this machine or in a private network", default=False
    )
    transport: str = setting("what speaks to upstreams: `pooled`, or `aiohttp`, the reference", default="pooled")
    attempts: int = setting(
        "upstream accounts tried for one request before its first byte, at most", default=3, at_least=1, at_most=10
    )
    attempts_budget_s: float = setting(
        "seconds after which no further attempt is begun, unless the model says otherwise", default=120, at_least=0
    )
    principal_ttl_s: float = setting("seconds that a resolved key is remembered", default=5, at_least=0)
    principal_stale_s: float = setting(
        "seconds that the last answer about a key counts while auth cannot give a newer one, for want of Postgres say;"
        " a change that is heard of ends it at once",
        default=300,
        at_least=0,
    )
    principals: int = setting("resolved keys that are remembered, at most", default=100_000, at_least=1)
    journal_segment_bytes: int = setting(
        "bytes of one file of the journal", default=8 * 1024 * 1024, at_least=64 * 1024, at_most=1 << 30
    )
    journal_max_bytes: int = setting(
        "bytes that the journal may take; with more, no work is taken", default=256 * 1024 * 1024, at_least=1 << 18
    )
    outbox_requests: int = setting(
        "ended requests that may wait for JetStream; with more, no work is taken", default=200_000, at_least=1
    )
    hold_stretch_tokens: int = setting(
        "output tokens that a stream holds for at first, and ahead of what it produced", default=1024, at_least=64
    )
    default_output_tokens: int = setting(
        "output tokens of an OpenAI request that is not streamed and sets no bound itself", default=16_384, at_least=1
    )
    hold_thinking_tokens: int = setting(
        "output tokens that a stream holds for thinking that its request sets no bound to", default=8192, at_least=0
    )
    hold_renew_s: float = setting(
        "seconds between renewals of holds; below a third of auth's hold TTL", default=5, at_least=0.1
    )
    trusted_proxies: str = setting(
        "addresses and CIDR blocks, between commas, whose X-Forwarded-For tells where a client is", default=""
    )
    trace_share: float = setting(
        "share of requests that are traced, where OTEL_EXPORTER_OTLP_ENDPOINT says where to",
        default=0.01,
        at_least=0,
        at_most=1,
    )
    trace_by_clients: bool = setting(
        "whether a client's traceparent that says that it is sampled has its request traced; its ids are kept anyway",
        default=False,
    )
    trace_slow_ms: int = setting(
        "milliseconds that we may add to a request before it is traced whatever the coin said; 0 for never",
        default=1000,
        at_least=0,
    )
    drain_notice_s: float = setting(
        "seconds that the edge goes on taking connections after it was told to stop and is not ready any more: so long"
        " as load balancers need to notice",
        default=5,
        at_least=0,
    )
    drain_s: float = setting("seconds that requests under way get when the edge stops, then", default=600, at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.transport not in ("pooled", "aiohttp"):
            name = variable("edge", "transport")
            raise SettingsError(f"{name}: {self.transport!r} is neither 'pooled' nor 'aiohttp'")
        if self.bodies_max_bytes < 2 * self.body_max_bytes:
            name, one = variable("edge", "bodies_max_bytes"), variable("edge", "body_max_bytes")
            raise SettingsError(f"{name}: less than twice {one}, so the largest body that may come would have no room")
        try:
            self.trusted_networks()
        except ValueError as error:
            raise SettingsError(f"{variable('edge', 'trusted_proxies')}: {error}") from None

    def trusted_networks(self) -> access.Networks:
        """`trusted_proxies`, parsed."""
        return access.trusted_networks(self.trusted_proxies)

    def limits(self) -> Limits:
        """What a client's connections may take up."""
        trusted = self.trusted_networks()
        return Limits(
            head_timeout_s=self.head_timeout_s,
            send_timeout_s=self.send_timeout_s,
            connections=self.connections,
            connections_per_address=self.connections_per_address,
            trusted=lambda address: access.is_within(address, trusted),
        )
