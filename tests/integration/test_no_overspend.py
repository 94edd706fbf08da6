"""However many clients ask at once, over several replicas: no balance is overspent, and nearly all of it is spent."""

import asyncio
import json
from collections import Counter
from pathlib import Path

import aiohttp
import pytest

from tests.deployment import SONNET_NANO, Deployment, Tenant, deployed, eventually, message

CLIENTS = 40
INPUT_TOKENS, OUTPUT_TOKENS = 20, 100
COST_NANO = INPUT_TOKENS * SONNET_NANO["input"] + OUTPUT_TOKENS * SONNET_NANO["output"]
SCRIPT = f"tokens={OUTPUT_TOKENS};input_tokens={INPUT_TOKENS}"


async def spend_all(tollhouse: Deployment, tenant: Tenant, stream: bool) -> Counter[int]:
    """Clients that go on until each of them has been refused several times in a row. Answers how often which status
    came."""
    statuses: Counter[int] = Counter()

    async def client() -> None:
        refused = 0
        # A connection for each request, so that all edges take part.
        async with aiohttp.ClientSession(
            headers={"x-api-key": tenant.key, "x-simulator": SCRIPT}, connector=aiohttp.TCPConnector(force_close=True)
        ) as session:
            while refused < 5:
                body = json.dumps(message(max_tokens=OUTPUT_TOKENS, stream=stream))
                async with session.post(f"{tollhouse.base_url}/v1/messages", data=body) as response:
                    await response.read()
                    statuses[response.status] += 1
                    refused = refused + 1 if response.status == 402 else 0
                if refused:
                    await asyncio.sleep(0.1)

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return statuses


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("requests", [60, 400])
async def test_a_balance_for_so_many_requests_pays_for_those_and_no_more(
    fleet: Deployment, requests: int, stream: bool
) -> None:
    tenant = fleet.tenant(dollars=requests * COST_NANO / 1e9)
    statuses = await spend_all(fleet, tenant, stream)
    assert set(statuses) == {200, 402}, statuses
    assert requests * 0.95 <= statuses[200] <= requests
    await asyncio.to_thread(lambda: eventually(lambda: len(fleet.usages(tenant.tenant_id)) == statuses[200]))
    usages = fleet.usages(tenant.tenant_id)
    assert all(usage.cost_nano == COST_NANO for usage in usages)
    assert fleet.balance_nano(tenant.tenant_id) == requests * COST_NANO - statuses[200] * COST_NANO >= 0


async def test_when_a_replica_is_killed_while_a_balance_is_spent_it_is_not_overspent(tmp_path: Path) -> None:
    with deployed(tmp_path / "state", "--edges", "2", "--auths", "2", TOLLHOUSE_EDGE_HOLD_RENEW_S="1") as tollhouse:
        tenant = tollhouse.tenant(dollars=300 * COST_NANO / 1e9)
        spending = asyncio.create_task(spend_all(tollhouse, tenant, stream=False))
        for _ in range(2):
            await asyncio.sleep(0.4)
            tollhouse.kill("auth")
        statuses = await spending
        assert set(statuses) <= {200, 402, 503}, statuses
        assert statuses[200] <= 300
        await asyncio.to_thread(lambda: eventually(lambda: len(tollhouse.usages(tenant.tenant_id)) == statuses[200]))
        assert tollhouse.balance_nano(tenant.tenant_id) == (300 - statuses[200]) * COST_NANO
        # What the lost replicas had reserved is free again once their grants have ended.
        await asyncio.to_thread(lambda: eventually(lambda: tollhouse.messages(tenant.key).status != 503, 20))
