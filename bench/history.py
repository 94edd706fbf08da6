"""Two months of a busy deployment, written into its Postgres as the services would have left it.

Everything follows from one seed and the moment that it ends at. What the ledger derives from usage records is derived
from them here too, by the same rules, so that `tollhouse ledger verify` finds nothing.
"""

import hashlib
import itertools
import random
from bisect import bisect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from services.ledger.settlement import UsageRow, instant, unix_ms
from services.shared import ids
from services.shared.pricing import Rates, Tokens
from tollhouse.v1 import events_pb2

LARGE: Final = "tenant-000"
"""The tenant that has the largest part of everything."""
_SEED: Final = 7
_DAY_MS: Final = 24 * 3600 * 1000
_BASE_32: Final = "0123456789abcdefghjkmnpqrstvwxyz"
_FOUNDED: Final = timedelta(days=90)
_BOOKING: Final = 4
"""Events of one booking: what edges send within a moment where some ten requests come in a second."""
_TOP_UP_EVERY: Final = 100
"""One transaction in so many is a top-up."""
_ACCOUNTS: Final = ("acc_north", "acc_south", "acc_east", "acc_west")
_RECORD: Final = ", ".join((*UsageRow._fields, "transaction_id", "booked_at"))
_RETRIED_EVERY: Final = 50
"""One request in so many needs a second attempt."""
_PERMILLE: Final = (
    (950, events_pb2.USAGE_STATUS_OK, 200),
    (970, events_pb2.USAGE_STATUS_CLIENT_FAULT, 400),
    (990, events_pb2.USAGE_STATUS_CLIENT_GONE, 200),
    (999, events_pb2.USAGE_STATUS_INTERRUPTED, 200),
    (1000, events_pb2.USAGE_STATUS_ORPHANED, 0),
)
"""How requests end: below so many of a thousand, and with which HTTP status."""
_UNCHARGED: Final = (events_pb2.USAGE_STATUS_CLIENT_FAULT, events_pb2.USAGE_STATUS_UPSTREAM_FAULT)

_DERIVED: Final[tuple[LiteralString, ...]] = (
    """
    INSERT INTO transactions (transaction_id, kind, created_at) OVERRIDING SYSTEM VALUE
        SELECT transaction_id, 'usage', min(booked_at) FROM usage_records WHERE transaction_id > %(base)s GROUP BY 1
    """,
    """
    INSERT INTO ledger_accounts (kind, tenant_id)
        SELECT 'prepaid', tenant_id FROM transactions WHERE transaction_id > %(base)s AND kind = 'top_up' GROUP BY 2
    """,
    """
    INSERT INTO entries
        SELECT t.transaction_id, c.ledger_account_id, p.ledger_account_id, top_ups.amount_nano
        FROM top_ups JOIN transactions t USING (transaction_id)
        JOIN ledger_accounts p ON p.kind = 'prepaid' AND p.tenant_id = t.tenant_id
        JOIN ledger_accounts c ON c.kind = 'top_up_clearing'
    """,
    """
    INSERT INTO entries
        SELECT u.transaction_id, p.ledger_account_id, r.ledger_account_id, sum(u.cost_nano)
        FROM usage_records u JOIN ledger_accounts p ON p.kind = 'prepaid' AND p.tenant_id = u.tenant_id
        JOIN ledger_accounts r ON r.kind = 'revenue'
        WHERE u.transaction_id > %(base)s GROUP BY 1, 2, 3 HAVING sum(u.cost_nano) > 0
    """,
    """
    INSERT INTO entries
        SELECT u.transaction_id, c.ledger_account_id, p.ledger_account_id, sum(u.upstream_cost_nano)
        FROM usage_records u JOIN ledger_accounts c ON c.kind = 'upstream_cost'
        JOIN ledger_accounts p ON p.kind = 'upstream_payable'
        WHERE u.transaction_id > %(base)s GROUP BY 1, 2, 3 HAVING sum(u.upstream_cost_nano) > 0
    """,
    """
    UPDATE ledger_accounts a SET balance_nano = moved.nano FROM (
        SELECT ledger_account_id, sum(nano) AS nano FROM (
            SELECT credit_account_id AS ledger_account_id, amount_nano AS nano FROM entries
            UNION ALL SELECT debit_account_id, -amount_nano FROM entries
        ) AS sides GROUP BY 1
    ) AS moved WHERE a.ledger_account_id = moved.ledger_account_id
    """,
    "SET session_replication_role = origin",  # totals follow rollups by triggers
    """
    INSERT INTO usage_rollups
        SELECT date_trunc('hour', created_at, 'UTC'), tenant_id, key_id, model, upstream_account_id,
            count(*) FILTER (WHERE final), count(*), count(*) FILTER (WHERE estimated), sum(input_tokens),
            sum(output_tokens), sum(cache_read_tokens), sum(cache_write_5m_tokens), sum(cache_write_1h_tokens),
            sum(cost_nano), sum(upstream_cost_nano), 0
        FROM usage_records WHERE transaction_id > %(base)s GROUP BY 1, 2, 3, 4, 5
    """,
    """
    INSERT INTO key_spend
        SELECT key_id, min(tenant_id), sum(cost_nano) FROM usage_records WHERE transaction_id > %(base)s GROUP BY 1
    """,
    "SELECT setval(pg_get_serial_sequence('transactions', 'transaction_id'), max(transaction_id)) FROM transactions",
)


@dataclass(frozen=True)
class Model:
    """A model of the price book."""

    name: str
    rates: Rates


@dataclass(frozen=True)
class History:
    """How much of everything there is, until when.

    Args:
        share: the part of requests and keys that is the large tenant's.
    """

    ends: datetime
    tenants: int = 200
    keys: int = 2000
    records: int = 1_000_000
    days: int = 60
    share: float = 0.3
    deeds: int = 20_000
    payments: int = 2_000
    seed: int = _SEED
    tenant_keys: dict[str, list[str]] = field(init=False, default_factory=dict)
    """The keys of each tenant, the busiest first."""

    def __post_init__(self) -> None:
        of_large = int(self.keys * self.share)
        owners = [LARGE] * of_large + [_tenant(1 + n % (self.tenants - 1)) for n in range(self.keys - of_large)]
        for number, owner in enumerate(owners):
            self.tenant_keys.setdefault(owner, []).append(f"key_{number:026}")

    @property
    def begins(self) -> datetime:
        """The moment of the first request."""
        return self.ends - timedelta(days=self.days)

    def payment_id(self, number: int) -> str:
        """The id of one payment; that of the first is the large tenant's."""
        return f"pay_{number:026}"

    def write(self, url: str) -> None:
        """Fills the database at `url`, as its superuser."""
        with psycopg.connect(url) as connection:
            self._people(connection)
            self._books(connection)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")  # as autovacuum would have, in two months

    def _people(self, connection: psycopg.Connection) -> None:
        founded = self.ends - _FOUNDED
        tenants = ((_tenant(n), f"Tenant {n}", founded + timedelta(minutes=n)) for n in range(self.tenants))
        _copy(connection, "auth.tenants (tenant_id, name, created_at)", tenants)
        keys = (
            (
                key_id,
                tenant_id,
                f"service {n}",
                hashlib.sha256(key_id.encode()).digest(),
                f"sk-…{n:04}",
                founded + timedelta(minutes=n),
            )
            for tenant_id, found in self.tenant_keys.items()
            for n, key_id in enumerate(found)
        )
        _copy(connection, "auth.keys (key_id, tenant_id, name, key_hash, hint, created_at)", keys)
        people = (
            (
                f"person_{n:026}",
                f"person-{n}@bench.example",
                "customer",
                "-",
                _tenant(n),
                True,
                founded + timedelta(minutes=n),
            )
            for n in range(self.tenants)
        )
        columns = "(person_id, email, role, password_hash, tenant_id, tenant_made, created_at)"
        _copy(connection, f"console.people {columns}", people)
        chance = random.Random(self.seed)
        payments = (
            (
                self.payment_id(n),
                LARGE if chance.random() < self.share else _tenant(n % self.tenants),
                f"person_{0:026}",
                "stripe",
                chance.randint(5, 500) * 10**9,
                f"cs_{n}",
                "paid",
                self._moment(n, self.payments),
            )
            for n in range(self.payments)
        )
        columns = "(payment_id, tenant_id, person_id, provider, amount_nano, reference, state, created_at)"
        _copy(connection, f"console.payments {columns}", payments)

    def _books(self, connection: psycopg.Connection) -> None:
        connection.execute("SET search_path = ledger")
        connection.execute("SET work_mem = '256MB'")
        connection.execute("SET session_replication_role = replica")  # a million references need no look-up each
        for partition in _partitions(self.begins, self.ends):
            connection.execute(partition)
        found = connection.execute("SELECT coalesce(max(transaction_id), 0) FROM transactions").fetchone()
        base = found[0] if found else 0
        models = _models(connection)
        top_ups = list(self._top_ups(base))
        columns = "(transaction_id, kind, idempotency_key, reason, actor, tenant_id, created_at)"
        _copy(connection, f"transactions {columns}", (row for row, _ in top_ups))
        connection.execute("CREATE TEMP TABLE top_ups (transaction_id bigint, amount_nano bigint) ON COMMIT DROP")
        _copy(connection, "top_ups", ((row[0], amount) for row, amount in top_ups))
        _copy(connection, f"usage_records ({_RECORD})", self._usage(base + self.tenants, models))
        connection.execute("ANALYZE usage_records")
        for statement in _DERIVED:
            connection.execute(statement, {"base": base} if "%(base)s" in statement else None)
        deeds = (
            (
                self._moment(n, self.deeds),
                f"person-{n % 7}@bench.example",
                ("set_key_policy", "top_up")[n % 2],
                _tenant(n % self.tenants),
                "bench",
                "{}",
            )
            for n in range(self.deeds)
        )
        _copy(connection, "audit (at, actor, action, target, reason, details)", deeds)

    def _top_ups(self, base: int) -> Iterator[tuple[tuple[Any, ...], int]]:
        """Transactions and their amounts: one of each tenant that pays for everything, then small ones between the
        bookings."""

        def row(transaction_id: int, tenant_id: str, at: datetime) -> tuple[Any, ...]:
            return transaction_id, "top_up", f"{tenant_id}/{transaction_id}", "bench", "bench", tenant_id, at

        for number in range(self.tenants):
            yield row(base + 1 + number, _tenant(number), self.begins), 10**6 * 10**9
        bookings = self.records // _BOOKING
        for number in range(bookings // (_TOP_UP_EVERY - 1)):
            tenant_id = LARGE if number % 10 < 10 * self.share else _tenant(number % self.tenants)
            transaction_id = base + self.tenants + (number + 1) * _TOP_UP_EVERY
            yield row(transaction_id, tenant_id, self._moment(number * _TOP_UP_EVERY, bookings)), 10**10

    def _usage(self, base: int, models: Sequence[Model]) -> Iterator[tuple[Any, ...]]:
        """Usage records in the order of their requests, with their transaction and the moment of their booking."""
        for number, row in enumerate(self._attempts(models)):
            booking = number // _BOOKING
            transaction_id = base + booking + 1 + booking // (_TOP_UP_EVERY - 1)
            yield *row, transaction_id, row.created_at + timedelta(milliseconds=row.duration_ms)

    def _attempts(self, models: Sequence[Model]) -> Iterator[UsageRow]:
        chance = random.Random(self.seed)
        requests = self.records * _RETRIED_EVERY // (_RETRIED_EVERY + 1)
        moments = sorted(_busy_ms(chance, unix_ms(self.begins), self.days) for _ in range(requests))
        of_keys = {tenant_id: _Choice(len(keys)) for tenant_id, keys in self.tenant_keys.items()}
        of_models = _Choice(len(models))
        for number, moment in enumerate(moments):
            tenant_id = LARGE if chance.random() < self.share else _tenant(chance.randrange(1, self.tenants))
            key_id = self.tenant_keys[tenant_id][of_keys[tenant_id].made(chance)]
            asked = _Asked(_request_id(moment, chance), moment, tenant_id, key_id, models[of_models.made(chance)])
            if number % _RETRIED_EVERY == 0:
                yield _record(asked, chance, attempt=1, final=False)
            yield _record(asked, chance, attempt=1 + (number % _RETRIED_EVERY == 0), final=True)

    def _moment(self, number: int, of: int) -> datetime:
        return self.begins + (self.ends - self.begins) * (number / of)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request: whose, of what, when."""

    request_id: str
    created_ms: int
    tenant_id: str
    key_id: str
    model: Model


class _Choice:
    """Which of several is used: the first most, each other as much less as it stands further back (Zipf)."""

    def __init__(self, of: int) -> None:
        self._sums = list(itertools.accumulate(1 / (rank + 1) for rank in range(of)))

    def made(self, chance: random.Random) -> int:
        return bisect(self._sums, chance.random() * self._sums[-1], hi=len(self._sums) - 1)


def _record(asked: _Asked, chance: random.Random, *, attempt: int, final: bool) -> UsageRow:
    status, http_status = int(events_pb2.USAGE_STATUS_UPSTREAM_FAULT), 529
    if final:
        fate = chance.randrange(1000)
        _, status, http_status = next(row for row in _PERMILLE if fate < row[0])
    charged = status not in _UNCHARGED
    tokens = Tokens(
        chance.randint(20, 4000), chance.randint(10, 1500), chance.randint(0, 20_000), 0, chance.randint(0, 500), 1
    )
    tokens = tokens if charged else Tokens(0, 0, 0, 0, 0, 0)
    cost_nano = asked.model.rates.cost_nano(tokens)
    duration_ms = chance.randint(400, 30_000)
    return UsageRow(
        created_at=instant(asked.created_ms),
        request_id=asked.request_id,
        attempt=attempt,
        final=final,
        tenant_id=asked.tenant_id,
        key_id=asked.key_id,
        model=asked.model.name,
        upstream_model=asked.model.name,
        upstream_account_id=chance.choice(_ACCOUNTS),
        upstream_request_id=f"msg_{asked.request_id[4:]}",
        status=status,
        http_status=http_status,
        stream=chance.random() < 0.8,
        estimated=charged and status != events_pb2.USAGE_STATUS_OK,
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cache_read_tokens=tokens.cache_read,
        cache_write_5m_tokens=tokens.cache_write_5m,
        cache_write_1h_tokens=tokens.cache_write_1h,
        cost_nano=cost_nano,
        price_version=asked.model.rates.price_version,
        grant_id="",
        duration_ms=duration_ms,
        first_token_ms=duration_ms // 4,
        requests=tokens.requests,
        multiplier_ppm=asked.model.rates.multiplier_ppm,
        key_grant_id="",
        held_nano=2 * cost_nano,
        request_sha256=bytes(32),
        response_sha256=bytes(32),
        delivered_bytes=4 * tokens.output,
        idempotency_key="",
        client_retry=0,
        upstream_cost_nano=cost_nano * 7 // 10,
        cost_version=1,
    )


def _busy_ms(chance: random.Random, begins_ms: int, days: int) -> int:
    """A moment of some day: most are in its afternoon, few in the night."""
    return begins_ms + chance.randrange(days) * _DAY_MS + int(chance.triangular(0, _DAY_MS - 1, 0.6 * _DAY_MS))


def _request_id(created_ms: int, chance: random.Random) -> str:
    """As `ids.request_id` makes them, but for where its random bits come from."""
    value = created_ms << 80 | chance.getrandbits(80)
    return ids.REQUEST_PREFIX + "".join(_BASE_32[value >> shift & 31] for shift in range(125, -1, -5))


def _tenant(number: int) -> str:
    return f"tenant-{number:03}"


def _models(connection: psycopg.Connection) -> list[Model]:
    """The models of the price book, at their list prices."""
    rows = connection.execute(
        "SELECT DISTINCT ON (model) model, price_version, input_pico, output_pico, cache_read_pico,"
        " cache_write_5m_pico, cache_write_1h_pico FROM prices ORDER BY model, price_version DESC"
    ).fetchall()
    return [Model(name, Rates(*rates)) for name, *rates in rows]


def _partitions(begins: datetime, ends: datetime) -> Iterator[sql.Composed]:
    """Statements that make the months which the ledger would have made in its time."""
    month = datetime(begins.year, begins.month, 1, tzinfo=UTC)
    while month < ends:
        following = (month + timedelta(days=32)).replace(day=1)
        yield sql.SQL("CREATE TABLE IF NOT EXISTS {} PARTITION OF usage_records FOR VALUES FROM ({}) TO ({})").format(
            sql.Identifier(f"usage_records_{month:%Y_%m}"), sql.Literal(month), sql.Literal(following)
        )
        month = following


def _copy(connection: psycopg.Connection, into: LiteralString, rows: Iterable[Sequence[Any]]) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {into} FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
