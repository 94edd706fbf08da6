"""Unit tests of services.auth.policies: what is stored of limits, and what policies come to."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.auth.policies import MOST_AMOUNT, check_limits, check_name, check_plan, limits_of, stored, terms_of
from services.shared.errors import Refusal
from tollhouse.v1 import types_pb2

METRICS = [number for number in types_pb2.LimitMetric.values() if number]
LIMITS = st.lists(
    st.builds(
        types_pb2.Limit,
        metric=st.sampled_from(METRICS),
        amount=st.integers(0, MOST_AMOUNT),
        model=st.sampled_from(["", "opus", "vendor/model:free"]),
    ),
    max_size=12,
    unique_by=lambda limit: (limit.metric, limit.model),
)


@given(LIMITS)
def test_limits_that_are_accepted_come_back_from_the_store_as_they_were(limits: list[types_pb2.Limit]) -> None:
    check_limits(limits)
    assert limits_of(json.loads(json.dumps(stored(limits)))) == limits


@given(LIMITS, LIMITS, LIMITS, LIMITS)
def test_a_policy_names_every_limit_of_its_four_places(
    tenant_plan: list[types_pb2.Limit],
    tenant: list[types_pb2.Limit],
    key_plan: list[types_pb2.Limit],
    key: list[types_pb2.Limit],
) -> None:
    policy = types_pb2.Policy(
        tenant_plan="pro",
        tenant_plan_limits=tenant_plan,
        tenant_limits=tenant,
        key_plan="free",
        key_plan_limits=key_plan,
        key_limits=key,
        group="batch",
        brand="cc",
    )
    terms = terms_of(policy.SerializeToString())
    assert (terms.plan, terms.group, terms.brand) == ("free", "batch", "cc")
    places = [("pro", False, tenant_plan), ("tenant", False, tenant), ("free", True, key_plan), ("key", True, key)]
    assert [(rule.scope, rule.of_key, rule.metric, rule.amount, rule.model) for rule in terms.rules] == [
        (scope, of_key, limit.metric, limit.amount, limit.model) for scope, of_key, limits in places for limit in limits
    ]
    assert len({(rule.of_key, rule.source, rule.metric, rule.model) for rule in terms.rules}) == len(terms.rules)


def test_the_tenants_plan_counts_for_prices_where_the_key_has_none() -> None:
    assert terms_of(types_pb2.Policy(tenant_plan="pro").SerializeToString()).plan == "pro"
    assert terms_of(b"").plan == ""


@pytest.mark.parametrize("name", ["", "Pro", "a b", "x" * 64, "ä", "tenant", "key"])
def test_what_no_plan_can_be_called(name: str) -> None:
    with pytest.raises(Refusal):
        check_plan(name)


@pytest.mark.parametrize("name", ["pro", "a.b-c_9", "x" * 63])
def test_what_plans_and_groups_can_be_called(name: str) -> None:
    check_plan(name)
    check_name("group", name)
