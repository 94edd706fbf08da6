"""Callers of GetUsage who wait for an event that is on its way."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

_ANNOUNCED: Final = 500
"""Request ids in one announcement; whoever waits for a further one looks again by itself."""


def booked_payload(transaction_id: int, request_ids: Sequence[str]) -> bytes:
    """What is announced after a booking, to this and to other replicas."""
    return "\n".join((str(transaction_id), *request_ids[:_ANNOUNCED])).encode()


def booked_requests(payload: bytes) -> list[str]:
    """The request ids of an announcement."""
    return payload.decode().split("\n")[1:]


class Waiters:
    """Futures by request id; at most `limit` at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self._by_request: dict[str, list[asyncio.Future[None]]] = {}

    def announce(self, request_ids: Iterable[str]) -> None:
        """Wakes those who wait for one of these requests."""
        for request_id in request_ids:
            for future in self._by_request.get(request_id, ()):
                if not future.done():
                    future.set_result(None)

    async def wait(self, request_id: str, timeout_s: float) -> None:
        """Returns when the request is announced, after `timeout_s`, or at once when too many wait already."""
        if self._count >= self._limit or timeout_s <= 0:
            return
        future = asyncio.get_running_loop().create_future()
        self._count += 1
        self._by_request.setdefault(request_id, []).append(future)
        try:
            await asyncio.wait([future], timeout=timeout_s)
        finally:
            self._count -= 1
            waiting = self._by_request[request_id]
            waiting.remove(future)
            if not waiting:
                del self._by_request[request_id]
