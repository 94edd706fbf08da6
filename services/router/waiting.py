"""Picks that wait for an upstream account: woken by attempts that end and by time, the first come first."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from services.router.refusals import Refused
from services.shared import clock
from tollhouse.v1 import router_pb2

_MOST: Final = 10_000
_IN_VAIN: Final = 8
"""How many waiting picks are tried in vain before the others are left to wait."""

Later = asyncio.Future[router_pb2.RouterDecideResponse]


@dataclass(slots=True)
class Waiter:
    """A pick that waits."""

    item: router_pb2.PickItem
    began_ms: int
    deadline_ms: int
    future: Later
    timer: asyncio.TimerHandle | None = None


@dataclass(slots=True)
class _Queue:
    waiters: OrderedDict[int, Waiter] = field(default_factory=OrderedDict)
    timer: asyncio.TimerHandle | None = None


class Waiting:
    """Waiting picks by pool and model, each until its own deadline.

    Args:
        attempt: picks for an item that began to wait at a moment (Unix milliseconds).
        refuse: the answer for an item that waited in vain.
        most: how many wait at once.
    """

    def __init__(
        self,
        attempt: Callable[[router_pb2.PickItem, int], router_pb2.RouterDecideResponse | Refused],
        refuse: Callable[[router_pb2.PickItem, int, Refused], router_pb2.RouterDecideResponse],
        most: int = _MOST,
    ) -> None:
        self._attempt = attempt
        self._refuse = refuse
        self._most = most
        self._count = 0
        self._queues: dict[tuple[str, str], _Queue] = {}
        self._by_lease: dict[str, tuple[tuple[str, str], Waiter]] = {}

    def __len__(self) -> int:
        return self._count

    def full(self) -> bool:
        """Whether nobody else may wait."""
        return self._count >= self._most

    def add(self, item: router_pb2.PickItem, refused: Refused, now_ms: int) -> Later:
        """Has an item wait; cancelling the future ends that."""
        loop = asyncio.get_running_loop()
        waiter = Waiter(item, now_ms, now_ms + item.wait_ms, loop.create_future())
        key = (item.pool, item.model)
        queue = self._queues.setdefault(key, _Queue())
        queue.waiters[id(waiter)] = waiter
        self._by_lease[item.lease_id] = key, waiter
        self._count += 1
        waiter.timer = loop.call_later(item.wait_ms / clock.MS_PER_S, self._over, key, waiter)
        self._arm(key, queue, refused.earliest_ms, now_ms)
        return waiter.future

    def withdraw(self, lease_id: str) -> None:
        """Whoever asked does not want the lease any more: nobody would end it."""
        found = self._by_lease.get(lease_id)
        if found is not None:
            key, waiter = found
            self._leave(key, waiter)
            if not waiter.future.done():
                waiter.future.set_result(router_pb2.RouterDecideResponse())

    def serve(self, pool: str | None = None) -> None:
        """Tries those who wait for an account of a pool, or of any: something may have become free."""
        for key, queue in list(self._queues.items()):
            if pool is None or key[0] == pool:
                self._serve(key, queue)

    def _serve(self, key: tuple[str, str], queue: _Queue) -> None:
        now_ms = clock.now_ms()
        in_vain = 0
        while in_vain < _IN_VAIN:
            waiter = next(islice(queue.waiters.values(), in_vain, None), None)
            if waiter is None:
                break
            if waiter.future.done():  # whoever asked is gone
                self._leave(key, waiter)
                continue
            answer = self._attempt(waiter.item, waiter.began_ms)
            if isinstance(answer, Refused):
                if answer.within(waiter.deadline_ms):
                    self._arm(key, queue, answer.earliest_ms, now_ms)
                    in_vain += 1
                    continue
                answer = self._refuse(waiter.item, waiter.began_ms, answer)
            self._leave(key, waiter)
            waiter.future.set_result(answer)

    def _arm(self, key: tuple[str, str], queue: _Queue, at_ms: int, now_ms: int) -> None:
        """Has the queue served at a moment, unless it is served before."""
        if not at_ms:
            return
        loop = asyncio.get_running_loop()
        at_s = loop.time() + max(1, at_ms - now_ms) / clock.MS_PER_S
        if queue.timer is not None and not queue.timer.cancelled():
            if loop.time() < queue.timer.when() <= at_s:
                return
            queue.timer.cancel()
        queue.timer = loop.call_at(at_s, self._due, key, queue)

    def _due(self, key: tuple[str, str], queue: _Queue) -> None:
        queue.timer = None
        self._serve(key, queue)

    def _over(self, key: tuple[str, str], waiter: Waiter) -> None:
        if not waiter.future.done():
            answer = self._attempt(waiter.item, waiter.began_ms)
            if isinstance(answer, Refused):
                answer = self._refuse(waiter.item, waiter.began_ms, answer)
            waiter.future.set_result(answer)
        self._leave(key, waiter)

    def _leave(self, key: tuple[str, str], waiter: Waiter) -> None:
        queue = self._queues.get(key)
        if queue is None or queue.waiters.pop(id(waiter), None) is None:
            return
        self._count -= 1
        if self._by_lease.get(waiter.item.lease_id) == (key, waiter):
            del self._by_lease[waiter.item.lease_id]
        if waiter.timer is not None:
            waiter.timer.cancel()
        if not queue.waiters:
            if queue.timer is not None:
                queue.timer.cancel()
            del self._queues[key]
