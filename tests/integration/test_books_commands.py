"""`tollhouse ledger verify` and `tollhouse dead`, over a deployment; what is parked, and booked once it can be."""

import asyncio
import json
from pathlib import Path
from urllib.parse import urlsplit

import nats
import psycopg

from services.embedded.nats import client_url
from services.shared import bus, clock, ids
from tests.books import superuser_url
from tests.deployment import Deployment, eventually
from tests.integration.test_commands import run
from tollhouse.v1 import billing_pb2, events_pb2, ledger_pb2, types_pb2


def publish(tollhouse: Deployment, data: bytes) -> None:
    """Puts a message where edges put usage."""
    address = json.loads((tollhouse.state_dir / "run.json").read_text())["addresses"]["nats"]
    port = urlsplit(address if "//" in address else f"//{address}").port or 0
    password = json.loads((tollhouse.state_dir / "secrets.json").read_text())["nats"]

    async def send() -> None:
        nc = await nats.connect(client_url(port, password))
        await nc.jetstream().publish(bus.USAGE_SUBJECT, data)
        await nc.close()

    asyncio.run(send())


def event(tenant_id: str, price_version: int) -> events_pb2.UsageEvent:
    created_ms = clock.now_ms()
    request_id = ids.request_id(created_ms)
    return events_pb2.UsageEvent(
        event_id=f"{request_id}:1",
        request_id=request_id,
        attempt=1,
        tenant_id=tenant_id,
        key_id="key_1",
        model="poison",
        status=events_pb2.USAGE_STATUS_OK,
        http_status=200,
        tokens=types_pb2.TokenCounts(input=1000),
        price_version=price_version,
        created_ms=created_ms,
        final=True,
    )


def letters(tollhouse: Deployment, reason: str) -> list[ledger_pb2.DeadLetter]:
    listed = tollhouse.ledger.ListDeadLetters(ledger_pb2.ListDeadLettersRequest()).letters
    return [letter for letter in listed if reason in letter.reason]


def test_usage_without_its_price_is_parked_and_booked_once_there_is_one(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=1)
    rates = billing_pb2.Price(model="poison", input_pico=1_000_000)
    newest = tollhouse.billing.SetPrice(billing_pb2.SetPriceRequest(price=rates, actor="test")).price.price_version
    poison = event(tenant.tenant_id, newest + 1)
    publish(tollhouse, events_pb2.UsageEventBatch(events=[poison]).SerializeToString())
    eventually(lambda: len(letters(tollhouse, poison.event_id)) == 1)
    (letter,) = letters(tollhouse, poison.event_id)
    assert letter.reason.endswith(f"there is no price version {newest + 1}")
    assert list(letter.events) == [poison]
    assert abs(letter.parked_ms - clock.now_ms()) < 60_000
    line = next(line for line in run(tollhouse, "dead", "list").splitlines() if poison.event_id in line)
    assert line.split()[0] == str(letter.sequence)
    assert tenant.tenant_id in line

    assert run(tollhouse, "dead", "replay", str(letter.sequence)).startswith("1 replayed")
    eventually(lambda: [again.sequence > letter.sequence for again in letters(tollhouse, poison.event_id)] == [True])

    added = tollhouse.billing.SetPrice(billing_pb2.SetPriceRequest(price=rates, actor="test")).price
    assert added.price_version == newest + 1
    (letter,) = letters(tollhouse, poison.event_id)
    run(tollhouse, "dead", "replay", str(letter.sequence))
    eventually(lambda: tollhouse.balance_nano(tenant.tenant_id) == 1_000_000_000 - 1_000_000)
    assert letters(tollhouse, poison.event_id) == []
    assert [usage.request_id for usage in tollhouse.usages(tenant.tenant_id)] == [poison.request_id]


def test_what_is_no_usage_is_listed_and_stays_after_a_replay_of_all(tollhouse: Deployment) -> None:
    publish(tollhouse, b"\xff\xff\xff")
    eventually(lambda: len(letters(tollhouse, "not a UsageEventBatch")) == 1)
    (before,) = letters(tollhouse, "not a UsageEventBatch")
    assert not before.events
    run(tollhouse, "dead", "replay")
    eventually(lambda: [n.sequence > before.sequence for n in letters(tollhouse, "not a UsageEventBatch")] == [True])


def test_a_dead_letter_that_does_not_exist_is_refused(tollhouse: Deployment) -> None:
    assert "no dead letter 99999999" in run(tollhouse, "dead", "replay", "99999999", fails=True)


def test_the_books_of_a_deployment_are_verified(tollhouse: Deployment, tmp_path: Path) -> None:
    tenant = tollhouse.tenant(dollars=1)
    assert tollhouse.messages(tenant.key).status == 200
    eventually(lambda: len(tollhouse.usages(tenant.tenant_id)) == 1)
    lines = run(tollhouse, "ledger", "verify").splitlines()
    assert lines[0].split() == ["CHECK", "RESULT"]
    assert len(lines) > 8
    assert all(line.endswith(" ok") for line in lines[1:])

    url = superuser_url(tollhouse)
    change = "UPDATE ledger.key_spend SET spent_nano = spent_nano + %s WHERE key_id = %s"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(change, (1, tenant.key_id))
        try:
            assert "1 of 10 checks found differences" in run(tollhouse, "ledger", "verify", fails=True)
            checks = tollhouse.ledger.VerifyBooks(ledger_pb2.VerifyBooksRequest()).checks
            (differing,) = (check for check in checks if check.differences)
            assert differing.name == "what keys spent is the sum of their usage"
            assert differing.differences[0].startswith(tenant.key_id)
        finally:
            connection.execute(change, (-1, tenant.key_id))
