"""Postgres: one pool a process, as the service's own role."""

from typing import Final

from psycopg import AsyncConnection, OperationalError
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from services.shared.metrics import DATABASE_CONNECTIONS, DATABASE_WAITING, Exposition
from services.shared.settings import Secret

Pool = AsyncConnectionPool[AsyncConnection[TupleRow]]

AWAY: Final = (OperationalError, PoolTimeout)
"""What says that Postgres cannot be reached or does not answer now."""

_SESSION: Final = """
    SET idle_in_transaction_session_timeout = '30s';
    SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3
"""
"""A process that hangs or is cut off within a transaction gives its locks back: bookings wait for one another."""
_KEEP_ALIVE: Final = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""And a server that is gone without a word is noticed here (seconds; the last one milliseconds)."""


async def connect(url: Secret, *, service: str, size: int, prepare: str = "", wait_s: float = 30) -> Pool:
    """Opens a pool and waits until Postgres answers. Connections are checked before they are lent, so that a restart
    of Postgres costs no request an error. `prepare` is SQL that every new connection runs first."""

    async def configure(connection: AsyncConnection[TupleRow]) -> None:
        await connection.execute(_SESSION)
        if prepare:
            await connection.execute(prepare.encode())

    pool: Pool = AsyncConnectionPool(
        url.reveal(),
        min_size=1,
        max_size=size,
        open=False,
        configure=configure,
        timeout=5,
        check=AsyncConnectionPool.check_connection,
        kwargs={"application_name": f"tollhouse-{service}", "autocommit": True, "connect_timeout": 5, **_KEEP_ALIVE},
    )
    try:
        await pool.open(wait=True, timeout=wait_s)
    except PoolTimeout as error:
        await pool.close()
        raise OSError(f"Postgres did not answer for {wait_s:g} s: {error}") from None
    return pool


def show(exposition: Exposition, *pools: Pool) -> None:
    """Shows how busy the connections are."""

    def sum_of(name: str) -> float:
        return sum(pool.get_stats().get(name, 0) for pool in pools)

    exposition.show_here(DATABASE_WAITING, lambda: sum_of("requests_waiting"))
    exposition.show_here(DATABASE_CONNECTIONS, lambda: sum_of("pool_size"))
