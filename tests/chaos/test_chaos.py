"""kill -9 of every process several times, each of them stopped for five seconds, and a full stream, at a steady load.

Afterwards the books must be right: what the simulator served is booked once each, entries sum to zero, balances equal
the replay of their entries, nothing is held, and a shortfall is explained. Prints a table of what it found.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import nats
import pytest
from nats.js.api import StreamConfig

from services.shared import bus
from tests.chaos.audit import NOT_FINAL, address, booked_by_key, compare, held, secrets, served_by_key, table
from tests.chaos.load import Load
from tests.deployment import MODEL, Deployment, deployed, eventually
from tollhouse.v1 import ledger_pb2

SERVICES = ("edge", "auth", "router", "ledger", "nats", "postgres")
ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "3"))
APART_S = 4.0
STOPPED_S = 5.0
RATE = 60.0
DOLLARS = 1000.0
SMALL_DOLLARS = 0.25
HOLDS_END_WITHIN_S = 60
ACCOUNTS = 9
"""So many that never all of them are cooling: of what the load asks for, one in eleven is a fault of its upstream."""
SETTINGS = {
    "TOLLHOUSE_EDGE_HOLD_RENEW_S": "1",
    "TOLLHOUSE_AUTH_HOLD_TTL_S": "20",
    "TOLLHOUSE_AUTH_GRANT_RENEW_S": "2",
    "TOLLHOUSE_LEDGER_GRANT_TTL_S": "12",
    "TOLLHOUSE_SIMULATOR_REMEMBER": "1000000",
}


async def break_everything(tollhouse: Deployment) -> Counter[str]:
    """Kills, stops and fills up. Answers how often what was done to whom."""
    done: Counter[str] = Counter()
    for _ in range(ROUNDS):
        for service in SERVICES:
            pid = tollhouse.pids(service)[done[f"kill -9 {service}"] % len(tollhouse.pids(service))]
            os.kill(pid, signal.SIGKILL)
            done[f"kill -9 {service}"] += 1
            await asyncio.sleep(APART_S)
    for service in SERVICES:
        pid = tollhouse.pids(service)[0]
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(STOPPED_S)
        os.kill(pid, signal.SIGCONT)
        done[f"SIGSTOP {service}"] += 1
        await asyncio.sleep(APART_S)
    await fill_the_stream(tollhouse)
    done["stream full"] += 1
    await asyncio.sleep(APART_S)
    return done


async def fill_the_stream(tollhouse: Deployment) -> None:
    """For some seconds JetStream takes no message, as when its disk is full."""
    place = address(tollhouse, "nats").removeprefix("nats://")
    nc = await nats.connect(f"nats://tollhouse:{secrets(tollhouse)['nats']}@{place}")
    try:
        js = nc.jetstream()
        config = (await js.stream_info(bus.USAGE_STREAM)).config
        normal = config.max_msg_size
        await js.update_stream(StreamConfig(**{**config.__dict__, "max_msg_size": 1}))
        await asyncio.sleep(STOPPED_S)
        await js.update_stream(StreamConfig(**{**config.__dict__, "max_msg_size": normal}))
    finally:
        await nc.close()


@pytest.mark.timeout(900)
async def test_after_everything_was_killed_the_books_are_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with deployed(tmp_path / "state", "--edges", "2", "--auths", "2", **SETTINGS) as tollhouse:
        rich, poor = [tollhouse.tenant(DOLLARS) for _ in range(3)], tollhouse.tenant(SMALL_DOLLARS)
        tenants = [*rich, poor]
        for number in range(ACCOUNTS):
            tollhouse.account(f"further-{number}", tollhouse.simulator_url, {MODEL: MODEL})
        load = Load(tollhouse.base_url, tenants, RATE)
        running = asyncio.create_task(load.run())
        await asyncio.sleep(APART_S)
        done = await break_everything(tollhouse)
        load.stopping = True
        await running
        await asyncio.to_thread(
            lambda: eventually(lambda: tollhouse.served()["open"] == 0, 30, "the simulator is idle")
        )
        await asyncio.to_thread(
            lambda: eventually(lambda: held(tollhouse, tenants) == 0, HOLDS_END_WITHIN_S, "no hold is open")
        )

        def all_booked() -> bool:
            booked = booked_by_key(tollhouse)
            return all(len(booked[key]) >= len(entries) for key, entries in served_by_key(tollhouse).items())

        with contextlib.suppress(AssertionError):  # the table is worth more than the moment
            await asyncio.to_thread(lambda: eventually(all_booked, 30))
        checks = tollhouse.ledger.VerifyBooks(ledger_pb2.VerifyBooksRequest(), timeout=60).checks
        served, booked = served_by_key(tollhouse), booked_by_key(tollhouse)
        orphans = sum(row["said"] == "orphaned" for records in booked.values() for row in records)
        unseen = [row for key, records in booked.items() for row in records[len(served.get(key, ())) :]]
        shortfall = sum(row["shortfall_nano"] for records in booked.values() for row in records)
        money = {
            tenant.tenant_id: (
                round((SMALL_DOLLARS if tenant is poor else DOLLARS) * 1e9),
                tollhouse.balance_nano(tenant.tenant_id),
                sum(
                    row["cost_nano"] - row["shortfall_nano"]
                    for records in booked.values()
                    for row in records
                    if row["tenant_id"] == tenant.tenant_id
                ),
            )
            for tenant in tenants
        }
        with capsys.disabled():
            sys.stdout.write("\n" + table([(name, f"{count} times") for name, count in done.items()]) + "\n")
            sys.stdout.write(
                table(
                    [
                        ("requests", load.made),
                        *((f"  {name}", count) for name, count in load.by_kind.most_common()),
                        *((f"  outcome {name}", count) for name, count in load.outcomes.most_common()),
                        ("attempts that the simulator served", sum(map(len, served.values()))),
                        ("attempts that are booked", sum(map(len, booked.values()))),
                        *(
                            (f"  {name}", count)
                            for name, count in Counter(
                                row["said"] for records in booked.values() for row in records
                            ).most_common()
                        ),
                        ("of them settled by their auth", orphans),
                        ("booked, but lost on the way to the simulator", len(unseen)),
                        ("shortfall, nano-dollars", shortfall),
                        *((check.name, "; ".join(check.differences) or "yes") for check in checks),
                        *(
                            (f"{name}: topped up = balance + charged", f"{top_up} = {balance} + {charged}")
                            for name, (top_up, balance, charged) in money.items()
                        ),
                    ]
                )
                + "\n"
            )
        assert sum(map(len, served.values())) > 0.5 * load.made
        for key, entries in served.items():
            assert len(booked[key]) >= len(entries), key
        exact = compare(served, booked)
        assert exact > 0.7 * sum(map(len, served.values()))
        for row in unseen:  # an edge was killed, or its connection broke, between the journal and the simulator
            assert row["said"] in (*NOT_FINAL, "upstream_fault"), row
        assert len(unseen) <= 0.01 * load.made
        assert {check.name: list(check.differences) for check in checks} == {check.name: [] for check in checks}
        for top_up, balance, charged in money.values():
            assert top_up == balance + charged
            assert balance >= 0
