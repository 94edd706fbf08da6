"""The key-value bucket of NATS through which replicas of the router share cooldowns, and find them after a restart."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime
from typing import Final

import msgspec
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import TimeoutError as NatsTimeout
from nats.js.api import StorageType
from nats.js.client import JetStreamContext
from nats.js.errors import BucketNotFoundError
from nats.js.kv import KeyValue

from services.router.health import Cooldown, Shared
from services.shared import bus
from services.shared.telemetry import logger
from tollhouse.v1 import router_pb2

_REQUEST_TIMEOUT_S: Final = 2.0
_PAUSE_S: Final = 0.5
_TOGETHER_S: Final = 0.02
"""Changes of one key within it are written once."""
_AT_ONCE: Final = 32
_LOOK_S: Final = 0.25
"""How soon a connection that was made anew is noticed."""
_WATCH_ANEW_S: Final = 300.0
"""A watch whose consumer the server lost without a word is replaced after this."""

_log = logger("cooldowns")

Key = tuple[str, str]
"""An upstream account's id and a family of models."""


class _Value(msgspec.Struct, omit_defaults=True):
    """A value of the bucket."""

    ended_ms: int = 0
    until_ms: int = 0
    stamp_ms: int = 0
    since_ms: int = 0
    cause: int = 0
    streak: int = 0


_decode: Final = msgspec.json.Decoder(_Value).decode


class CooldownBucket:
    """Writes what changed here and tells what changed anywhere.

    Args:
        current: what is to be written for a key; None deletes it.
        received: called with each value, first with all that are there.
        received_all: called when all that were there have come, with their keys.
        replicas: servers of NATS that keep it, where it is made here.
    """

    def __init__(
        self,
        nc: Client,
        current: Callable[[Key], Shared | None],
        received: Callable[[Key, Shared], None],
        received_all: Callable[[set[Key]], None],
        replicas: int = 1,
    ) -> None:
        self._nc = nc
        self._replicas = replicas
        self._current = current
        self._received = received
        self._received_all = received_all
        self._changed: dict[Key, None] = {}
        self._wake = asyncio.Event()

    def changed(self, key: Key) -> None:
        """Has the key written, soon; with its value of that moment."""
        self._changed[key] = None
        self._wake.set()

    async def run(self) -> None:
        """Writes and watches until cancelled, through any absence of NATS."""
        js = self._nc.jetstream(timeout=_REQUEST_TIMEOUT_S)
        while True:
            try:
                bucket = await _open(js, self._replicas)
                async with asyncio.TaskGroup() as group:
                    writing = group.create_task(self._write(bucket))
                    await self._watch(bucket)
                    writing.cancel()
            except* (NatsError, TimeoutError, OSError) as errors:
                _log.warning("cooldowns_not_shared", error=repr(errors.exceptions[0]))
                await asyncio.sleep(_PAUSE_S)

    async def _write(self, bucket: KeyValue) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(_TOGETHER_S)
            keys = list(self._changed)[:_AT_ONCE]
            for key in keys:
                del self._changed[key]
            try:
                async with asyncio.TaskGroup() as group:
                    for key in keys:
                        group.create_task(self._put(bucket, key))
            except BaseException:
                self._changed |= dict.fromkeys(keys)  # writing a value twice does no harm
                raise
            if not self._changed:
                self._wake.clear()

    async def _put(self, bucket: KeyValue, key: Key) -> None:
        shared = self._current(key)
        if shared is None:
            await bucket.delete(_name(key))
        else:
            await bucket.put(_name(key), _encode(shared))

    async def _watch(self, bucket: KeyValue) -> None:
        """Ends when the watch should be made anew: the server keeps its consumer in memory only."""
        connection = self._nc.stats["reconnects"]
        watcher = await bucket.watchall()
        there: set[Key] | None = set()
        try:
            async with asyncio.timeout(_WATCH_ANEW_S):
                while self._nc.stats["reconnects"] == connection:
                    with contextlib.suppress(NatsTimeout):
                        entry = await watcher.updates(timeout=_LOOK_S)  # type: ignore[no-untyped-call]
                        if entry is not None:
                            self._take(entry, there)
                        elif there is not None:
                            self._received_all(there)
                            there = None
        except TimeoutError:
            return
        finally:
            with contextlib.suppress(NatsError):
                await watcher.stop()  # type: ignore[no-untyped-call]

    def _take(self, entry: KeyValue.Entry, there: set[Key] | None) -> None:
        read = _read(entry)
        if read is None:
            _log.warning("cooldown_unreadable", key=entry.key)
            return
        key, shared = read
        if there is not None and entry.operation is None:
            there.add(key)
        self._received(key, shared)


async def _open(js: JetStreamContext, replicas: int) -> KeyValue:
    """The bucket, which whoever comes first makes; one that is there, such as an operator's, is taken as it is."""
    try:
        return await js.key_value(bus.COOLDOWNS_BUCKET)
    except BucketNotFoundError:
        return await js.create_key_value(
            bucket=bus.COOLDOWNS_BUCKET, history=1, storage=StorageType.FILE, replicas=replicas
        )


def _name(key: Key) -> str:
    account_id, family = key
    return f"{account_id}.{family.encode().hex()}"


def _encode(shared: Shared) -> bytes:
    if shared.cooldown is None:
        return msgspec.json.encode(_Value(shared.ended_ms))
    until_ms, stamp_ms, since_ms, cause, streak = shared.cooldown
    return msgspec.json.encode(_Value(shared.ended_ms, until_ms, stamp_ms, since_ms, int(cause), streak))


def _read(entry: KeyValue.Entry) -> tuple[Key, Shared] | None:
    """A key's value; None when it is none of ours. A deleted one is over since its deletion."""
    account_id, _, family = entry.key.partition(".")
    try:
        key = account_id, bytes.fromhex(family).decode()
        if entry.operation is not None:
            created: object = entry.created
            assert isinstance(created, datetime)
            return key, Shared(None, int(created.timestamp() * 1000))
        value = _decode(entry.value or b"")
    except ValueError:
        return None
    if not value.cause:
        return key, Shared(None, value.ended_ms)
    cause = router_pb2.Cause.ValueType(value.cause)
    cooldown = Cooldown(value.until_ms, value.stamp_ms, value.since_ms, cause, value.streak)
    return key, Shared(cooldown, value.ended_ms)
