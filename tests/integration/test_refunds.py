"""Taking back from balances that auth has credit of."""

import grpc
import pytest

from services.shared import ids
from tests.deployment import Deployment, Tenant, eventually
from tests.integration.test_disconnects import only_usage, open_stream
from tollhouse.v1 import auth_pb2, billing_pb2, types_pb2, usage_pb2


def refund(tollhouse: Deployment, tenant: Tenant, amount_nano: int) -> int:
    """Answers what is left."""
    request = billing_pb2.AdjustRequest(
        tenant_id=tenant.tenant_id,
        kind=billing_pb2.ADJUSTMENT_KIND_REFUND,
        amount_nano=amount_nano,
        idempotency_key=ids.ulid(),
        reason="test",
        actor="test",
    )
    left_nano: int = tollhouse.billing.Adjust(request, timeout=10).balance_nano
    return left_nano


def granted_nano(tollhouse: Deployment, tenant: Tenant) -> int:
    """What is out in grants, unspent."""
    balance = tollhouse.usage.GetBalance(usage_pb2.GetBalanceRequest(tenant_id=tenant.tenant_id))
    granted: int = balance.granted_nano
    return granted


def held_nano(tollhouse: Deployment, tenant: Tenant) -> int:
    held: int = tollhouse.auth.GetCredit(auth_pb2.GetCreditRequest(tenant_id=tenant.tenant_id), timeout=5).held_nano
    return held


def test_the_whole_rest_is_refunded_of_a_tenant_that_has_just_made_requests(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=10)
    for _ in range(3):
        assert tollhouse.messages(tenant.key).status == 200
    eventually(lambda: len(tollhouse.usages(tenant.tenant_id)) == 3)
    assert granted_nano(tollhouse, tenant) > 0
    assert refund(tollhouse, tenant, tollhouse.balance_nano(tenant.tenant_id)) == 0
    assert tollhouse.messages(tenant.key).status == 402
    tollhouse.top_up(tenant.tenant_id, 1)
    assert tollhouse.messages(tenant.key).status == 200


def test_a_refund_takes_all_but_what_is_held_for_a_stream(tollhouse: Deployment) -> None:
    tenant = tollhouse.tenant(dollars=10)
    stream = open_stream(tollhouse, tenant, "tokens=1000;gap_ms=50", stream=True, max_tokens=1000)
    while b"content_block_delta" not in stream.recv(65536):
        pass
    before_nano, hold_nano = tollhouse.balance_nano(tenant.tenant_id), held_nano(tollhouse, tenant)
    with pytest.raises(grpc.RpcError, match="is not set aside for requests") as refused:
        refund(tollhouse, tenant, before_nano)
    trailers: dict[str, bytes] = dict(refused.value.trailing_metadata())  # type: ignore[arg-type]
    detail = types_pb2.ErrorDetail.FromString(trailers["tollhouse-error-bin"])
    free_nano = int(detail.details["available_nano"])
    assert free_nano == before_nano - hold_nano
    assert refund(tollhouse, tenant, free_nano) == hold_nano
    assert held_nano(tollhouse, tenant) == hold_nano
    stream.close()
    usage = only_usage(tollhouse, tenant)
    assert 0 < usage.cost_nano <= hold_nano
    assert tollhouse.balance_nano(tenant.tenant_id) == hold_nano - usage.cost_nano
