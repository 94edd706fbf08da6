"""The hold of one request, as the edge knows it: how much of its output is held for, and when more must be asked for.

A stream holds a first stretch of its output and asks for more well before that is used up; when more is refused, it
ends where the hold ends (I2). A plain answer cannot be stopped half way: it holds the worst case.
"""

import asyncio
from typing import Final

import msgspec

from services.edge.replicas import Replica
from services.shared import clock
from services.shared.errors import Kind, Refusal, from_detail
from tollhouse.v1 import auth_pb2

_NEVER: Final = 1 << 62
_RETRY_S: Final = 0.25
CREDIT_IS_OUT: Final = frozenset((Kind.BALANCE_EXHAUSTED, Kind.KEY_CAP_EXHAUSTED))


class Hold(msgspec.Struct):
    """One request's hold. Tokens of output unless the name says input; `ask_at` is when to call `follow`.

    Args:
        auth: the replica that keeps the hold.
        stretch: how far ahead of the output to hold.
        patience_s: how long a stream whose hold is used up waits for an auth that does not answer.
        unseen: what it may produce without our seeing it, thinking that is not shown; held for beside what is seen.
    """

    auth: Replica
    hold_id: str
    tenant_id: str
    input_tokens: int
    output_tokens: int
    max_output_tokens: int
    stretch: int
    patience_s: float
    unseen: int = 0
    grant_id: str = ""
    key_grant_id: str = ""
    price_version: int = 0
    multiplier_ppm: int = 0
    held_nano: int = 0
    ask_at: int = _NEVER
    _asked: asyncio.Future[auth_pb2.ExtendResult] | None = None
    _refusal: Refusal | None = None

    def placed(self, result: auth_pb2.AdmitResult) -> None:
        """Auth placed it."""
        self.grant_id, self.key_grant_id = result.grant_id, result.key_grant_id
        self.price_version, self.multiplier_ppm = result.price_version, result.multiplier_ppm
        self.held_nano = result.held_nano
        self._aim()

    def moved(self, result: auth_pb2.RenewResult) -> None:
        """Auth keeps it, perhaps in another grant."""
        if result.grant_id:
            self.grant_id, self.key_grant_id = result.grant_id, result.key_grant_id

    async def follow(self, seen: int) -> Refusal | None:
        """Call when `seen`, the output that was seen, has reached `ask_at`. Asks for more; waits only when the hold is
        used up. Answers why the stream must end here."""
        produced = seen + self.unseen
        if produced < self.output_tokens:
            if self._asked is None:
                self._ask(produced)
            return None
        deadline_s = clock.monotonic_s() + self.patience_s
        while produced >= self.output_tokens and self.output_tokens < self.max_output_tokens:
            asked = self._asked or self._ask(produced)
            await asyncio.wait([asked])
            refusal = self._refusal
            if refusal is None:
                continue
            if refusal.kind in CREDIT_IS_OUT or clock.monotonic_s() > deadline_s:
                return refusal
            await asyncio.sleep(_RETRY_S)
        return None

    def _ask(self, produced: int) -> asyncio.Future[auth_pb2.ExtendResult]:
        wanted = min(self.max_output_tokens, max(2 * self.output_tokens - self.unseen, produced + self.stretch))
        item = auth_pb2.ExtendItem(hold_id=self.hold_id, tenant_id=self.tenant_id, output_tokens=wanted)
        asked: asyncio.Future[auth_pb2.ExtendResult] = self.auth.ask("extend", item)
        self._asked, self._refusal = asked, None
        self.ask_at = self.output_tokens - self.unseen
        asked.add_done_callback(lambda done: self._answered(done, wanted, produced))
        return asked

    def _answered(self, asked: asyncio.Future[auth_pb2.ExtendResult], wanted: int, produced: int) -> None:
        self._asked = None
        if asked.cancelled():
            return
        error = asked.exception()
        if error is not None:
            self._refusal = error if isinstance(error, Refusal) else Refusal(Kind.INTERNAL, Kind.INTERNAL.meaning)
        elif asked.result().HasField("error"):
            self._refusal = from_detail(asked.result().error)
        else:
            self.output_tokens, self.held_nano = wanted, asked.result().held_nano
            self._aim()
            return
        # There may be a top-up until then.
        self.ask_at = produced - self.unseen + max(1, (self.output_tokens - produced) // 2)

    def _aim(self) -> None:
        """More is asked for when half of what is held for may be used."""
        for_what_is_seen = self.output_tokens - self.unseen
        self.ask_at = for_what_is_seen // 2 if self.output_tokens < self.max_output_tokens else _NEVER
