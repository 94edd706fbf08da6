"""The cashier where processes die and meet: two consoles on one database, and a crash at each step of a credit."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from psycopg import connect

from services.console.clients import Clients
from services.console.payments.cashier import Cashier
from services.console.payments.payment import Begun, Heard, Movement, Payment, Report, State
from services.console.payments.store import PaymentStore
from services.console.settings import ConsoleSettings
from services.shared import database, ids
from services.shared.settings import Secret
from tests.books import superuser_url
from tests.deployment import Deployment
from tollhouse.v1 import auth_pb2

NANO = 1_000_000_000


@dataclass
class Bank:
    """A provider that answers what a test says; obeys the port."""

    name: str = "bank"
    label: str = "Bank"
    way: auth_pb2.TopUp.ValueType = auth_pb2.TOP_UP_CARD
    state: State = State.OPEN
    returned_nano: int = 0

    async def begin(self, payment: Payment, return_url: str) -> Begun:
        return Begun(f"at-bank-{payment.payment_id}", "https://bank.example/")

    def heard(self, headers: object, body: bytes) -> Heard:
        return Heard(payment_id=body.decode(), event="news")

    async def report(self, payment: Payment) -> Report:
        await asyncio.sleep(0)
        return Report(self.state, payment.amount_nano, returned_nano=self.returned_nano)

    async def close(self) -> None:
        """There is nothing to close."""


class Crash(Exception):
    """The process dies here."""


class DyingStore(PaymentStore):
    """A store whose process dies after the ledger has moved the balance, before that is noted."""

    async def moved(self, movement: Movement, check_at: datetime | None) -> None:
        raise Crash


@dataclass
class Consoles:
    """Two consoles' cashiers, and one that dies."""

    one: Cashier
    two: Cashier
    dying: Cashier
    bank: Bank
    tenant_id: str

    async def begun(self) -> Payment:
        wanted = Payment(ids.ulid(), self.tenant_id, "somebody", "bank", 25 * NANO)
        return await self.one.begin(wanted, "https://console.example/")


@pytest.fixture
async def consoles(tollhouse: Deployment) -> AsyncIterator[Consoles]:
    run = json.loads((tollhouse.state_dir / "run.json").read_text())
    secrets = json.loads((tollhouse.state_dir / "secrets.json").read_text())
    url = Secret(f"{superuser_url(tollhouse)}?options=-c%20search_path%3Dconsole")
    settings = ConsoleSettings(
        database_url=url,
        master_key=Secret(""),
        ledger_token=Secret(secrets["ledger_token"]),
        ledger_address=run["addresses"]["ledger"],
    )
    bank = Bank()
    async with contextlib.AsyncExitStack() as stack:
        made = []
        for kind in (PaymentStore, PaymentStore, DyingStore):
            pool = await database.connect(url, service="console", size=4)
            stack.push_async_callback(pool.close)
            clients = Clients(settings)
            stack.push_async_callback(clients.close)
            made.append(Cashier(kind(pool), clients, [bank], check_s=0.05))
        one, two, dying = made
        yield Consoles(one, two, dying, bank, tollhouse.tenant(0).tenant_id)


async def test_two_consoles_that_hear_of_a_payment_at_once_credit_it_once(
    tollhouse: Deployment, consoles: Consoles
) -> None:
    payments = [await consoles.begun() for _ in range(5)]
    consoles.bank.state = State.PAID
    told = [
        cashier.hear("bank", {}, payment.payment_id.encode())
        for payment in payments
        for cashier in (consoles.one, consoles.two)
        for _ in range(4)
    ]
    await asyncio.gather(*told)
    assert tollhouse.balance_nano(consoles.tenant_id) == 125 * NANO
    for payment in payments:
        assert len(await consoles.one.store.movements(payment.payment_id)) == 1


async def test_a_crash_between_the_credit_and_its_note_credits_once(tollhouse: Deployment, consoles: Consoles) -> None:
    payment = await consoles.begun()
    consoles.bank.state = State.PAID
    with pytest.raises(Crash):
        await consoles.dying.hear("bank", {}, payment.payment_id.encode())
    assert tollhouse.balance_nano(consoles.tenant_id) == 25 * NANO
    (movement,) = await consoles.one.store.movements(payment.payment_id)
    assert movement.done_at is None
    await consoles.two.check(payment.payment_id)
    (movement,) = await consoles.one.store.movements(payment.payment_id)
    assert movement.done_at is not None
    assert tollhouse.balance_nano(consoles.tenant_id) == 25 * NANO


async def test_a_crash_between_a_refund_and_its_note_takes_it_once(tollhouse: Deployment, consoles: Consoles) -> None:
    payment = await consoles.begun()
    consoles.bank.state = State.PAID
    await consoles.one.check(payment.payment_id)
    consoles.bank.returned_nano = 10 * NANO
    with pytest.raises(Crash):
        await consoles.dying.check(payment.payment_id)
    consoles.bank.returned_nano = 15 * NANO
    await consoles.two.check(payment.payment_id)
    assert tollhouse.balance_nano(consoles.tenant_id) == 10 * NANO
    amounts = [movement.amount_nano for movement in await consoles.one.store.movements(payment.payment_id)]
    assert amounts == [25 * NANO, -10 * NANO, -5 * NANO]


async def test_what_a_dead_console_left_is_taken_up_by_another(tollhouse: Deployment, consoles: Consoles) -> None:
    payment = await consoles.begun()
    consoles.bank.state = State.PAID
    with pytest.raises(Crash):
        await consoles.dying.hear("bank", {}, payment.payment_id.encode())
    with connect(superuser_url(tollhouse)) as connection:
        connection.execute("UPDATE console.payments SET check_at = now() WHERE payment_id = %s", (payment.payment_id,))
    reconciling = asyncio.create_task(consoles.two.reconcile())
    try:
        async with asyncio.timeout(20):
            while (await consoles.one.store.movements(payment.payment_id))[0].done_at is None:
                await asyncio.sleep(0.02)
    finally:
        reconciling.cancel()
    assert tollhouse.balance_nano(consoles.tenant_id) == 25 * NANO


async def test_an_old_answer_of_the_provider_does_not_replace_a_newer_one(consoles: Consoles) -> None:
    payment = await consoles.begun()
    consoles.bank.state = State.PAID
    await consoles.one.check(payment.payment_id)
    soon = datetime.now(UTC) + timedelta(minutes=1)
    assert not await consoles.two.store.change(payment, "bank", "an old answer", soon)
    stored = await consoles.one.store.get(payment.payment_id)
    assert stored is not None
    assert stored.state is State.PAID


async def test_a_payment_whose_provider_was_never_reached_ends(consoles: Consoles) -> None:
    wanted = Payment(ids.ulid(), consoles.tenant_id, "somebody", "bank", NANO)
    await consoles.one.store.add(wanted)
    await consoles.one.check(wanted.payment_id)
    stored = await consoles.one.store.get(wanted.payment_id)
    assert stored is not None
    assert stored.state is State.FAILED
    again = await consoles.one.begin(wanted, "https://console.example/")
    assert (again.state, again.url) == (State.OPEN, "https://bank.example/")
