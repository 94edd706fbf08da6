"""Usage messages that could not be booked: to be looked at, and booked once more when the reason is gone."""

from collections.abc import AsyncIterator, Sequence
from typing import Final

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import RawStreamMsg
from nats.js.errors import NotFoundError

from services.ledger.settlement import Poison, decode, unix_ms
from services.shared import bus
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import ledger_pb2

_REASON: Final = "Tollhouse-Reason"
_REPLAYED_MOST: Final = 100_000
_LISTED_BYTES: Final = 2 << 20
"""Beside one more message of at most 1 MiB, below the 4 MiB that gRPC takes."""


class DeadLetters:
    """The stream that they are parked in."""

    def __init__(self, nc: Client) -> None:
        self._js = nc.jetstream()

    async def list(self, limit: int) -> Sequence[ledger_pb2.DeadLetter]:
        """The oldest ones, fewer than `limit` where they would fill a gRPC message. Raises Refusal when NATS does not
        answer."""
        letters: list[ledger_pb2.DeadLetter] = []
        size_bytes = 0
        try:
            async for message in self._every():
                letters.append(_letter(message))
                size_bytes += len(message.data or b"")
                if len(letters) >= limit or size_bytes > _LISTED_BYTES:
                    break
        except (NatsError, TimeoutError) as error:
            raise _unavailable(error) from error
        return letters

    async def replay(self, sequences: Sequence[int]) -> int:
        """Publishes messages again, all of them without `sequences`, each forgotten when JetStream has it. Answers how
        many. Raises Refusal."""
        replayed = 0
        wanted = set(sequences)
        try:
            found = [m.seq or 0 async for m in self._every() if not wanted or m.seq in wanted]
            missing = wanted - set(found)
            if missing:
                raise Refusal(Kind.NOT_FOUND, f"there is no dead letter {min(missing)}")
            for sequence in found:  # fetched anew, for all of them may be more than memory holds
                message = await self._js.get_msg(bus.DEAD_STREAM, seq=sequence)
                await self._js.publish(bus.USAGE_SUBJECT, message.data or b"")
                await self._js.delete_msg(bus.DEAD_STREAM, sequence)
                replayed += 1
        except (NatsError, TimeoutError) as error:
            raise _unavailable(error) from error
        return replayed

    async def _every(self) -> AsyncIterator[RawStreamMsg]:
        sequence = 1
        for _ in range(_REPLAYED_MOST):
            try:
                message = await self._js.get_msg(bus.DEAD_STREAM, seq=sequence, subject=bus.DEAD_SUBJECT, next=True)
            except NotFoundError:
                return
            yield message
            sequence = (message.seq or 0) + 1


def _letter(message: RawStreamMsg) -> ledger_pb2.DeadLetter:
    letter = ledger_pb2.DeadLetter(
        sequence=message.seq or 0,
        reason=(message.headers or {}).get(_REASON, ""),
        parked_ms=unix_ms(message.time) if message.time else 0,
    )
    try:
        letter.events.extend(decode(message.data or b""))
    except Poison:
        pass  # not readable, as its reason says
    return letter


def _unavailable(error: Exception) -> Refusal:
    return Refusal(Kind.LEDGER_UNAVAILABLE, f"NATS does not answer: {error!r}")
