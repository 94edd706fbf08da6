"""What a key asks about itself, as clients of New-API do: its limit, its usage, its name."""

import json
from typing import Any

import grpc
import pytest

from tests.deployment import Deployment, Tenant
from tollhouse.v1 import auth_pb2, tokens_pb2, usage_pb2

PATHS = ("/v1/dashboard/billing/subscription", "/v1/dashboard/billing/usage", "/api/usage/token/")
DOLLAR_NANO = 10**9


def asked(tollhouse: Deployment, key: str, path: str) -> Any:
    answer = tollhouse.call("GET", path, {"authorization": f"Bearer {key}"})
    assert answer.status == 200, answer.body
    return answer.json()


def capped(tollhouse: Deployment, tenant: Tenant, cap_nano: int) -> str:
    made = tollhouse.auth.CreateKey(
        auth_pb2.CreateKeyRequest(
            tenant_id=tenant.tenant_id, name="capped", spend_cap_nano=cap_nano, models=["claude-sonnet-4-6"]
        )
    )
    return made.secret


def test_limit_less_usage_is_what_a_key_may_still_spend(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=5)
    answer = tollhouse.messages(tenant.key)
    cost = tollhouse.usage_of(tenant.key, answer.headers["x-request-id"]).json()["cost_micro"] / 1_000_000
    subscription, usage, _ = (asked(tollhouse, tenant.key, path) for path in PATHS)
    assert usage["object"] == "list"
    assert usage["total_usage"] == pytest.approx(cost * 100)
    assert subscription["object"] == "billing_subscription"
    assert subscription["hard_limit_usd"] - usage["total_usage"] / 100 == pytest.approx(5 - cost)
    assert subscription["access_until"] == 0


def test_a_key_with_a_cap_may_spend_no_more_than_the_cap_or_the_balance(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=5)
    assert asked(tollhouse, capped(tollhouse, tenant, 2 * DOLLAR_NANO), PATHS[0])["hard_limit_usd"] == 2
    assert asked(tollhouse, capped(tollhouse, tenant, 9 * DOLLAR_NANO), PATHS[0])["hard_limit_usd"] == 5


def test_a_key_knows_its_name_its_quota_and_its_models(tollhouse: Deployment) -> None:
    key = capped(tollhouse, tollhouse.tenant(dollars=5), DOLLAR_NANO)
    said = asked(tollhouse, key, "/api/usage/token/")
    assert (said["code"], said["message"]) == (True, "ok")
    assert said["data"] == {
        "object": "token_usage",
        "name": "capped",
        "total_granted": 500_000,
        "total_used": 0,
        "total_available": 500_000,
        "unlimited_quota": False,
        "model_limits": {"claude-sonnet-4-6": True},
        "model_limits_enabled": True,
        "expires_at": 0,
    }
    assert asked(tollhouse, key, "/api/usage/token") == said


@pytest.mark.parametrize("path", PATHS)
def test_a_key_that_is_not_known_learns_nothing(tollhouse: Deployment, path: str) -> None:
    for headers in ({}, {"authorization": "Bearer sk-nonsense"}, {"authorization": "Bearer tha_" + "A" * 43}):
        assert tollhouse.call("GET", path, headers).status == 401


def test_an_amount_has_all_its_digits(tollhouse: Deployment) -> None:
    key = capped(tollhouse, tollhouse.tenant(dollars=5), 1_234_567_891)
    answer = tollhouse.call("GET", PATHS[0], {"authorization": f"Bearer {key}"})
    assert b'"hard_limit_usd":1.234567891' in answer.body
    assert json.loads(answer.body)["soft_limit_usd"] == 1.234567891


def test_a_service_token_of_one_tenant_hears_nothing_of_another_ones_keys(tollhouse: Deployment) -> None:
    mine, other = tollhouse.tenant(), tollhouse.tenant()
    for tenant in (mine, other):
        answer = tollhouse.messages(tenant.key)
        assert tollhouse.usage_of(tenant.key, answer.headers["x-request-id"]).status == 200
    made = tollhouse.tokens.CreateToken(
        tokens_pb2.CreateTokenRequest(name="t", scope=tokens_pb2.TOKEN_SCOPE_USAGE, tenant_id=mine.tenant_id)
    )
    usage = tollhouse.usage_with(made.secret)
    said = usage.GetKeySpend(usage_pb2.GetKeySpendRequest(key_ids=[mine.key_id, other.key_id]))
    assert said.spent_nano.keys() == {mine.key_id}
    with pytest.raises(grpc.RpcError) as refused:
        usage.GetKeySpend(usage_pb2.GetKeySpendRequest(tenant_id=other.tenant_id, key_ids=[other.key_id]))
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED


def test_a_key_is_found_by_its_id_for_its_own_tenant_alone(tollhouse: Deployment) -> None:
    mine, other = tollhouse.tenant(), tollhouse.tenant()
    for tenant_id in ("", mine.tenant_id):
        asked = auth_pb2.GetKeyRequest(key_id=mine.key_id, tenant_id=tenant_id)
        assert tollhouse.auth.GetKey(asked).key.tenant_id == mine.tenant_id
    with pytest.raises(grpc.RpcError) as refused:
        tollhouse.auth.GetKey(auth_pb2.GetKeyRequest(key_id=mine.key_id, tenant_id=other.tenant_id))
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
