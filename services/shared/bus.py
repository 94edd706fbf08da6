"""NATS: the connection, and the names of everything that goes over it."""

import asyncio
from typing import Final

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError

from services.shared import clock
from services.shared.settings import Secret
from services.shared.telemetry import logger

USAGE_STREAM: Final = "TOLLHOUSE_USAGE"
USAGE_SUBJECT: Final = "tollhouse.usage.v1"
"""Usage events, UsageEventBatch each, from edges to the ledger through JetStream."""

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
"""A replica of auth is short of a tenant's credit while others have some of it: its name, a space, the tenant's id."""

PRESENCE: Final = "tollhouse.present"
"""Followed by a service's name: a replica says that it is there, see `discovery`."""

ROLL_CALL: Final = "tollhouse.ask.present"
"""Followed by a service's name: replicas are to say now that they are there."""

COOLDOWNS_BUCKET: Final = "tollhouse_cooldowns"
"""Key-value bucket of the health of upstream accounts: `<upstream account id>.<family, hexadecimal>`."""

ROUTE_EXPLAIN: Final = "tollhouse.ask.route"
"""Asks every replica of the router how a request was routed; whoever remembers answers ExplainRouteResponse."""

_log = logger("bus")


async def connect(url: Secret, *, name: str, wait_s: float = 30) -> Client:
    """Connects to one of the servers, whose URLs stand between commas, retrying for `wait_s`, and stays connected for
    good: a server that hangs is noticed within seconds by its missing pongs, and the client reconnects without end, to
    any server of the cluster. Raises OSError."""

    async def lost() -> None:
        _log.warning("nats_disconnected")

    async def back() -> None:
        _log.info("nats_reconnected")

    async def failed(error: Exception) -> None:
        _log.warning("nats_error", error=repr(error))

    deadline = clock.monotonic_s() + wait_s
    while True:
        try:
            return await nats.connect(
                url.reveal().split(","),
                name=f"tollhouse-{name}",
                connect_timeout=2,
                ping_interval=2,
                max_outstanding_pings=2,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.2,
                disconnected_cb=lost,
                reconnected_cb=back,
                error_cb=failed,
            )
        except (OSError, NatsError, TimeoutError) as error:
            if clock.monotonic_s() > deadline:
                raise OSError(f"NATS did not answer for {wait_s:g} s: {error or repr(error)}") from None
            await asyncio.sleep(0.1)


async def announce(nc: Client, subject: str, payload: bytes) -> None:
    """Tells whoever listens that something changed. Lost when NATS is away: listeners look again by themselves."""
    try:
        await nc.publish(subject, payload)
    except NatsError as error:
        _log.warning("announcement_lost", subject=subject, error=repr(error))
