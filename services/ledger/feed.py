"""Where the books end now, and who waits for them to grow."""

import asyncio
import contextlib
from collections.abc import Iterator

import psycopg
from psycopg_pool import PoolTimeout

from services.ledger.store.usage import UsageStore
from services.shared.errors import Kind, Refusal
from services.shared.telemetry import logger

_POLL_S = 1.0  # another replica's announcement may be lost
_APART_S = 0.02

_log = logger("feed")


class Feed:
    """The head of the books, looked up once for all watchers: when a booking is announced, and every second. Nothing is
    asked while nobody watches.

    Args:
        limit: watchers at once.
    """

    def __init__(self, store: UsageStore, limit: int) -> None:
        self._store = store
        self._limit = limit
        self._watchers = 0
        self._head = 0
        self._grown = asyncio.Event()
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Usage was booked somewhere."""
        self._rung.set()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Counts a watcher in while the block runs. Raises Refusal when there are as many as are allowed."""
        if self._watchers >= self._limit:
            raise Refusal(Kind.WATCHERS_FULL, f"{self._limit} watches of usage run already; try again later")
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1

    async def beyond(self, transaction_id: int, timeout_s: float) -> int:
        """Waits until usage is booked by a later transaction than this, or `timeout_s`; answers the head."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while self._head <= transaction_id:
                    await self._grown.wait()
        return self._head

    async def run(self) -> None:
        """Looks for the head until cancelled; rides out restarts of Postgres."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await self._rung.wait()
            self._rung.clear()
            if self._watchers:
                await self._look()
                await asyncio.sleep(_APART_S)

    async def _look(self) -> None:
        try:
            head = await self._store.head()
        except (psycopg.Error, PoolTimeout) as error:
            _log.warning("feed_paused", error=repr(error))
            return
        if head > self._head:
            self._head = head
            grown, self._grown = self._grown, asyncio.Event()
            grown.set()
