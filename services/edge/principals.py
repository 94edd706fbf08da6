"""Whom a client key stands for: asked of auth, and remembered for seconds."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nats.aio.client import Client
from nats.aio.msg import Msg

from services.edge.settings import EdgeSettings
from services.shared import bus, clock, principal
from services.shared.batching import Decisions
from services.shared.errors import Refusal, from_detail
from tollhouse.v1 import auth_pb2

DEFAULT_GROUP: Final = "default"
"""What an auth of an earlier version leaves out."""
_PATIENCE_S: Final = 0.25
"""How long whoever is known already waits for auth to say so again."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a client key stands for."""

    tenant_id: str
    key_id: str
    group: str
    """The group of pools that it may use."""
    policy: bytes = b""
    """Which limits hold for it; auth reads it."""
    spend_cap_nano: int | None = None
    """What the key may spend over its life, in nano-dollars; None when it may spend all that its tenant has."""
    brand: str = ""
    """The brand that the key was made for; empty for none."""
    models: frozenset[str] = frozenset()
    """The public models that it may call; empty for all of its group."""
    addresses: tuple[str, ...] = ()
    """The addresses that it may be used from, IP addresses and CIDR blocks; empty for all."""


@dataclass(slots=True)
class _Known:
    answer: Principal | Refusal
    tenant_id: str
    until_s: float
    told_s: float
    """When auth said so."""


class Principals:
    """Resolved keys, unknown ones too: bounded, seconds old at most, dropped at once when a key, tenant or plan
    changes.

    Args:
        auth: gives the replica to ask.
        prefixes: gives what keys may begin with, longest first, as the brands say.
    """

    def __init__(
        self,
        auth: Callable[[], Decisions],
        settings: EdgeSettings,
        prefixes: Callable[[], Sequence[str]] = lambda: principal.KNOWN_PREFIXES,
    ) -> None:
        self._auth = auth
        self._prefixes = prefixes
        self._pepper = settings.key_pepper.reveal().encode()
        others = settings.other_key_peppers.each() if settings.other_key_peppers else []
        self._other_peppers = [other.reveal().encode() for other in others]
        self._pepper_id = principal.pepper_id(self._pepper)
        self._other_pepper_ids = [principal.pepper_id(pepper) for pepper in self._other_peppers]
        self._ttl_s = settings.principal_ttl_s
        self._stale_s = settings.principal_stale_s
        self._limit = settings.principals
        self._known: dict[bytes, _Known] = {}
        self._asking: dict[bytes, asyncio.Future[auth_pb2.ResolveResult]] = {}
        self._generation = 0

    async def listen(self, nc: Client) -> None:
        """Hears of changed keys and tenants from now on."""

        async def key_changed(message: Msg) -> None:
            self._generation += 1
            self._asking.clear()  # what is on its way may be older than the change: whoever comes now asks anew
            self._known.pop(message.data, None)

        async def tenant_changed(message: Msg) -> None:
            self._generation += 1
            self._asking.clear()
            tenant_id = message.data.decode()
            for key_hash in [key_hash for key_hash, known in self._known.items() if known.tenant_id == tenant_id]:
                del self._known[key_hash]

        async def plan_changed(_: Msg) -> None:
            self._generation += 1
            self._asking.clear()
            self._known.clear()

        await nc.subscribe(bus.PLAN_CHANGED, cb=plan_changed)
        await nc.subscribe(bus.KEY_CHANGED, cb=key_changed)
        await nc.subscribe(bus.TENANT_CHANGED, cb=tenant_changed)

    async def of(self, key: str) -> Principal:
        """Whom `key` stands for. Raises Refusal."""
        key_hash = principal.key_hash(key, self._pepper, self._prefixes())
        known = self._known.get(key_hash)
        if known is None:
            answer = await self._resolve(key, key_hash)
        elif known.until_s > (now_s := clock.monotonic_s()):
            answer = known.answer
        elif known.told_s + self._stale_s > now_s and isinstance(known.answer, Principal):
            answer = await self._resolve_unless_away(key, key_hash, known)
        else:
            answer = await self._resolve(key, key_hash)
        if isinstance(answer, Refusal):
            raise Refusal(answer.kind, answer.message, **answer.details)  # a fresh one: tracebacks stick to exceptions
        return answer

    async def _resolve_unless_away(self, key: str, key_hash: bytes, known: _Known) -> Principal | Refusal:
        """What auth says now or, where it cannot tell, say for want of its database, what it said last: keys cannot
        change then either. What it says too late counts for the next request."""
        resolving = asyncio.create_task(self._resolve(key, key_hash))
        resolving.add_done_callback(_looked_at)
        await asyncio.wait({resolving}, timeout=_PATIENCE_S)
        if resolving.done() and resolving.exception() is None and not _passing(resolving.result()):
            return resolving.result()
        if self._known.get(key_hash) is not known:  # told meanwhile that it changed
            return await resolving
        known.until_s = clock.monotonic_s() + self._ttl_s
        return known.answer

    async def _resolve(self, key: str, key_hash: bytes) -> Principal | Refusal:
        generation = self._generation
        asked = self._asking.get(key_hash)
        if asked is None:
            others = [principal.key_hash(key, pepper, self._prefixes()) for pepper in self._other_peppers]
            item = auth_pb2.ResolveItem(
                key_hash=key_hash,
                other_hashes=others,
                pepper_id=self._pepper_id,
                other_pepper_ids=self._other_pepper_ids,
            )
            asked = self._asking[key_hash] = asyncio.ensure_future(self._ask(item))
            asked.add_done_callback(lambda done: self._forget(key_hash, done))
        result = await asyncio.shield(asked)
        if result.HasField("error"):
            answer: Principal | Refusal = from_detail(result.error)
        else:
            who = result.principal
            cap_nano = who.spend_cap_nano if who.HasField("spend_cap_nano") else None
            answer = Principal(
                who.tenant_id,
                who.key_id,
                who.group or DEFAULT_GROUP,
                who.policy,
                cap_nano,
                who.brand,
                frozenset(who.models),
                tuple(who.addresses),
            )
        now_s = clock.monotonic_s()
        if generation == self._generation and not _passing(answer):
            self._remember(key_hash, _Known(answer, result.tenant_id, now_s + self._ttl_s, now_s))
        return answer

    async def _ask(self, item: auth_pb2.ResolveItem) -> auth_pb2.ResolveResult:
        """What auth says: any replica, and another one where that is lost. Raises Refusal."""
        asked = self._auth()
        try:
            result: auth_pb2.ResolveResult = await asked.ask("resolve", item)
        except Refusal:
            other = self._auth()
            if other is asked:
                raise
            result = await other.ask("resolve", item)
        return result

    def _forget(self, key_hash: bytes, done: asyncio.Future[auth_pb2.ResolveResult]) -> None:
        _looked_at(done)
        if self._asking.get(key_hash) is done:
            del self._asking[key_hash]

    def _remember(self, key_hash: bytes, known: _Known) -> None:
        self._known.pop(key_hash, None)
        if len(self._known) >= self._limit:
            del self._known[next(iter(self._known))]  # the oldest
        self._known[key_hash] = known


def _looked_at(done: asyncio.Future[Any]) -> None:
    if not done.cancelled():
        done.exception()  # or asyncio would complain where nobody waits any more


def _passing(answer: Principal | Refusal) -> bool:
    """Whether an answer says something of our services rather than of the key."""
    return isinstance(answer, Refusal) and answer.kind.http_status >= 500
