"""Limits as auth's replicas decide them: real processes, over gRPC."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from services.shared import clock, ids
from services.shared.principal import key_hash
from tests.deployment import MODEL, SONNET_NANO, Deployment, Tenant, eventually
from tollhouse.v1 import auth_pb2, billing_pb2, events_pb2, ledger_pb2, types_pb2

REQUESTS = types_pb2.LIMIT_METRIC_REQUESTS
TOKENS = types_pb2.LIMIT_METRIC_TOKENS
CONCURRENT = types_pb2.LIMIT_METRIC_CONCURRENT


def limit(metric: types_pb2.LimitMetric.ValueType, amount: int, model: str = "") -> types_pb2.Limit:
    return types_pb2.Limit(metric=metric, amount=amount, model=model)


class Caller:
    """An edge that asks one replica of auth, the tenant's owner, on behalf of one key."""

    def __init__(self, tollhouse: Deployment, tenant: Tenant, auth: int = 0) -> None:
        self._tollhouse = tollhouse
        self._auth = tollhouse.auths[auth]
        self._key = tenant.key
        self._asked = 0
        self.tenant = tenant
        self.look_up()

    def look_up(self) -> None:
        """Resolves the key anew, as edges do when they hear that something changed."""
        pepper = json.loads((self._tollhouse.state_dir / "secrets.json").read_text())["key_pepper"]
        asked = auth_pb2.AuthDecideRequest(
            resolve=[auth_pb2.ResolveItem(id=1, key_hash=key_hash(self._key, pepper.encode()))]
        )
        self.principal = self._auth.Decide(asked).resolve[0].principal

    def item(self, likely: int = 0, model: str = MODEL) -> auth_pb2.AdmitItem:
        self._asked += 1
        return auth_pb2.AdmitItem(
            id=self._asked,
            hold_id=f"req_{self.principal.key_id}_{self._asked}",
            tenant_id=self.principal.tenant_id,
            key_id=self.principal.key_id,
            model=model,
            input_tokens=1,
            output_tokens=1,
            policy=self.principal.policy,
            likely_output_tokens=likely,
        )

    def ask(self, item: auth_pb2.AdmitItem | None = None) -> auth_pb2.AdmitResult:
        asked = auth_pb2.AuthDecideRequest(admit=[item or self.item()], edge="edge-x/1")
        return self._auth.Decide(asked).admit[0]

    def settle(self, item: auth_pb2.AdmitItem, output_tokens: int = 0) -> None:
        charged = [types_pb2.TokenCounts(output=output_tokens)] if output_tokens else []
        settle = auth_pb2.SettleItem(id=1, hold_id=item.hold_id, tenant_id=item.tenant_id, charged=charged)
        self._auth.Decide(auth_pb2.AuthDecideRequest(settle=[settle], edge="edge-x/1"))


def caller(tollhouse: Deployment, auth: int = 0, plan: str = "", *limits: types_pb2.Limit) -> Caller:
    """One of a new tenant of this plan, with limits of its own."""
    tenant = tollhouse.tenant()
    tollhouse.auth.SetTenantPolicy(
        auth_pb2.SetTenantPolicyRequest(tenant_id=tenant.tenant_id, plan=plan, limits=limits)
    )
    return Caller(tollhouse, tenant, auth)


def test_a_plan_of_sixty_admits_sixty_of_seventy_asked_at_once_and_tells_the_others_when(
    fleet: Deployment,
) -> None:
    edges = [caller(fleet, 1, "starter")] * 3
    items = [edges[0].item() for _ in range(70)]
    began_s = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda pair: edges[pair[0] % 3].ask(pair[1]), enumerate(items)))
    took_s = time.monotonic() - began_s
    admitted = [result for result in results if not result.HasField("error")]
    assert 60 <= len(admitted) <= 60 + int(took_s)
    last = edges[0].ask()
    ended_s = time.monotonic()
    assert last.error.kind == "rate_limited"
    details = dict(last.error.details)
    wait_ms = int(details.pop("retry_after_ms"))
    assert details == {"metric": "requests", "limit": "60", "scope": "starter"}
    assert "of 60 requests a minute of plan starter is reached; try again in " in last.error.message
    assert 0 < wait_ms <= 1000
    states = {state.metric: state for state in last.limits}
    assert (states[REQUESTS].limit, states[REQUESTS].remaining) == (60, 0)
    assert 58_000 < states[REQUESTS].reset_ms <= 60_000
    assert (states[TOKENS].limit, states[TOKENS].remaining) == (200_000, 200_000)
    time.sleep(max(0.0, ended_s + wait_ms / 1000 - time.monotonic()))
    assert not edges[0].ask().HasField("error")
    assert edges[0].ask().error.kind == "rate_limited"


def test_requests_at_a_time_pass_again_when_one_has_ended(fleet: Deployment) -> None:
    edge = caller(fleet, 0, "", limit(CONCURRENT, 2))
    first = edge.item()
    assert not edge.ask(first).HasField("error")
    assert not edge.ask().HasField("error")
    refused = edge.ask()
    assert (refused.error.details["metric"], refused.error.details["scope"]) == ("concurrent", "tenant")
    assert list(refused.limits) == []
    edge.settle(first, 10)
    assert not edge.ask().HasField("error")
    assert edge.ask().HasField("error")


def test_tokens_are_taken_as_estimated_and_corrected_by_the_settlement(fleet: Deployment) -> None:
    edge = caller(fleet, 0, "", limit(TOKENS, 1000))
    first = edge.item(likely=900)
    assert edge.ask(first).limits[0].remaining == 100
    refused = edge.ask(edge.item(likely=400))
    assert refused.error.details["metric"] == "tokens"
    assert 16_000 < int(refused.error.details["retry_after_ms"]) <= 18_000
    edge.settle(first, 100)
    passed = edge.ask(edge.item(likely=400))
    assert not passed.HasField("error")
    assert 500 <= passed.limits[0].remaining < 600


def test_a_plan_that_changes_takes_effect_with_the_next_look_at_the_key(fleet: Deployment) -> None:
    plan = auth_pb2.Plan(name="trial", limits=[limit(REQUESTS, 1)])
    fleet.auth.PutPlan(auth_pb2.PutPlanRequest(plan=plan))
    edge = caller(fleet, 0, "trial")
    assert not edge.ask().HasField("error")
    assert edge.ask().HasField("error")
    fleet.auth.PutPlan(auth_pb2.PutPlanRequest(plan=auth_pb2.Plan(name="trial", limits=[limit(REQUESTS, 3)])))
    edge.look_up()
    assert [edge.ask().HasField("error") for _ in range(3)] == [False, False, True]


def test_a_limit_of_one_model_leaves_the_others_alone(fleet: Deployment) -> None:
    fleet.account("other", fleet.simulator_url, {"model-limited": MODEL})
    edge = caller(fleet, 0, "", limit(REQUESTS, 1, "model-limited"))
    assert not edge.ask(edge.item(model="model-limited")).HasField("error")
    refused = edge.ask(edge.item(model="model-limited"))
    assert "for model-limited of the tenant" in refused.error.message
    assert not edge.ask().HasField("error")


def test_a_keys_limits_and_its_tenants_hold_at_once(fleet: Deployment) -> None:
    one = caller(fleet, 1, "", limit(REQUESTS, 3))
    made = fleet.auth.CreateKey(
        auth_pb2.CreateKeyRequest(tenant_id=one.tenant.tenant_id, name="other", group="batch", plan="pro")
    )
    assert (made.key.group, made.key.plan) == ("batch", "pro")
    fleet.auth.SetKeyPolicy(
        auth_pb2.SetKeyPolicyRequest(key_id=made.key.key_id, group="batch", limits=[limit(REQUESTS, 2)])
    )
    other = Caller(fleet, Tenant(one.tenant.tenant_id, made.secret, made.key.key_id), 1)
    assert (one.principal.group, other.principal.group) == ("default", "batch")
    assert [other.ask().HasField("error") for _ in range(2)] == [False, False]
    assert other.ask().error.details["scope"] == "key"
    assert not one.ask().HasField("error")
    assert one.ask().error.details["scope"] == "tenant"


def test_a_plan_pays_its_part_of_the_price(fleet: Deployment) -> None:
    book = billing_pb2.PriceBook()
    book.multipliers.add(scope="plan", name="pro", ppm=500_000)
    fleet.billing.ApplyPrices(billing_pb2.ApplyPricesRequest(book=book, actor="test"))
    edge, plain = caller(fleet, 0, "pro"), caller(fleet, 0)
    eventually(lambda: edge.ask().multiplier_ppm == 500_000, what="the multiplier is in force")
    half, full = edge.ask(), plain.ask()
    assert (full.multiplier_ppm, full.held_nano) == (1_000_000, 2 * half.held_nano)
    for who, admitted, cost_nano in ((edge, half, 75_000), (plain, full, 150_000)):
        assert bill(fleet, who, admitted) == cost_nano == 10 * SONNET_NANO["output"] * admitted.multiplier_ppm // 10**6


def bill(tollhouse: Deployment, edge: Caller, admitted: auth_pb2.AdmitResult) -> int:
    """What ten output tokens are booked at under an admission."""
    created_ms = clock.now_ms()
    request_id = ids.request_id(created_ms)
    event = events_pb2.UsageEvent(
        event_id=ids.event_id(request_id, 1),
        request_id=request_id,
        attempt=1,
        tenant_id=edge.principal.tenant_id,
        key_id=edge.principal.key_id,
        model=MODEL,
        status=events_pb2.USAGE_STATUS_ORPHANED,
        tokens=types_pb2.TokenCounts(output=10),
        estimated=True,
        price_version=admitted.price_version,
        multiplier_ppm=admitted.multiplier_ppm,
        grant_id=admitted.grant_id,
        created_ms=created_ms,
        final=True,
    )
    tollhouse.ledger.BookOrphans(ledger_pb2.BookOrphansRequest(events=[event]))
    return next(
        usage.cost_nano for usage in tollhouse.usages(edge.principal.tenant_id) if usage.request_id == request_id
    )


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ([limit(REQUESTS, 1), limit(REQUESTS, 2)], "two limits of requests"),
        ([limit(REQUESTS, 1, f"m{number}") for number in range(33)], "more than 32"),
        ([types_pb2.Limit(amount=1)], "what it counts"),
        ([limit(TOKENS, 10**13)], "at most"),
    ],
)
def test_limits_that_cannot_be_are_refused(fleet: Deployment, limits: list[types_pb2.Limit], said: str) -> None:
    calls = [
        lambda: fleet.auth.PutPlan(auth_pb2.PutPlanRequest(plan=auth_pb2.Plan(name="odd", limits=limits))),
        lambda: fleet.auth.SetTenantPolicy(auth_pb2.SetTenantPolicyRequest(tenant_id="demo", limits=limits)),
        lambda: fleet.auth.SetKeyPolicy(auth_pb2.SetKeyPolicyRequest(key_id="key_x", limits=limits)),
    ]
    for call in calls:
        with pytest.raises(grpc.RpcError) as caught:
            call()  # type: ignore[no-untyped-call]
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert said in str(caught.value.details())


def test_a_plan_in_use_cannot_be_deleted_and_one_that_is_not_known_cannot_be_given(fleet: Deployment) -> None:
    auth = fleet.auth
    auth.PutPlan(auth_pb2.PutPlanRequest(plan=auth_pb2.Plan(name="short-lived", limits=[limit(REQUESTS, 1)])))
    names = [plan.name for plan in auth.ListPlans(auth_pb2.ListPlansRequest()).plans]
    assert {"free", "starter", "pro", "short-lived"} <= set(names)
    assert names == sorted(names)
    edge = caller(fleet, 0, "short-lived")
    with pytest.raises(grpc.RpcError) as caught:
        auth.DeletePlan(auth_pb2.DeletePlanRequest(name="short-lived"))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    auth.SetTenantPolicy(auth_pb2.SetTenantPolicyRequest(tenant_id=edge.tenant.tenant_id))
    auth.DeletePlan(auth_pb2.DeletePlanRequest(name="short-lived"))
    auth.DeletePlan(auth_pb2.DeletePlanRequest(name="short-lived"))
    for call in (
        lambda: auth.CreateTenant(auth_pb2.CreateTenantRequest(tenant_id="planless", plan="short-lived")),
        lambda: auth.CreateKey(auth_pb2.CreateKeyRequest(tenant_id="demo", name="x", plan="short-lived")),
        lambda: auth.SetTenantPolicy(auth_pb2.SetTenantPolicyRequest(tenant_id="demo", plan="short-lived")),
        lambda: auth.SetKeyPolicy(auth_pb2.SetKeyPolicyRequest(key_id=edge.tenant.key_id, plan="short-lived")),
        lambda: auth.SetTenantPolicy(auth_pb2.SetTenantPolicyRequest(tenant_id="nobody")),
        lambda: auth.SetKeyPolicy(auth_pb2.SetKeyPolicyRequest(key_id="key_nobody")),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call()
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
