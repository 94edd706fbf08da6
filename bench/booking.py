"""How fast one ledger books, and how soon usage is visible: part of `make bench`.

    .venv/bin/python bench/booking.py [--events 100000] [--rate 300] [--seconds 20]

Booking: usage events are put into JetStream while the ledger stands still; then it books them, and the clock runs from
its first moment to the last event's. Visibility: at a steady load of messages, the time from an answer's end to
`GET /v1/usage/{id}` having it.
"""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import nats

from tollhouse.v1 import billing_pb2, billing_pb2_grpc, events_pb2, types_pb2, usage_pb2, usage_pb2_grpc

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from services.shared import bus, clock, ids  # noqa: E402

TOLLHOUSE = Path(sys.executable).parent / "tollhouse"
MODEL = "claude-sonnet-4-6"
TENANT = "demo"
BATCH = 64
COST_NANO = 10 * 3000 + 20 * 15000
TICKS_A_S = os.sysconf("SC_CLK_TCK")


def cpu_s(pids: list[int]) -> float:
    """User and system time of processes and of their children that run."""
    total = 0.0
    todo = list(pids)
    while todo:
        pid = todo.pop()
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            todo += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        except FileNotFoundError:
            continue
        total += (int(fields[11]) + int(fields[12])) / TICKS_A_S
    return total


class Gateway:
    """What `tollhouse up` started, its demo tenant rich."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.process = subprocess.Popen(
            [TOLLHOUSE, "up", "--json", "--state-dir", str(state), "--port", "18080", "--console-port", "0"],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"TOLLHOUSE_SIMULATOR_FIRST_MS": "0", "TOLLHOUSE_SIMULATOR_GAP_MS": "0"},
        )
        assert self.process.stdout is not None
        self.ready: dict[str, Any] = json.loads(self.process.stdout.readline())
        secrets = json.loads((state / "secrets.json").read_text())
        run = json.loads((state / "run.json").read_text())
        self.nats_url = f"nats://tollhouse:{secrets['nats']}@{run['addresses']['nats'].removeprefix('nats://')}"
        self.metadata = (("authorization", f"Bearer {secrets['ledger_token']}"),)
        channel = grpc.insecure_channel(self.ready["usage_grpc"])
        self.usage = usage_pb2_grpc.UsageServiceStub(channel)
        self.billing = billing_pb2_grpc.BillingServiceStub(channel)
        subprocess.run(
            [TOLLHOUSE, "topup", TENANT, "1000000", "--state-dir", str(state)], check=True, stdout=subprocess.DEVNULL
        )

    def balance_nano(self) -> int:
        request = usage_pb2.GetBalanceRequest(tenant_id=TENANT)
        return int(self.usage.GetBalance(request, metadata=self.metadata, timeout=60).balance_nano)

    def price_version(self) -> int:
        prices = self.billing.ListPrices(billing_pb2.ListPricesRequest(), metadata=self.metadata).prices
        return next(int(price.price_version) for price in prices if price.model == MODEL)


def batches(count: int, price_version: int) -> list[bytes]:
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
                tenant_id=TENANT,
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


async def booking(gateway: Gateway, count: int) -> None:
    payloads = batches(count, gateway.price_version())
    before_nano = await asyncio.to_thread(gateway.balance_nano)
    (ledger,) = gateway.ready["pids"]["ledger"]
    parts = {part: gateway.ready["pids"][part] for part in ("ledger", "nats", "postgres")}
    os.kill(ledger, signal.SIGSTOP)
    try:
        nc = await nats.connect(gateway.nats_url)
        js = nc.jetstream()
        for begin in range(0, len(payloads), 64):
            await asyncio.gather(*(js.publish(bus.USAGE_SUBJECT, data) for data in payloads[begin : begin + 64]))
        await nc.close()
        spent_s = {part: cpu_s(pids) for part, pids in parts.items()}
        began_s = time.monotonic()
    finally:
        os.kill(ledger, signal.SIGCONT)
    while before_nano - await asyncio.to_thread(gateway.balance_nano) < count * COST_NANO:
        await asyncio.sleep(0.1)
    took_s = time.monotonic() - began_s
    print(f"| events that one ledger books a second | {count / took_s:.0f} |")
    for part, pids in parts.items():
        print(f"| {part}, each event, us of CPU | {(cpu_s(pids) - spent_s[part]) / count * 1e6:.1f} |")


async def visibility(gateway: Gateway, rate: float, seconds: float) -> None:
    body = json.dumps({"model": MODEL, "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]})
    took_ms: list[float] = []
    async with aiohttp.ClientSession(headers={"x-api-key": gateway.ready["api_key"]}) as session:

        async def one() -> None:
            async with session.post(f"{gateway.ready['base_url']}/v1/messages", data=body) as response:
                await response.read()
            ended_s = time.monotonic()
            request_id = response.headers["x-request-id"]
            async with session.get(f"{gateway.ready['base_url']}/v1/usage/{request_id}") as usage:
                await usage.read()
                assert usage.status == 200, usage.status
            took_ms.append((time.monotonic() - ended_s) * 1000)

        async with asyncio.TaskGroup() as group:
            for _ in range(int(rate * seconds)):
                group.create_task(one())
                await asyncio.sleep(1 / rate)
    took_ms.sort()
    p50, p99 = took_ms[len(took_ms) // 2], took_ms[len(took_ms) * 99 // 100]
    load = f"at {rate:.0f} requests a second"
    print(f"| usage visible after the answer's end {load}, p50 / p99, ms | {p50:.0f} / {p99:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=300)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        gateway = Gateway(Path(folder) / "state")
        try:
            print("| figure | Tollhouse |\n|---|---|")
            asyncio.run(booking(gateway, options.events))
            asyncio.run(visibility(gateway, options.rate, options.seconds))
        finally:
            gateway.process.terminate()
            gateway.process.wait(60)


if __name__ == "__main__":
    main()
