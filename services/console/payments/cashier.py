"""The cashier: begins payments, hears of them, asks how they stand, and has the ledger credit what was paid.

A payment is stored before its provider is asked. A change of it and the movement of the balance that follows from the
change are stored together; then the ledger is asked under the movement's idempotency key, then it is noted as done.
Wherever that breaks off, the check that is due next takes it up, on any console.
"""

from __future__ import annotations  # the asynchronous stubs exist for type checkers only

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from psycopg import OperationalError

from services.console.brands import sells_by
from services.console.clients import Clients
from services.console.payments.payment import (
    Dispute,
    Finding,
    Movement,
    Payment,
    Provider,
    ProviderFailed,
    State,
    absorbed,
    next_check,
)
from services.console.payments.store import PaymentStore
from services.shared import clock
from services.shared.errors import Blame, Refusal
from services.shared.money import dollars
from services.shared.telemetry import logger
from tollhouse.v1 import auth_pb2, billing_pb2

_TRIES: Final = 3
_BATCH: Final = 20
_OWED_CHECK: Final = timedelta(hours=1)
_LOOK_AGAIN: Final = timedelta(seconds=10)
"""A page that waits for a payment makes us ask its provider no more often than that."""
_log = logger("payments")


class Taken(Exception):
    """The payment's id is another tenant's, or stands for something else."""


class Cashier:
    """Payments through every provider that the settings name.

    Args:
        check_s: seconds between two looks for payments that are to be checked.
    """

    def __init__(self, store: PaymentStore, clients: Clients, providers: Sequence[Provider], check_s: float) -> None:
        self.store = store
        self.providers = {provider.name: provider for provider in providers}
        self._clients = clients
        self._check_s = check_s

    def offered(self, brand: auth_pb2.Brand) -> list[Provider]:
        """The providers of a brand's ways to buy credit."""
        return [provider for provider in self.providers.values() if sells_by(brand, provider.way)]

    async def begin(self, payment: Payment, return_url: str) -> Payment:
        """Stores a payment and finds where it is paid; asked again for the same one it answers the same place. Raises
        Taken, ProviderFailed."""
        stored = await self.store.add(payment)
        same = (payment.tenant_id, payment.provider, payment.amount_nano)
        if (stored.tenant_id, stored.provider, stored.amount_nano) != same:
            raise Taken(payment.payment_id)
        if not stored.url:
            begun = await self.providers[stored.provider].begin(stored, return_url)
            await self.store.begun(stored.payment_id, begun.reference, begun.url, next_check(stored, _now()))
            stored = await self.store.get(stored.payment_id) or stored
        return stored

    async def hear(self, name: str, headers: Mapping[str, str], body: bytes) -> None:
        """A webhook. It is noted, so that nothing is lost whatever happens then; then we ask the provider. Raises
        Forged, KeyError for a provider that is not set up."""
        heard = self.providers[name].heard(headers, body)
        payment = await self.store.named(name, heard.payment_id, heard.reference, heard.part)
        if payment is None:
            _log.info("webhook_of_nothing_known", provider=name, event_type=heard.event)
            return
        await self.store.heard(payment.payment_id, heard.part, name, f"Webhook: {heard.event}")
        await self.check(payment.payment_id)

    async def check(self, payment_id: str) -> None:
        """Asks the provider how a payment stands, and brings the balance to it. Failures are logged: a later check
        makes up for them."""
        try:
            await self._settle(payment_id)
            for _ in range(_TRIES):
                payment = await self.store.get(payment_id)
                if payment is None or await self._asked(payment):
                    break
            await self._settle(payment_id)
        except (ProviderFailed, Refusal) as failed:
            _log.warning("payment_not_checked", payment_id=payment_id, error=str(failed))

    async def look(self, payment: Payment) -> Payment:
        """A payment that somebody waits for, asked about anew if that is a while ago."""
        if payment.is_under_way and payment.reference and await self.store.may_look(payment.payment_id, _LOOK_AGAIN):
            await self.check(payment.payment_id)
            return await self.store.get(payment.payment_id) or payment
        return payment

    async def decide(self, payment: Payment, credit_nano: int, actor: str, reason: str) -> bool:
        """Credits what came of a payment in review, or nothing; answers False if it is no longer to be decided."""
        if not payment.needs_decision:
            return False
        said = f"Decided: {dollars(credit_nano)} credited. {reason}"
        decided = replace(payment, decided_nano=credit_nano)
        kept = await self.store.change(decided, actor, said, next_check(decided, _now()))
        if kept:
            await self._settle_quietly(payment.payment_id)
        return kept

    async def reconcile(self) -> None:
        """Checks what is due, for as long as the process lives."""
        while True:
            await asyncio.sleep(self._check_s)
            try:
                for payment in await self.store.claim(_BATCH):
                    await self.check(payment.payment_id)
            except OperationalError as error:
                _log.warning("payments_not_reconciled", error=str(error))

    async def close(self) -> None:
        """Closes connections to the providers."""
        await asyncio.gather(*(provider.close() for provider in self.providers.values()))

    async def _asked(self, payment: Payment) -> bool:
        """Whether the provider's answer is stored: not if the payment was changed since it was read."""
        provider, now = self.providers.get(payment.provider), _now()
        if not payment.reference:  # nobody was ever sent anywhere
            gone = replace(payment, state=State.FAILED)
            return await self.store.change(gone, payment.provider, "It was not reached.", None)
        if provider is None:  # the settings name it no more
            return await self.store.unchanged(payment, now + _OWED_CHECK)
        known = absorbed(payment, await provider.report(payment))
        check_at = next_check(known, now)
        if check_at is None and known.state is State.OPEN:
            known = replace(known, state=State.EXPIRED)
        if known == payment:
            return await self.store.unchanged(payment, check_at)
        return await self.store.change(known, payment.provider, told(known), check_at)

    async def _settle_quietly(self, payment_id: str) -> None:
        try:
            await self._settle(payment_id)
        except Refusal as refusal:
            _log.warning("payment_not_settled", payment_id=payment_id, error=str(refusal))

    async def _settle(self, payment_id: str) -> None:
        """Has the ledger make the movements that are to do."""
        payment = await self.store.get(payment_id)
        if payment is None:
            return
        for movement in await self.store.movements(payment_id):
            if movement.done_at is not None:
                continue
            try:
                await self._move(payment, movement)
            except Refusal as refusal:
                if refusal.kind.blame is Blame.OURS:
                    raise
                _log.error("payment_movement_refused", payment_id=payment_id, error=str(refusal))
                await self.store.refused(movement, refusal.message, _now() + _OWED_CHECK)
            else:
                await self.store.moved(movement, next_check(payment, _now()))

    async def _move(self, payment: Payment, movement: Movement) -> None:
        said = {
            "tenant_id": payment.tenant_id,
            "amount_nano": abs(movement.amount_nano),
            "idempotency_key": movement.idempotency_key,
            "actor": f"payments/{payment.provider}",
        }
        if movement.amount_nano > 0:
            reason = f"payment {payment.payment_id}"
            await self._clients.billing.TopUp(billing_pb2.TopUpRequest(reason=reason, **said))  # type: ignore[arg-type]
            return
        await self._clients.billing.Adjust(
            billing_pb2.AdjustRequest(
                kind=billing_pb2.ADJUSTMENT_KIND_REFUND,
                reason=f"returned payment {payment.payment_id}",
                **said,  # type: ignore[arg-type]
            )
        )


def told(payment: Payment) -> str:
    """How a payment stands, in a sentence for its history."""
    said = payment.state.value.capitalize()
    if payment.finding is not Finding.NONE:
        said += f", {payment.finding.value}"
    if payment.received:
        said += f", received {payment.received}"
    if payment.returned_nano:
        said += f", {dollars(payment.returned_nano)} went back"
    if payment.dispute is not Dispute.NONE:
        said += f", dispute {payment.dispute.value}"
    return f"{said}."


def _now() -> datetime:
    return datetime.fromtimestamp(clock.now_ms() / clock.MS_PER_S, UTC)
