"""People from the command line, beside a running console: on its database, and with auth for their tenants."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

from services.console.clients import Clients
from services.console.passwords import Passwords
from services.console.people import People
from services.console.settings import ConsoleSettings
from services.console.store import Store
from services.console.throttle import Throttle
from services.shared import database
from services.shared.addresses import Address
from services.shared.settings import Secret
from services.shared.tls import Tls

_CONNECTIONS = 2
_UNUSED = Secret("commands about people need none")


@dataclass(frozen=True)
class Administration:
    """What commands about people need."""

    people: People
    store: Store


@contextlib.asynccontextmanager
async def administration(
    database_url: Secret, auth_address: str, tls: Tls | None = None
) -> AsyncIterator[Administration]:
    """Opens the console's database for the time of the block. Raises OSError when it does not answer."""
    settings = ConsoleSettings(
        database_url=database_url, ledger_token=_UNUSED, master_key=_UNUSED, auth_address=Address(auth_address)
    )
    pool = await database.connect(database_url, service="console", size=_CONNECTIONS)
    clients = Clients(settings, tls)
    store = store_on(pool, settings)
    try:
        yield Administration(People(store, clients, Passwords(), Throttle(store, settings)), store)
    finally:
        await clients.close()
        await pool.close()


def store_on(pool: database.Pool, settings: ConsoleSettings) -> Store:
    """The store with the times that sessions live."""
    return Store(pool, timedelta(seconds=settings.session_idle_s), timedelta(seconds=settings.session_s))
