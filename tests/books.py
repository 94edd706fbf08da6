"""Books of one's own for a test: a migrated database on the deployment's Postgres, and usage to book in it."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, LiteralString
from urllib.parse import quote

import psycopg
from psycopg import sql

from services.embedded.postgres import database_url
from services.ledger.entries import Account
from services.ledger.settlement import UsageRow, instant
from services.ledger.store.audit import Deed
from services.ledger.store.balances import BalanceStore, Movement
from services.ledger.store.booking import PREPARE, BookingStore
from services.ledger.store.grants import GrantStore
from services.ledger.store.verification import Verification
from services.shared import clock, database, ids
from services.shared.settings import Secret
from tests.deployment import Deployment
from tollhouse.v1 import events_pb2

OK = int(events_pb2.USAGE_STATUS_OK)
ORPHANED = int(events_pb2.USAGE_STATUS_ORPHANED)


def superuser_url(tollhouse: Deployment) -> str:
    """The deployment's own database, as its superuser."""
    address = json.loads((tollhouse.state_dir / "run.json").read_text())["addresses"]["postgres"]
    password = json.loads((tollhouse.state_dir / "secrets.json").read_text())["postgres"]
    port = int(address.rpartition(":")[2].partition("/")[0])
    return database_url(port, password)


@contextmanager
def database_named(server_url: str, name: str, template: str = "template1") -> Iterator[str]:
    """Makes a database, and drops it at the end. Answers its URL."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        made = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        connection.execute(made)
        try:
            yield server_url.rpartition("/")[0] + "/" + name
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


class Books:
    """The stores of a ledger, and SQL as the superuser beside them."""

    def __init__(self, url: str, pool: database.Pool) -> None:
        self.url = url
        self.pool = pool
        self.bookings = BookingStore(pool)
        self.grants = GrantStore(pool)
        self.balances = BalanceStore(pool)
        self.verification = Verification(pool)

    async def top_up(self, tenant_id: str, nano: int) -> None:
        movement = Movement("top_up", Account("top_up_clearing"), nano, ids.ulid())
        await self.balances.move(tenant_id, movement, Deed("test", "top_up", tenant_id, "test"))

    async def balance(self, tenant_id: str) -> int:
        return (await self.balances.balance(tenant_id))[0]

    async def differences(self) -> dict[str, list[str]]:
        """What verification finds, by the name of the check."""
        return {check.name: check.differences for check in await self.verification.run() if check.differences}

    def sql(self, statement: LiteralString, *parameters: Any) -> list[Any]:
        """Runs a statement in the ledger's schema, triggers off. Answers the rows."""
        with psycopg.connect(self.url, options="-c search_path=ledger -c session_replication_role=replica") as c:
            cursor = c.execute(statement, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def one(self, statement: LiteralString, *parameters: Any) -> Any:
        return self.sql(statement, *parameters)[0][0]


@asynccontextmanager
async def books_in(url: str) -> AsyncIterator[Books]:
    """The stores on a migrated database, as the ledger's role."""
    pool = await database.connect(
        Secret(url + "?options=" + quote("-c search_path=ledger -c role=tollhouse_ledger")),
        service="test",
        size=6,
        prepare=PREPARE,
    )
    try:
        yield Books(url, pool)
    finally:
        await pool.close()


def usage(tenant_id: str = "acme", cost_nano: int = 0, **fields: Any) -> UsageRow:
    """A record to book, of a request of its own unless `request_id` says which."""
    request_id = fields.setdefault("request_id", ids.request_id(clock.now_ms()))
    plain: dict[str, Any] = {
        "created_at": instant(ids.created_ms(request_id) or 0),
        "attempt": 1,
        "final": True,
        "tenant_id": tenant_id,
        "key_id": f"key_of_{tenant_id}",
        "model": "opus",
        "upstream_model": "opus-upstream",
        "upstream_account_id": "acc_1",
        "upstream_request_id": "",
        "status": OK,
        "http_status": 200,
        "stream": False,
        "estimated": False,
        "input_tokens": 10,
        "output_tokens": 20,
        "cache_read_tokens": 3,
        "cache_write_5m_tokens": 4,
        "cache_write_1h_tokens": 5,
        "cost_nano": cost_nano,
        "price_version": 1,
        "grant_id": "",
        "duration_ms": 1,
        "first_token_ms": 1,
        "requests": 1,
        "multiplier_ppm": 1_000_000,
        "key_grant_id": "",
        "held_nano": cost_nano,
        "request_sha256": b"",
        "response_sha256": b"",
        "delivered_bytes": 0,
        "idempotency_key": "",
        "client_retry": 0,
        "upstream_cost_nano": 0,
        "cost_version": 0,
    }
    return UsageRow(**(plain | fields))
