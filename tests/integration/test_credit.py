"""Credit over real gRPC: holds that are placed, grow, are renewed and end in batches; spend caps of keys."""

import grpc
import pytest

from services.shared import ids
from tests.deployment import MODEL, Deployment, Tenant
from tollhouse.v1 import auth_pb2, types_pb2

LONG = 10_000_000
"""More output tokens than any tenant here pays for."""


@pytest.fixture
def poor(tollhouse: Deployment) -> Tenant:
    """A tenant with a dollar."""
    return tollhouse.tenant(1)


def decide(tollhouse: Deployment, **items: object) -> auth_pb2.AuthDecideResponse:
    response: auth_pb2.AuthDecideResponse = tollhouse.auth.Decide(
        auth_pb2.AuthDecideRequest(sequence=1, **items),  # type: ignore[arg-type]
        timeout=5,
    )
    return response


def admit(tenant: Tenant, hold_id: str, output_tokens: int, cap_nano: int | None = None) -> auth_pb2.AdmitItem:
    return auth_pb2.AdmitItem(
        id=1,
        hold_id=hold_id,
        tenant_id=tenant.tenant_id,
        key_id=tenant.key_id,
        model=MODEL,
        input_tokens=10,
        output_tokens=output_tokens,
        key_cap_nano=cap_nano,
    )


def extend(tenant: Tenant, hold_id: str, output_tokens: int) -> auth_pb2.ExtendItem:
    return auth_pb2.ExtendItem(id=2, hold_id=hold_id, tenant_id=tenant.tenant_id, output_tokens=output_tokens)


def renew(tenant: Tenant, hold_id: str, output_tokens: int) -> auth_pb2.RenewItem:
    return auth_pb2.RenewItem(
        id=3,
        hold_id=hold_id,
        tenant_id=tenant.tenant_id,
        key_id=tenant.key_id,
        model=MODEL,
        input_tokens=10,
        output_tokens=output_tokens,
    )


def settle(tenant: Tenant, hold_id: str, *charged: types_pb2.TokenCounts) -> auth_pb2.SettleItem:
    return auth_pb2.SettleItem(id=4, hold_id=hold_id, tenant_id=tenant.tenant_id, charged=charged)


def held(tollhouse: Deployment, tenant: Tenant) -> tuple[int, int]:
    credit = tollhouse.auth.GetCredit(auth_pb2.GetCreditRequest(tenant_id=tenant.tenant_id), timeout=5)
    return credit.held_nano, credit.holds


def test_a_hold_is_placed_grows_is_renewed_and_ends(tollhouse: Deployment, poor: Tenant) -> None:
    hold_id = ids.request_id()
    (placed,) = decide(tollhouse, admit=[admit(poor, hold_id, 100)]).admit
    assert placed.grant_id
    assert held(tollhouse, poor) == (placed.held_nano, 1)
    (grown,) = decide(tollhouse, extend=[extend(poor, hold_id, 200)]).extend
    assert grown.held_nano > placed.held_nano
    (refused,) = decide(tollhouse, extend=[extend(poor, hold_id, LONG)]).extend
    assert refused.error.kind == "balance_exhausted"
    (renewed,) = decide(tollhouse, renew=[renew(poor, hold_id, 200)]).renew
    assert (renewed.grant_id, renewed.key_grant_id) == (placed.grant_id, "")
    assert held(tollhouse, poor) == (grown.held_nano, 1)
    assert [result.id for result in decide(tollhouse, settle=[settle(poor, hold_id)]).settle] == [4]
    assert held(tollhouse, poor) == (0, 0)


def test_a_hold_that_auth_does_not_know_is_taken_over_by_its_renewal_and_can_grow_only_then(
    tollhouse: Deployment, poor: Tenant
) -> None:
    hold_id = ids.request_id()
    (unknown,) = decide(tollhouse, extend=[extend(poor, hold_id, 200)]).extend
    assert unknown.error.kind == "auth_unavailable"
    (renewed,) = decide(tollhouse, renew=[renew(poor, hold_id, 100)]).renew
    assert renewed.grant_id
    (grown,) = decide(tollhouse, extend=[extend(poor, hold_id, 200)]).extend
    assert held(tollhouse, poor) == (grown.held_nano, 1)
    decide(tollhouse, settle=[settle(poor, hold_id)])


def test_a_renewal_in_the_batch_that_ends_its_hold_does_not_bring_it_back(tollhouse: Deployment, poor: Tenant) -> None:
    hold_id = ids.request_id()
    decide(tollhouse, admit=[admit(poor, hold_id, 100)])
    decide(tollhouse, settle=[settle(poor, hold_id)], renew=[renew(poor, hold_id, 100)])
    assert held(tollhouse, poor) == (0, 0)


def test_a_batch_that_places_and_ends_a_hold_leaves_none(tollhouse: Deployment, poor: Tenant) -> None:
    hold_id = ids.request_id()
    decide(tollhouse, admit=[admit(poor, hold_id, 100)], settle=[settle(poor, hold_id)])
    assert held(tollhouse, poor) == (0, 0)


def test_a_capped_key_is_refused_beyond_its_cap(tollhouse: Deployment, poor: Tenant) -> None:
    hold_id = ids.request_id()
    (placed,) = decide(tollhouse, admit=[admit(poor, hold_id, 100, cap_nano=100_000_000)]).admit
    assert placed.key_grant_id
    (refused,) = decide(tollhouse, admit=[admit(poor, ids.request_id(), 20_000, cap_nano=100_000_000)]).admit
    assert refused.error.kind == "key_cap_exhausted"
    assert "the key's spend cap cannot cover this request" in refused.error.message
    decide(tollhouse, settle=[settle(poor, hold_id)])


# ---- keys ----


def test_a_key_is_made_once_under_an_idempotency_key(tollhouse: Deployment, poor: Tenant) -> None:
    request = auth_pb2.CreateKeyRequest(
        tenant_id=poor.tenant_id, name="once", spend_cap_nano=5_000_000_000, idempotency_key="make-it"
    )
    made, repeat = tollhouse.auth.CreateKey(request), tollhouse.auth.CreateKey(request)
    assert made.secret
    assert not made.repeated
    assert (repeat.key, repeat.secret, repeat.repeated) == (made.key, "", True)
    elsewhere = tollhouse.tenant(0)
    request.tenant_id = elsewhere.tenant_id
    assert not tollhouse.auth.CreateKey(request).repeated  # each tenant has idempotency keys of its own


def test_keys_without_an_idempotency_key_are_all_new(tollhouse: Deployment, poor: Tenant) -> None:
    request = auth_pb2.CreateKeyRequest(tenant_id=poor.tenant_id, name="twin")
    assert tollhouse.auth.CreateKey(request).key.key_id != tollhouse.auth.CreateKey(request).key.key_id


def test_a_keys_spend_cap_is_set_and_lifted(tollhouse: Deployment, poor: Tenant) -> None:
    def set_cap(cap_nano: int | None) -> auth_pb2.Key:
        request = auth_pb2.SetKeySpendCapRequest(key_id=poor.key_id, spend_cap_nano=cap_nano)
        key: auth_pb2.Key = tollhouse.auth.SetKeySpendCap(request).key
        return key

    assert set_cap(7).spend_cap_nano == 7
    listed = tollhouse.auth.ListKeys(auth_pb2.ListKeysRequest(tenant_id=poor.tenant_id)).keys
    assert [key.spend_cap_nano for key in listed] == [7]
    assert set_cap(0).HasField("spend_cap_nano")  # a key that may spend nothing
    assert not set_cap(None).HasField("spend_cap_nano")
    with pytest.raises(grpc.RpcError) as caught:
        set_cap(-1)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
