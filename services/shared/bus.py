"""NATS: the connection, and the names of everything that goes over it."""

import asyncio
import logging
import ssl
from typing import Final

from nats.aio.client import Client
from nats.errors import Error as NatsError

from services.shared.metrics import NATS_CONNECTED, Exposition
from services.shared.settings import Secret
from services.shared.telemetry import logger
from services.shared.tls import Tls

USAGE_STREAM: Final = "TOLLHOUSE_USAGE"
USAGE_SUBJECT: Final = "tollhouse.usage.v1"
"""Usage events, UsageEventBatch each, from edges to the ledger through JetStream."""

TRACES: Final = "Tollhouse-Traces"
"""The header of a usage message that names the spans of its requests that are traced: `request_id=traceparent`, commas
between them. (`traceparent` itself names one for a whole message.)"""

DEAD_STREAM: Final = "TOLLHOUSE_DEAD"
DEAD_SUBJECT: Final = "tollhouse.dead.usage"
"""Usage messages that cannot be booked, with the reason in the header `Tollhouse-Reason`."""

KEY_CHANGED: Final = "tollhouse.changed.key"
"""A key changed: the payload is its 32-byte hash."""

TENANT_CHANGED: Final = "tollhouse.changed.tenant"
"""A tenant changed: the payload is its id."""

PLAN_CHANGED: Final = "tollhouse.changed.plan"
"""A plan changed: the payload is its name."""

BRAND_CHANGED: Final = "tollhouse.changed.brand"
"""A brand changed: the payload is its name."""

CATALOG_CHANGED: Final = "tollhouse.changed.catalog"
"""An upstream account, a pool, a group or a model changed: the payload is its name."""

ROUTES_CHANGED: Final = "tollhouse.changed.routes"
"""A router has loaded its catalogue anew, and answers by it: the payload is the replica's name."""

PRICES_CHANGED: Final = "tollhouse.changed.prices"
"""The price book has a new row: the payload is the model."""

TOKENS_CHANGED: Final = "tollhouse.changed.token"
"""A service token was revoked: the payload is its 32-byte hash."""

USAGE_BOOKED: Final = "tollhouse.booked"
"""Usage was booked: the transaction's id and, a line each, the ids of the requests that are complete now."""

CREDIT_WANTED: Final = "tollhouse.wanted.credit"
"""A tenant's credit is wanted that replicas of auth have ahead of need: who wants it, by the name of a replica of auth
or as `ledger`, a space, the tenant's id."""

PRESENCE: Final = "tollhouse.present"
"""Followed by a service's name: a replica says that it is there, see `discovery`."""

ROLL_CALL: Final = "tollhouse.ask.present"
"""Followed by a service's name: replicas are to say now that they are there."""

COOLDOWNS_BUCKET: Final = "tollhouse_cooldowns"
"""Key-value bucket of the health of upstream accounts: `<upstream account id>.<family, hexadecimal>`."""

ROUTE_EXPLAIN: Final = "tollhouse.ask.route"
"""Asks every replica of the router how a request was routed; whoever remembers answers ExplainRouteResponse."""

_log = logger("bus")


# nats-py puts its own protocol under a connection that became TLS, which asyncio has a word about at every end of one.
logging.getLogger("asyncio").addFilter(lambda record: "eof_received() has no effect" not in record.getMessage())


class TlsClient(Client):
    """Shows its certificate as its files are when it connects, and again when it reconnects."""

    def __init__(self, tls: Tls) -> None:
        super().__init__()
        self._tls = tls

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """What nats-py asks for before every handshake."""
        return self._tls.context()


async def connect(url: Secret, *, name: str, wait_s: float = 30, tls: Tls | None = None) -> Client:
    """Connects to one of the servers, whose URLs stand between commas, retrying for `wait_s`, and stays connected for
    good: a server that hangs is noticed within seconds by its missing pongs, and the client reconnects without end, to
    any server of the cluster. With TLS the handshake comes first: a client that waited for the server to ask for it
    could be talked into sending its password without. Raises OSError."""

    async def lost() -> None:
        _log.warning("nats_disconnected")

    async def back() -> None:
        _log.info("nats_reconnected")

    async def failed(error: Exception) -> None:
        _log.warning("nats_error", error=repr(error))

    nc = Client() if tls is None else TlsClient(tls)
    try:
        async with asyncio.timeout(wait_s):
            await nc.connect(  # which tries again by itself, for good
                url.reveal().split(","),
                name=f"tollhouse-{name}",
                connect_timeout=2,
                ping_interval=2,
                max_outstanding_pings=2,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.2,  # type: ignore[arg-type]  # it sleeps so long
                disconnected_cb=lost,
                reconnected_cb=back,
                error_cb=failed,
                tls_handshake_first=tls is not None,
            )
    except (OSError, NatsError, TimeoutError) as error:
        await nc.close()
        raise OSError(f"NATS did not answer for {wait_s:g} s: {nc.last_error or error!r}") from None
    return nc


def show(exposition: Exposition, nc: Client) -> None:
    """Shows whether the connection stands."""
    exposition.show_here(NATS_CONNECTED, lambda: nc.is_connected)


async def announce(nc: Client, subject: str, payload: bytes) -> None:
    """Tells whoever listens that something changed. Lost when NATS is away: listeners look again by themselves."""
    try:
        await nc.publish(subject, payload)
    except NatsError as error:
        _log.warning("announcement_lost", subject=subject, error=repr(error))
