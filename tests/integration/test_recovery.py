"""kill -9 of the ledger and of NATS under load: afterwards the books equal what the upstream served, nothing twice."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import aiohttp
import grpc
import pytest

from tests.deployment import SONNET_NANO, Deployment, Tenant, deployed, eventually, message

REQUESTS = 2_000
CONCURRENT = 24
KILLS = {300: "ledger", 700: "nats", 1100: "ledger", 1500: "nats"}


async def load(tollhouse: Deployment, tenant: Tenant) -> Counter[int]:
    """2,000 requests, half of them streams; kills processes on the way. Answers how many ended with which status."""
    statuses: Counter[int] = Counter()
    begun = 0
    async with aiohttp.ClientSession(headers={"x-api-key": tenant.key}) as session:

        async def client() -> None:
            nonlocal begun
            while begun < REQUESTS:
                number = begun
                begun += 1
                if number in KILLS:
                    tollhouse.kill(KILLS[number])
                script = f"tokens={1 + number % 50};input_tokens={1 + number % 13};cache_read={number % 3}"
                async with session.post(
                    f"{tollhouse.base_url}/v1/messages",
                    data=json.dumps(message(stream=number % 2 == 0)),
                    headers={"x-simulator": script},
                ) as response:
                    await response.read()
                    statuses[response.status] += 1
                await asyncio.sleep(0.01)

        await asyncio.gather(*(client() for _ in range(CONCURRENT)))
    return statuses


def booked_requests(tollhouse: Deployment, tenant: Tenant) -> int:
    """How many are booked; none that we know of while the ledger is not back."""
    try:
        return len(tollhouse.usages(tenant.tenant_id))
    except grpc.RpcError:
        return 0


@pytest.mark.timeout(180)
async def test_the_books_are_right_after_the_ledger_and_nats_were_killed(tmp_path: Path) -> None:
    with deployed(tmp_path / "state", TOLLHOUSE_LEDGER_REDELIVERED_AFTER_S="2") as tollhouse:
        tenant = tollhouse.tenant(dollars=1000)
        statuses = await load(tollhouse, tenant)
        assert statuses.total() == REQUESTS
        assert set(statuses) <= {200, 503}, statuses
        assert statuses[200] > REQUESTS * 0.9, statuses
        served = tollhouse.served()
        assert served["requests"] == statuses[200]
        eventually(lambda: booked_requests(tollhouse, tenant) >= served["requests"], 60, "all is booked")
        usages = tollhouse.usages(tenant.tenant_id)
        assert len({usage.request_id for usage in usages}) == len(usages) == served["requests"]
        booked = {
            name: sum(getattr(usage.tokens, name) for usage in usages)
            for name in ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
        }
        assert booked == served["tokens"]
        cost_nano = sum(SONNET_NANO[name] * count for name, count in booked.items())
        assert sum(usage.cost_nano for usage in usages) == cost_nano
        assert tollhouse.balance_nano(tenant.tenant_id) == 1_000_000_000_000 - cost_nano
