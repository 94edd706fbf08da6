"""Admission: a hold for a request, placed by the owner of its tenant."""

import asyncio
from typing import Final

from services.edge.clients import Auth
from services.edge.dialects.asked import Asked
from services.edge.exchange import Exchange
from services.edge.hold import Hold
from services.edge.outbox import Outbox
from services.edge.principals import Principal
from services.edge.settings import EdgeSettings
from services.edge.sizing import input_tokens_at_most
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import auth_pb2, types_pb2

_ENDED_WITHIN_S: Final = 0.05

Admitting = asyncio.Future[auth_pb2.AdmitResult]


class Admission:
    """Asks auth whether there is credit for a request and no limit against it."""

    def __init__(self, settings: EdgeSettings, auth: Auth, outbox: Outbox) -> None:
        self._settings = settings
        self._auth = auth
        self._outbox = outbox

    def hold(self, request_id: str, principal: Principal, request: Asked, body: bytes, *, billed: bool) -> Hold:
        """The hold to ask for: the worst case or, for a stream, a first stretch of it."""
        settings, output_tokens, unseen = self._settings, request.most_tokens, 0
        if request.stream:
            unseen = min(request.most_tokens, request.unseen * request.choices)
            output_tokens = min(output_tokens, settings.hold_stretch_tokens + unseen)
        return Hold(
            self._auth.owner(principal.tenant_id),
            request_id,
            principal.tenant_id,
            input_tokens_at_most(body) if billed else 0,
            output_tokens,
            request.most_tokens,
            settings.hold_stretch_tokens,
            settings.decision_timeout_s,
            unseen,
        )

    def ask(self, exchange: Exchange) -> Admitting:
        """Begins to ask. Raises Refusal where usage cannot be recorded (I8)."""
        if self._outbox.full:
            raise Refusal(Kind.RECORDING_UNAVAILABLE, "usage cannot be recorded now; please try again")
        hold, principal = exchange.hold, exchange.principal
        item = auth_pb2.AdmitItem(
            hold_id=exchange.request_id,
            tenant_id=principal.tenant_id,
            key_id=principal.key_id,
            model=exchange.request.model,
            input_tokens=hold.input_tokens,
            output_tokens=hold.output_tokens,
            key_cap_nano=principal.spend_cap_nano,
            policy=principal.policy,
            likely_input_tokens=exchange.likely_input_tokens,
            likely_output_tokens=exchange.likely_output_tokens,
        )
        if exchange.trace is not None and exchange.trace.sampled:
            item.traceparent = exchange.trace.traceparent
        return hold.auth.ask("admit", item)

    async def answer(self, exchange: Exchange, admitting: Admitting) -> auth_pb2.AdmitResult:
        """What the tenant's owner says or, when that one is lost, the next in order. Raises Refusal."""
        try:
            admitted = await admitting
            if admitted.HasField("error") and _too_many_at_a_time(admitted.error):
                # A client may hear that an answer has ended before auth does, which another edge tells.
                await asyncio.sleep(_ENDED_WITHIN_S)
                admitted = await self.ask(exchange)
            return admitted
        except Refusal as refusal:
            lost = exchange.hold.auth
            other = self._auth.owner(exchange.principal.tenant_id, other_than=lost)
            if refusal.kind is not Kind.AUTH_UNAVAILABLE or other is lost:
                raise
        lost.tell("settle", exchange.settlement())  # it may have placed the hold all the same
        exchange.hold.auth = other
        return await self.ask(exchange)


def _too_many_at_a_time(error: types_pb2.ErrorDetail) -> bool:
    return error.kind == Kind.RATE_LIMITED.label and error.details["metric"] == "concurrent"
