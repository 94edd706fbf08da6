"""Settings of the ledger service."""

from dataclasses import dataclass

from services.shared.settings import Secret, setting


@dataclass(frozen=True)
class LedgerSettings:
    """Read from TOLLHOUSE_LEDGER_*."""

    database_url: Secret = setting("libpq URL of Postgres, as the role tollhouse_ledger")
    nats_url: Secret = setting("URL of NATS, credentials included")
    host: str = setting("address to listen on for gRPC", default="127.0.0.1")
    port: int = setting("port to listen on for gRPC", default=7003, at_least=1, at_most=65535)
    database_connections: int = setting("connections to Postgres, at most", default=8, at_least=2, at_most=100)
    grant_ttl_s: float = setting("seconds that a credit grant lives unless renewed", default=30, at_least=3)
    fetch_messages: int = setting(
        "JetStream messages booked in one transaction, at most", default=64, at_least=1, at_most=1000
    )
    stream_max_bytes: int = setting(
        "bytes that usage events may take in JetStream before edges must keep them", default=1 << 30, at_least=1 << 20
    )
    usage_wait_max_ms: int = setting(
        "milliseconds that GetUsage waits for a fresh id, at most", default=10_000, at_least=0
    )
    usage_waiters: int = setting("GetUsage calls that may wait at once", default=10_000, at_least=0)
    drain_s: float = setting("seconds that calls under way get when the service stops", default=1, at_least=0)
