"""Limits as clients meet them: over three edges and two auths, exactly."""

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import aiohttp

from tests.deployment import Deployment, Tenant, deployed, message
from tollhouse.v1 import auth_pb2, types_pb2

PLAN = 60


def on_plan(fleet: Deployment, **limits: int) -> Tenant:
    """A tenant whose plan limits it."""
    tenant = fleet.tenant(dollars=100)
    metrics = {name: types_pb2.LimitMetric.Value(f"LIMIT_METRIC_{name.upper()}") for name in limits}
    plan = auth_pb2.Plan(
        name=f"plan-{tenant.tenant_id}",
        limits=[types_pb2.Limit(metric=metrics[name], amount=amount) for name, amount in limits.items()],
    )
    fleet.auth.PutPlan(auth_pb2.PutPlanRequest(plan=plan))
    fleet.auth.SetTenantPolicy(auth_pb2.SetTenantPolicyRequest(tenant_id=tenant.tenant_id, plan=plan.name))
    return tenant


async def ask(
    session: aiohttp.ClientSession, fleet: Deployment, tenant: Tenant, script: str = "tokens=1", **fields: object
) -> tuple[int, dict[str, str], str]:
    headers = {"x-api-key": tenant.key, "x-simulator": script}
    body = json.dumps(message(**fields))
    async with session.post(f"{fleet.base_url}/v1/messages", data=body, headers=headers) as response:
        text = await response.text()
        return response.status, {name.lower(): value for name, value in response.headers.items()}, text


def session() -> aiohttp.ClientSession:
    """Each request on a connection of its own, so that every edge gets some."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0, force_close=True))


async def test_a_plan_of_sixty_a_minute_admits_sixty_and_says_exactly_when_the_next_one_may_come(
    fleet: Deployment,
) -> None:
    tenant = on_plan(fleet, requests=PLAN)
    async with session() as client:
        began_s = time.monotonic()
        answers = await asyncio.gather(*(ask(client, fleet, tenant) for _ in range(PLAN + 20)))
        took_s = time.monotonic() - began_s
        admitted = [headers for status, headers, _ in answers if status == 200]
        refused = [(headers, text) for status, headers, text in answers if status == 429]
        assert len(admitted) + len(refused) == PLAN + 20
        assert PLAN <= len(admitted) <= PLAN + took_s  # one a second flows back
        assert all(headers["anthropic-ratelimit-requests-limit"] == "60" for headers in admitted)
        assert sorted(int(headers["anthropic-ratelimit-requests-remaining"]) for headers in admitted)[0] == 0

        status, headers, text = await ask(client, fleet, tenant)
        asked_s = time.monotonic()
        assert status == 429
        wait_s = int(headers["retry-after-ms"]) / 1000
        assert 0 < wait_s <= 1
        assert int(headers["retry-after"]) == 1
        error = json.loads(text)["error"]
        assert error["type"] == "rate_limit_error"
        assert "60 requests a minute" in error["message"]
        await asyncio.sleep(max(0.0, wait_s - (time.monotonic() - asked_s)))
        status, _, _ = await ask(client, fleet, tenant)
        assert status == 200
        status, _, _ = await ask(client, fleet, tenant)
        assert status == 429


async def test_requests_at_a_time_are_limited_over_all_edges(fleet: Deployment) -> None:
    tenant = on_plan(fleet, concurrent=5)
    async with session() as client:
        answers = await asyncio.gather(*(ask(client, fleet, tenant, "tokens=1;first_ms=1500") for _ in range(12)))
        assert sorted(status for status, _, _ in answers) == [200] * 5 + [429] * 7
        answers = await asyncio.gather(*(ask(client, fleet, tenant) for _ in range(5)))
        assert [status for status, _, _ in answers] == [200] * 5


async def test_output_tokens_are_counted_as_they_were_used(fleet: Deployment) -> None:
    tenant = on_plan(fleet, output_tokens=3000)
    async with session() as client:
        for _ in range(5):  # each is taken for its 100 at first, and uses 10
            status, headers, _ = await ask(client, fleet, tenant, "tokens=10", max_tokens=100)
            assert status == 200
        assert (
            int(headers["anthropic-ratelimit-output-tokens-remaining"]) > 3000 - 20 * 100 + 500
        )  # far from what was taken at first
        status, _, _ = await ask(client, fleet, tenant, "tokens=20000", max_tokens=20_000)
        assert status == 200
        await asyncio.sleep(0.5)
        status, headers, text = await ask(client, fleet, tenant, "tokens=10", max_tokens=500)
        assert status == 429
        assert "output tokens a minute" in json.loads(text)["error"]["message"]
        assert int(headers["retry-after"]) >= 1


async def test_when_the_tenants_owner_is_killed_a_limit_is_exceeded_by_at_most_one_window(tmp_path: Path) -> None:
    with deployed(tmp_path / "state", "--edges", "3", "--auths", "2") as tollhouse:
        tenants = [on_plan(tollhouse, requests=20) for _ in range(4)]  # of which each replica owns some, or nearly so
        began_s = time.monotonic()
        async with session() as client:
            await asyncio.gather(*(ask(client, tollhouse, tenant) for tenant in tenants for _ in range(20)))
            os.kill(tollhouse.pids("auth")[0], signal.SIGKILL)
            answers = await asyncio.gather(
                *(ask(client, tollhouse, tenant) for tenant in tenants for _ in range(30)), return_exceptions=False
            )
        took_s = time.monotonic() - began_s
        statuses = {status for status, _, _ in answers}
        assert statuses <= {200, 429}
        admitted = sum(status == 200 for status, _, _ in answers)
        assert admitted <= len(tenants) * (20 + took_s * 20 / 60 + 1)
