"""Picking: an upstream account for an attempt, from the pools of the key's group in their order, each asked at its
owner among the routers."""

import asyncio
from typing import Final

from services.edge.apis import KINDS_FOR
from services.edge.clients import Routers
from services.edge.exchange import Attempt, Exchange
from services.edge.settings import EdgeSettings
from services.shared import clock
from services.shared.errors import Kind, Refusal, from_detail
from tollhouse.v1 import router_pb2

Picking = asyncio.Future[router_pb2.PickResult]

_NEXT_POOL: Final = frozenset(
    (Kind.NO_HEALTHY_ACCOUNT, Kind.UPSTREAM_THROTTLED, Kind.UPSTREAM_OVERLOADED, Kind.MODEL_UNKNOWN)
)
_ANSWER_S: Final = 0.5
"""What is left of the patience with a router when a pick has waited as long as it may."""


class Picks:
    """Asks the routers."""

    def __init__(self, settings: EdgeSettings, routers: Routers) -> None:
        self._routers = routers
        self._wait_ms = int(1000 * min(settings.pick_wait_s, max(0.0, settings.decision_timeout_s - _ANSWER_S)))

    def ask(self, exchange: Exchange, only: str = "") -> Picking:
        """Begins the next attempt: asks its first pool. `only` names the account to pick. Raises Refusal."""
        attempt = exchange.next_attempt()
        attempt.only = only
        pools = exchange.pools
        return self._ask(exchange, attempt, pools[0], self._wait_ms if len(pools) == 1 else 0)

    async def answer(self, exchange: Exchange, picking: Picking) -> router_pb2.PickResult:
        """The account that the first pool in order with a free one gives. When none has, the one that has one soonest
        is waited for, if that is soon. Raises Refusal, with the detail `retry_after_ms` where that is known."""
        attempt = exchange.attempts[-1]
        refusals: list[Refusal] = []
        for pool in exchange.pools:
            if refusals:
                picking = self._ask(exchange, attempt, pool, 0)
            refusal = await self._picked(exchange, attempt, pool, picking)
            if refusal is None:
                return attempt.picked
            refusals.append(refusal)
        soonest = min(range(len(refusals)), key=lambda number: _free_in_ms(refusals[number]))
        if len(refusals) > 1 and _free_in_ms(refusals[soonest]) <= self._wait_ms:
            pool = exchange.pools[soonest]
            waited = await self._picked(exchange, attempt, pool, self._ask(exchange, attempt, pool, self._wait_ms))
            if waited is None:
                return attempt.picked
            refusals[soonest] = waited
        raise _told(refusals)

    def _ask(self, exchange: Exchange, attempt: Attempt, pool: str, wait_ms: int) -> Picking:
        attempt.router = self._routers.owner(pool)
        return attempt.router.ask("pick", self._item(exchange, attempt, pool, wait_ms))

    def _item(self, exchange: Exchange, attempt: Attempt, pool: str, wait_ms: int) -> router_pb2.PickItem:
        item = router_pb2.PickItem(
            lease_id=attempt.lease_id,
            model=exchange.request.model,
            exclude=exchange.tried(),
            pool=pool,
            conversation=exchange.conversation,
            input_tokens=exchange.likely_input_tokens,
            output_tokens=exchange.likely_output_tokens,
            wait_ms=wait_ms,
            only=attempt.only,
            kinds=KINDS_FOR[exchange.api],
        )
        if exchange.trace is not None and exchange.trace.sampled:
            item.traceparent = exchange.trace.traceparent
        return item

    async def _picked(self, exchange: Exchange, attempt: Attempt, pool: str, picking: Picking) -> Refusal | None:
        """Notes the account that was picked; answers why there is none in this pool. Raises Refusal when there will be
        none in another one either."""
        try:
            picked = await picking
        except Refusal as refusal:
            lost = attempt.router
            other = self._routers.owner(pool, other_than=lost)
            if refusal.kind is not Kind.ROUTER_UNAVAILABLE or lost is None or other is lost:
                raise
            lost.tell("report", attempt.report(clock.now_ms()))  # it may have leased an account all the same
            attempt.router = other
            picked = await other.ask("pick", self._item(exchange, attempt, pool, self._wait_ms))
        if not picked.HasField("error"):
            attempt.picked = picked
            return None
        why = from_detail(picked.error)
        if why.kind not in _NEXT_POOL:
            raise why
        return why


def _after_ms(refusal: Refusal) -> float:
    said = refusal.details.get("retry_after_ms", "")
    return int(said) if said.isdigit() else float("inf")


def _free_in_ms(refusal: Refusal) -> float:
    """When there may be an account: perhaps at any moment, where one is only full or being tried."""
    return 0.0 if "may_wait" in refusal.details else _after_ms(refusal)


def _told(refusals: list[Refusal]) -> Refusal:
    """What the pools say together: that the model is unknown only where all say so, that upstreams ask for fewer
    requests or are overloaded where all that know the model say that, and the earliest moment of any."""
    known = [refusal for refusal in refusals if refusal.kind is not Kind.MODEL_UNKNOWN]
    if not known:
        return refusals[0]
    soonest = min(known, key=_after_ms)
    if all(refusal.kind is soonest.kind for refusal in known):
        return soonest
    return Refusal(Kind.NO_HEALTHY_ACCOUNT, Kind.NO_HEALTHY_ACCOUNT.meaning, **soonest.details)
