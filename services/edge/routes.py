"""Where requests may go: pools with their models, groups, and how long models may take, as the router has them."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import grpc
from nats.aio.client import Client
from nats.aio.msg import Msg

from services.edge.clients import Routers
from services.edge.settings import EdgeSettings
from services.edge.upstream import Patience
from services.shared import bus, clock
from services.shared.errors import Kind, Refusal
from services.shared.telemetry import logger
from tollhouse.v1 import router_pb2

_log = logger("routes")

_LOOK_S: Final = 30.0
_AGAIN_S: Final = 0.25
_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Times:
    """How long a model may take, in seconds."""

    attempts_budget_s: float
    first_byte_s: float
    idle_s: float
    answer_s: float
    total_s: float

    def patience(self, stream: bool, left_s: float) -> Patience:
        """How long an attempt may be silent. A plain answer comes when all of it is there; no attempt outlasts what is
        left of the request's time."""
        return Patience(min(self.first_byte_s if stream else self.answer_s, left_s), self.idle_s)


@dataclass(frozen=True, slots=True)
class _Table:
    """What one answer of the router says."""

    pools: Mapping[str, frozenset[str]] = field(default_factory=dict)
    groups: Mapping[str, Sequence[str]] = field(default_factory=dict)
    models: Mapping[str, router_pb2.Model] = field(default_factory=dict)
    times: Mapping[str, Times] = field(default_factory=dict)


class Routes:
    """The routes, at most a moment old."""

    def __init__(self, routers: Routers, settings: EdgeSettings) -> None:
        self._routers = routers
        self._usual = Times(
            settings.attempts_budget_s,
            settings.first_byte_timeout_s,
            settings.silence_timeout_s,
            settings.answer_timeout_s,
            settings.total_timeout_s,
        )
        self._table = _Table()
        self._changed = asyncio.Event()
        self.known = asyncio.Event()
        """Set when the router has told them for the first time."""

    def pools(self, group: str, model: str) -> list[str]:
        """The pools to ask for a model, in order; at least one. Raises Refusal."""
        table = self._table
        listed = table.groups.get(group)
        if listed is None:
            if not self.known.is_set():
                raise Refusal(Kind.ROUTER_UNAVAILABLE, Kind.ROUTER_UNAVAILABLE.meaning)
            raise Refusal(Kind.NO_HEALTHY_ACCOUNT, f"the key's group {group!r} does not exist")
        if not listed:
            raise Refusal(Kind.NO_HEALTHY_ACCOUNT, f"the key's group {group!r} has no pool")
        # Where no pool serves it, the router knows whether that is for good or was a moment ago.
        return [pool for pool in listed if model in table.pools.get(pool, ())] or list(listed[:1])

    def serves(self, group: str, model: str) -> bool:
        """Whether a group may call a model at all."""
        return any(model in self._table.pools.get(pool, ()) for pool in self._table.groups.get(group, ()))

    def times(self, model: str) -> Times:
        """How long a model may take."""
        return self._table.times.get(model, self._usual)

    def models(self, group: str) -> list[router_pb2.Model]:
        """What a group may call now, by id. Raises Refusal while nobody has told."""
        table = self._table
        if not self.known.is_set():
            raise Refusal(Kind.ROUTER_UNAVAILABLE, Kind.ROUTER_UNAVAILABLE.meaning)
        ids = set().union(*(table.pools.get(pool, ()) for pool in table.groups.get(group, ())))
        return [table.models[model] for model in sorted(ids) if model in table.models]

    async def listen(self, nc: Client) -> None:
        """Hears of changes from now on."""

        async def changed(_: Msg) -> None:
            self._changed.set()

        await nc.subscribe(bus.ROUTES_CHANGED, cb=changed)

    async def keep(self) -> None:
        """Asks the router whenever something changed, and now and then; until cancelled."""
        while True:
            self._changed.clear()
            wait_s = _LOOK_S if await self._load() else _AGAIN_S
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def _load(self) -> bool:
        try:
            response = await self._routers.any().stub.GetRoutes(router_pb2.GetRoutesRequest(), timeout=_TIMEOUT_S)
        except Refusal:
            return False  # none has been heard of yet
        except grpc.aio.AioRpcError as error:
            _log.warning("routes_not_loaded", error=error.code().name)
            return False
        self._table = _Table(
            {pool.name: frozenset(pool.models) for pool in response.pools},
            {group.name: tuple(group.pools) for group in response.groups},
            {model.model: model for model in response.models},
            {model.model: self._times(model.times) for model in response.models if model.HasField("times")},
        )
        self.known.set()
        return True

    def _times(self, said: router_pb2.ModelTimes) -> Times:
        usual = self._usual
        return Times(
            said.attempts_budget_ms / clock.MS_PER_S or usual.attempts_budget_s,
            said.first_byte_ms / clock.MS_PER_S or usual.first_byte_s,
            said.idle_ms / clock.MS_PER_S or usual.idle_s,
            said.idle_ms / clock.MS_PER_S or usual.answer_s,
            said.total_ms / clock.MS_PER_S or usual.total_s,
        )
