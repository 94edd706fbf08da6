"""Settings of the router service."""

from dataclasses import dataclass

from services.shared.settings import Secret, setting
from services.shared.tls import TlsSettings


@dataclass(frozen=True)
class RouterSettings(TlsSettings):
    """Read from TOLLHOUSE_ROUTER_*."""

    database_url: Secret = setting("libpq URL of Postgres, as the role tollhouse_router")
    nats_url: Secret = setting("URL of NATS, credentials included; of a cluster several between commas")
    master_key: Secret = setting("base64 of the 32 bytes that upstream credentials are sealed under")
    other_master_keys: Secret | None = setting(
        "further master keys that credentials may be sealed under, between commas, while the key is changed",
        default=None,
    )
    host: str = setting("address to listen on for gRPC", default="127.0.0.1")
    replica: str = setting("this replica's name, unique among them: edges know it by it", default="router-0")
    port: int = setting("port to listen on for gRPC", default=7002, at_least=1, at_most=65535)
    ops_host: str = setting("address to listen on for /healthz, /readyz and /metrics", default="127.0.0.1")
    ops_port: int = setting(
        "port to listen on for /healthz, /readyz and /metrics", default=8083, at_least=1, at_most=65535
    )
    advertise: str = setting("host:port that edges reach this replica at; without, its host and port", default="")
    database_connections: int = setting("connections to Postgres, at most", default=4, at_least=1, at_most=100)
    bucket_replicas: int = setting(
        "servers of NATS that keep the cooldowns, where the router makes their bucket",
        default=1,
        at_least=1,
        at_most=5,
    )
    lease_ttl_s: float = setting("seconds after which a lease that was never given back ends", default=3700, at_least=1)
    drain_s: float = setting("seconds that calls under way get when the service stops", default=1, at_least=0)
    conversations: int = setting(
        "conversations whose upstream account is remembered, at most", default=100_000, at_least=1, at_most=10_000_000
    )
    conversation_idle_s: float = setting(
        "seconds without a turn after which a conversation's upstream account is forgotten", default=600, at_least=1
    )
    private_upstreams: bool = setting(
        "whether upstream accounts and their proxies may be on this machine or in a private network", default=False
    )
    decisions: int = setting(
        "picks that are remembered for whoever asks how a request was routed",
        default=5000,
        at_least=1,
        at_most=1_000_000,
    )
