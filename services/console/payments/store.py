"""The console's SQL of payments."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import TupleRow

from services.console.payments.payment import Dispute, Finding, Movement, Payment, State
from services.shared.database import Pool

NEEDS_DECISION: Final = "review"
OWED: Final = "owed"
SHOWN: Final = ("", *(state.value for state in State if state is not State.REVIEW), NEEDS_DECISION, OWED)
"""What a list of payments may be narrowed to."""

_COLUMNS: Final = ", ".join(f"p.{field.name}" for field in fields(Payment))
_REFUSED: Final = (
    "EXISTS (SELECT 1 FROM payment_movements m"
    " WHERE m.payment_id = p.payment_id AND m.done_at IS NULL AND m.refused <> '')"
)
_SOON: Final = "now() + interval '30 seconds'"
_NARROWED: Final = {
    "": "true",
    NEEDS_DECISION: "p.state = 'review' AND p.decided_nano IS NULL",
    OWED: _REFUSED,
}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a payment."""

    at: datetime
    source: str
    said: str


class PaymentStore:
    """Payments, their movements, and their events."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    # ---- reading ----

    async def get(self, payment_id: str) -> Payment | None:
        """One payment."""
        found = await self._payments("p.payment_id = %s", payment_id)
        return found[0] if found else None

    async def named(self, provider: str, payment_id: str, reference: str, part: str) -> Payment | None:
        """The payment that a provider calls by any of these."""
        found = await self._payments(
            "p.provider = %s AND (p.payment_id = %s OR (p.reference <> '' AND p.reference = %s)"
            " OR (%s <> '' AND p.parts @> ARRAY[%s])) LIMIT 1",
            *(provider, payment_id, reference, part, part),
        )
        return found[0] if found else None

    async def of_tenant(self, tenant_id: str, limit: int, before: str = "") -> list[Payment]:
        """A tenant's payments, newest first; those before one of them."""
        return await self._payments(
            "p.tenant_id = %s AND (%s = '' OR p.payment_id < %s) ORDER BY p.payment_id DESC LIMIT %s",
            *(tenant_id, before, before, limit),
        )

    async def page(self, limit: int, narrowed_to: str = "", tenant_id: str = "", before: str = "") -> list[Payment]:
        """Everybody's payments, newest first. `narrowed_to` is one of SHOWN."""
        condition = _NARROWED.get(narrowed_to, "p.state = %s")
        values = () if narrowed_to in _NARROWED else (narrowed_to,)
        return await self._payments(
            f"{condition} AND (%s = '' OR p.tenant_id = %s) AND (%s = '' OR p.payment_id < %s)"
            " ORDER BY p.payment_id DESC LIMIT %s",
            *(*values, tenant_id, tenant_id, before, before, limit),
        )

    async def counts(self) -> tuple[int, int]:
        """How many payments an operator has to decide, and how many the customer's balance could not give back."""
        query = f"SELECT count(*) FILTER (WHERE {_NARROWED[NEEDS_DECISION]}), count(*) FILTER (WHERE {_REFUSED})"
        async with self._pool.connection() as connection:
            row = await (await connection.execute(f"{query} FROM payments p".encode())).fetchone()
        return (int(row[0]), int(row[1])) if row else (0, 0)

    async def movements(self, payment_id: str) -> list[Movement]:
        """What a payment moved, or is to move, in order."""
        query = (
            b"SELECT payment_id, number, amount_nano, done_at, refused FROM payment_movements"
            b" WHERE payment_id = %s ORDER BY number"
        )
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(query, (payment_id,))).fetchall()
        return [Movement(*row) for row in rows]

    async def events(self, payment_id: str) -> list[Event]:
        """What happened to a payment, newest first."""
        query = b"SELECT at, source, said FROM payment_events WHERE payment_id = %s ORDER BY event_id DESC LIMIT 200"
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(query, (payment_id,))).fetchall()
        return [Event(*row) for row in rows]

    # ---- beginning ----

    async def add(self, payment: Payment) -> Payment:
        """Stores a payment before its provider is asked; answers the one that is stored under its id."""
        await self._run(
            "INSERT INTO payments (payment_id, tenant_id, person_id, provider, amount_nano, check_at)"
            " VALUES (%s, %s, %s, %s, %s, now() + interval '1 hour') ON CONFLICT (payment_id) DO NOTHING",
            *(payment.payment_id, payment.tenant_id, payment.person_id, payment.provider, payment.amount_nano),
        )
        stored = await self.get(payment.payment_id)
        assert stored is not None, "a payment that was just stored"
        return stored

    async def begun(self, payment_id: str, reference: str, url: str, check_at: datetime | None) -> None:
        """Notes the provider's name for a payment, and where it is paid; what was noted first stays."""
        await self._run(
            "UPDATE payments SET state = 'open', reference = %s, url = %s, check_at = %s, version = version + 1,"
            " changed_at = now() WHERE payment_id = %s AND reference = ''",
            *(reference, url, check_at, payment_id),
        )

    # ---- what happens to it ----

    async def heard(self, payment_id: str, part: str, source: str, said: str) -> None:
        """Notes a webhook: the payment is to be checked now, whoever comes to it first."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(
                "UPDATE payments SET check_at = now(), version = version + 1,"
                " parts = CASE WHEN %(part)s = '' OR parts @> ARRAY[%(part)s] THEN parts"
                " ELSE parts || ARRAY[%(part)s] END WHERE payment_id = %(payment)s",
                {"part": part, "payment": payment_id},
            )
            await _note(connection, payment_id, source, said)

    async def change(self, payment: Payment, source: str, said: str, check_at: datetime | None) -> bool:
        """Replaces a payment by what it is now, unless it was changed meanwhile; then it answers False. What is missing
        between what the payment has moved and what is due is noted as a movement to do."""
        async with self._pool.connection() as connection, connection.transaction():
            changed = await connection.execute(
                "UPDATE payments SET parts = %s, state = %s, finding = %s, received = %s, received_nano = %s,"
                " returned_nano = %s, dispute = %s, decided_nano = %s, version = version + 1, changed_at = now(),"
                " checked_at = now(), check_at = %s WHERE payment_id = %s AND version = %s",
                (
                    *(list(payment.parts), payment.state, payment.finding, payment.received, payment.received_nano),
                    *(payment.returned_nano, payment.dispute, payment.decided_nano),
                    *(check_at, payment.payment_id, payment.version),
                ),
            )
            if not changed.rowcount:
                return False
            if await _add_movement(connection, payment):
                await connection.execute(
                    f"UPDATE payments SET check_at = {_SOON} WHERE payment_id = %s".encode(), (payment.payment_id,)
                )
            if said:
                await _note(connection, payment.payment_id, source, said)
        return True

    async def unchanged(self, payment: Payment, check_at: datetime | None) -> bool:
        """Notes that the provider had nothing new; answers False if the payment was changed meanwhile."""
        return await self._run(
            "UPDATE payments SET checked_at = now(), check_at = %s WHERE payment_id = %s AND version = %s",
            *(check_at, payment.payment_id, payment.version),
        )

    async def may_look(self, payment_id: str, interval: timedelta) -> bool:
        """Whether the provider was not asked for so long; if so, somebody is about to, and nobody else is to."""
        return await self._run(
            "UPDATE payments SET checked_at = now()"
            " WHERE payment_id = %s AND (checked_at IS NULL OR checked_at < now() - %s)",
            *(payment_id, interval),
        )

    async def moved(self, movement: Movement, check_at: datetime | None) -> None:
        """Notes that the ledger has made a movement."""
        async with self._pool.connection() as connection, connection.transaction():
            done = await connection.execute(
                "UPDATE payment_movements SET done_at = now(), refused = ''"
                " WHERE payment_id = %s AND number = %s AND done_at IS NULL",
                (movement.payment_id, movement.number),
            )
            if done.rowcount:
                await connection.execute(
                    "UPDATE payments SET check_at = %s, changed_at = now() WHERE payment_id = %s",
                    (check_at, movement.payment_id),
                )

    async def refused(self, movement: Movement, why: str, check_at: datetime | None) -> None:
        """Notes why the ledger would not make a movement, which is tried again."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(
                "UPDATE payment_movements SET refused = %s WHERE payment_id = %s AND number = %s AND done_at IS NULL",
                (why, movement.payment_id, movement.number),
            )
            await connection.execute(
                "UPDATE payments SET check_at = %s WHERE payment_id = %s", (check_at, movement.payment_id)
            )

    async def claim(self, limit: int) -> list[Payment]:
        """Payments that are to be checked now, which no other console checks for the next minutes."""
        query = (
            "UPDATE payments p SET check_at = now() + interval '2 minutes' WHERE p.payment_id IN"
            " (SELECT payment_id FROM payments WHERE check_at <= now() ORDER BY check_at LIMIT %s"
            f" FOR UPDATE SKIP LOCKED) RETURNING {_COLUMNS}"
        )
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(query.encode(), (limit,))).fetchall()
        return [_payment(row) for row in rows]

    async def _payments(self, condition: str, *values: Any) -> list[Payment]:
        query = f"SELECT {_COLUMNS} FROM payments p WHERE {condition}"
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(query.encode(), values)).fetchall()
        return [_payment(row) for row in rows]

    async def _run(self, query: str, *values: Any) -> bool:
        async with self._pool.connection() as connection:
            return (await connection.execute(query.encode(), values)).rowcount > 0


def _payment(row: Sequence[Any]) -> Payment:
    said = dict(zip((field.name for field in fields(Payment)), row, strict=True))
    said |= {"parts": tuple(said["parts"]), "state": State(said["state"])}
    said |= {"finding": Finding(said["finding"]), "dispute": Dispute(said["dispute"])}
    return Payment(**said)


async def _add_movement(connection: AsyncConnection[TupleRow], payment: Payment) -> bool:
    """The row of the payment is locked by its update, so that movements are counted one after the other."""
    added = await connection.execute(
        "INSERT INTO payment_movements (payment_id, number, amount_nano)"
        " SELECT %(payment)s, count(*) + 1, %(due)s - coalesce(sum(amount_nano), 0)::bigint"
        " FROM payment_movements WHERE payment_id = %(payment)s"
        " HAVING %(due)s <> coalesce(sum(amount_nano), 0)",
        {"payment": payment.payment_id, "due": payment.due_nano},
    )
    return added.rowcount > 0


async def _note(connection: AsyncConnection[TupleRow], payment_id: str, source: str, said: str) -> None:
    await connection.execute(
        "INSERT INTO payment_events (payment_id, source, said) VALUES (%s, %s, %s)", (payment_id, source, said)
    )
