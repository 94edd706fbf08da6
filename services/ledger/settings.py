"""Settings of the ledger service."""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.ledger.expiry import UNBOOKED_KEEP_S
from services.ledger.receipts import signing_key
from services.shared.settings import Secret, SettingsError, setting, variable
from services.shared.tls import TlsSettings


@dataclass(frozen=True)
class LedgerSettings(TlsSettings):
    """Read from TOLLHOUSE_LEDGER_*."""

    database_url: Secret = setting("libpq URL of Postgres, as the role tollhouse_ledger")
    nats_url: Secret = setting("URL of NATS, credentials included; of a cluster several between commas")
    internal_token: Secret = setting(
        "the service token of the deployment's own parts, which may make every call: `thst_` and 43 letters or digits"
    )
    receipt_key: Secret = setting("the Ed25519 key that signs receipts: PEM (PKCS 8), or base64 of its 32 bytes")
    other_internal_tokens: Secret | None = setting(
        "further internal tokens that are accepted, between commas, while the token is changed", default=None
    )
    receipt_issuer: str = setting("who issues receipts, their claim `iss`", default="tollhouse")
    replica: str = setting("this replica's name, unique among them: operators see it by it", default="ledger-0")
    advertise: str = setting("host:port that it announces; without, its host and port", default="")
    host: str = setting("address to listen on for gRPC", default="127.0.0.1")
    port: int = setting("port to listen on for gRPC", default=7003, at_least=1, at_most=65535)
    ops_host: str = setting("address to listen on for /healthz, /readyz and /metrics", default="127.0.0.1")
    ops_port: int = setting(
        "port to listen on for /healthz, /readyz and /metrics", default=8084, at_least=1, at_most=65535
    )
    read_connections: int = setting(
        "connections to Postgres for reading usage, at most, beside the others", default=4, at_least=1, at_most=100
    )
    read_timeout_s: float = setting("seconds that one reading of usage may take", default=5, at_least=0.1)
    database_connections: int = setting("connections to Postgres, at most", default=8, at_least=2, at_most=100)
    grant_ttl_s: float = setting(
        "seconds that a credit grant lives unless renewed; auth places holds in it for three quarters of them",
        default=90,
        at_least=3,
    )
    unbooked_keep_s: float = setting(
        "seconds that what was settled in a grant stays set aside after the grant's end, while it is not booked: edges"
        " that are cut off from NATS have its events",
        default=UNBOOKED_KEEP_S,
        at_least=0,
    )
    fetch_messages: int = setting(
        "JetStream messages booked in one transaction, at most", default=64, at_least=1, at_most=1000
    )
    stream_max_bytes: int = setting(
        "bytes that usage events may take in JetStream before edges must keep them", default=1 << 30, at_least=1 << 20
    )
    stream_replicas: int = setting(
        "servers of NATS that keep each message; 3 in a cluster of three or more, all replicas of the ledger the same",
        default=1,
        at_least=1,
        at_most=5,
    )
    redelivered_after_s: float = setting(
        "seconds after which usage that one replica was sent and has not booked is sent to any; all replicas of the"
        " ledger the same",
        default=30,
        at_least=1,
    )
    usage_wait_max_ms: int = setting(
        "milliseconds that GetUsage waits for a fresh id, at most", default=10_000, at_least=0
    )
    usage_waiters: int = setting("GetUsage calls that may wait at once", default=10_000, at_least=0)
    usage_watchers: int = setting("WatchUsage calls that may run at once", default=200, at_least=0)
    token_ttl_s: float = setting("seconds that a service token is remembered", default=5, at_least=0)
    tokens: int = setting("service tokens that are remembered, at most", default=10_000, at_least=1)
    drain_s: float = setting("seconds that calls under way get when the service stops", default=3, at_least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            self.signing_key()
        except ValueError as error:
            raise SettingsError(f"{variable('ledger', 'receipt_key')}: {error}") from None

    def signing_key(self) -> Ed25519PrivateKey:
        """The key that signs receipts."""
        return signing_key(self.receipt_key.reveal())
