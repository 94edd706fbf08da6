"""How fast one ledger books, and how soon usage is visible.

    .venv/bin/python bench/booking.py [--events 100000] [--rate 300] [--seconds 20] [--out FILE]

Booking: usage events are put into JetStream while the ledger stands still; then it books them, and the clock runs from
its first moment to the last event's. Visibility: at a steady load of messages, the time from an answer's end to
`GET /v1/usage/{id}` having it.
"""

import argparse
import asyncio
import json
import os
import signal
import tempfile
import time
from pathlib import Path

import aiohttp
import nats

from bench import figures, processes, targets
from bench.figures import Figure
from services.shared import bus, clock, ids
from tests.deployment import MODEL, Deployment
from tollhouse.v1 import billing_pb2, events_pb2, types_pb2

BATCH = 64
COST_NANO = 10 * 3000 + 20 * 15000
COMMAND = "booking.py"


def batches(count: int, price_version: int) -> list[bytes]:
    """Messages of usage events, as edges send them."""
    made = []
    for begin in range(0, count, BATCH):
        batch = events_pb2.UsageEventBatch()
        for _ in range(min(BATCH, count - begin)):
            created_ms = clock.now_ms()
            request_id = ids.request_id(created_ms)
            batch.events.add(
                event_id=ids.event_id(request_id, 1),
                request_id=request_id,
                attempt=1,
                tenant_id=targets.DEMO,
                key_id="key_bench",
                model=MODEL,
                upstream_model=MODEL,
                upstream_account_id="acc_bench",
                upstream_request_id="req_0123456789abcdef",
                status=events_pb2.USAGE_STATUS_OK,
                http_status=200,
                tokens=types_pb2.TokenCounts(input=10, output=20, requests=1),
                price_version=price_version,
                created_ms=created_ms,
                duration_ms=1000,
                first_token_ms=300,
                final=True,
                request_sha256=bytes(32),
                response_sha256=bytes(32),
                delivered_bytes=1500,
            )
        made.append(batch.SerializeToString())
    return made


async def booking(gateway: Deployment, count: int) -> list[Figure]:
    """A backlog is booked."""
    prices = gateway.billing.ListPrices(billing_pb2.ListPricesRequest()).prices
    payloads = batches(count, next(int(price.price_version) for price in prices if price.model == MODEL))
    before_nano = await asyncio.to_thread(gateway.balance_nano, targets.DEMO)
    (ledger,) = gateway.pids("ledger")
    parts = {part: gateway.pids(part) for part in ("ledger", "nats", "postgres")}
    os.kill(ledger, signal.SIGSTOP)
    try:
        nc = await nats.connect(nats_url(gateway.state_dir))
        js = nc.jetstream()
        for begin in range(0, len(payloads), 64):
            await asyncio.gather(*(js.publish(bus.USAGE_SUBJECT, data) for data in payloads[begin : begin + 64]))
        await nc.close()
        spent_s = {part: processes.cpu_s(pids) for part, pids in parts.items()}
        began_s = time.monotonic()
    finally:
        os.kill(ledger, signal.SIGCONT)
    while before_nano - await asyncio.to_thread(gateway.balance_nano, targets.DEMO) < count * COST_NANO:
        await asyncio.sleep(0.1)
    took_s = time.monotonic() - began_s
    found = [Figure("booked_a_second", "one ledger", "events booked a second", count / took_s, COMMAND)]
    for part, pids in parts.items():
        each_us = (processes.cpu_s(pids) - spent_s[part]) / count * 1e6
        found.append(Figure(f"booked_{part}", f"{part}, each event", "us of CPU", each_us, COMMAND))
    return found


async def visibility(gateway: Deployment, rate: float, seconds: float) -> list[Figure]:
    """Usage is asked for as soon as its answer has ended."""
    body = json.dumps({"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]})
    took_ms: list[float] = []
    async with aiohttp.ClientSession(headers={"x-api-key": gateway.key}) as session:

        async def one() -> None:
            async with session.post(f"{gateway.base_url}/v1/messages", data=body) as response:
                await response.read()
            ended_s = time.monotonic()
            request_id = response.headers["x-request-id"]
            async with session.get(f"{gateway.base_url}/v1/usage/{request_id}") as usage:
                await usage.read()
                assert usage.status == 200, usage.status
            took_ms.append((time.monotonic() - ended_s) * 1000)

        async with asyncio.TaskGroup() as group:
            for _ in range(int(rate * seconds)):
                group.create_task(one())
                await asyncio.sleep(1 / rate)
    took_ms.sort()
    label = f"usage visible after the answer's end at {rate:.0f} requests a second"
    parts = {"p50": took_ms[len(took_ms) // 2], "p99": took_ms[len(took_ms) * 99 // 100]}
    return [Figure(f"usage_visible_{part}", f"{label}, {part}", "ms", ms, COMMAND) for part, ms in parts.items()]


def nats_url(state: Path) -> str:
    """Where the deployment's NATS is, with its credentials."""
    password = json.loads((state / "secrets.json").read_text())["nats"]
    address: str = json.loads((state / "run.json").read_text())["addresses"]["nats"]
    return f"nats://tollhouse:{password}@{address.removeprefix('nats://')}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=300)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--out", help="append the figures as lines of JSON to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, targets.tollhouse(Path(folder)) as gateway:
        found = asyncio.run(booking(gateway, options.events))
        found += asyncio.run(visibility(gateway, options.rate, options.seconds))
    figures.tell(found, options.out)


if __name__ == "__main__":
    main()
