"""Settings of the auth service."""

from dataclasses import dataclass

from services.shared.addresses import Address
from services.shared.settings import Secret, setting
from services.shared.tls import TlsSettings


@dataclass(frozen=True)
class AuthSettings(TlsSettings):
    """Read from TOLLHOUSE_AUTH_*."""

    database_url: Secret = setting("libpq URL of Postgres, as the role tollhouse_auth")
    nats_url: Secret = setting("URL of NATS, credentials included; of a cluster several between commas")
    key_pepper: Secret = setting("the pepper of the keyed hash that stands for client keys; the same for auth and edge")
    ledger_token: Secret = setting("the ledger's internal service token")
    other_key_peppers: Secret | None = setting(
        "further peppers that keys may be hashed under, between commas, while the pepper is changed", default=None
    )
    ledger_address: Address = setting(
        "host:port of the ledger's gRPC; of several replicas a name that leads to all of them, or their IPs and"
        " ports between commas",
        default=Address("127.0.0.1:7003"),
    )
    host: str = setting("address to listen on for gRPC", default="127.0.0.1")
    port: int = setting("port to listen on for gRPC", default=7001, at_least=1, at_most=65535)
    ops_host: str = setting("address to listen on for /healthz, /readyz and /metrics", default="127.0.0.1")
    ops_port: int = setting(
        "port to listen on for /healthz, /readyz and /metrics", default=8082, at_least=1, at_most=65535
    )
    replica: str = setting(
        "this replica's name, unique among them: its grants are held under it, edges know it by it", default="auth-0"
    )
    advertise: str = setting("host:port that edges reach this replica at; without, its host and port", default="")
    database_connections: int = setting("connections to Postgres, at most", default=8, at_least=1, at_most=100)
    ledger_timeout_s: float = setting(
        "seconds to wait for the ledger when credit runs short", default=2.5, at_least=0.1
    )
    grant_renew_s: float = setting(
        "seconds between renewals of credit grants; below a third of the ledger's TTL", default=5, at_least=0.1
    )
    grant_idle_s: float = setting(
        "seconds without a hold after which a tenant's grant is given back", default=30, at_least=1
    )
    hold_ttl_s: float = setting(
        "seconds after which a hold that its edge does not renew is settled as orphaned", default=60, at_least=1
    )
    drain_s: float = setting("seconds that calls under way get when the service stops", default=1, at_least=0)
