"""Pools, groups, models and upstream accounts as operators manage them, over gRPC."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from services.shared import ids
from tests.deployment import Deployment, eventually, free_port
from tollhouse.v1 import router_pb2, router_pb2_grpc

Stub = router_pb2_grpc.RouterServiceStub


def account(name: str, **fields: Any) -> router_pb2.UpstreamAccount:
    plain: dict[str, Any] = {
        "name": name,
        "kind": router_pb2.UPSTREAM_KIND_ANTHROPIC,
        "base_url": "http://127.0.0.1:9",
        "models": {f"model-of-{name}": "there"},
        "enabled": True,
    }
    return router_pb2.UpstreamAccount(**(plain | fields))


def put(router: Stub, asked: router_pb2.UpstreamAccount, credential: str = "secret") -> router_pb2.UpstreamAccount:
    return router.PutUpstreamAccount(router_pb2.PutUpstreamAccountRequest(account=asked, credential=credential)).account


def put_pool(router: Stub, name: str) -> None:
    router.PutPool(router_pb2.PutPoolRequest(name=name))


def put_group(router: Stub, name: str, *pools: str) -> None:
    router.PutGroup(router_pb2.PutGroupRequest(group=router_pb2.Group(name=name, pools=pools)))


def routes(router: Stub) -> router_pb2.GetRoutesResponse:
    return router.GetRoutes(router_pb2.GetRoutesRequest())


def pool(router: Stub, name: str) -> router_pb2.Pool | None:
    return next((pool for pool in routes(router).pools if pool.name == name), None)


def listed(router: Stub, name: str) -> router_pb2.UpstreamAccount | None:
    accounts = router.ListUpstreamAccounts(router_pb2.ListUpstreamAccountsRequest()).accounts
    return next((account for account in accounts if account.name == name), None)


def decide(router: Stub, **fields: Any) -> router_pb2.PickResult:
    item = router_pb2.PickItem(id=1, lease_id=f"{ids.request_id(0)}-{time.monotonic_ns()}:1", **fields)
    return router.Decide(router_pb2.RouterDecideRequest(sequence=1, pick=[item])).pick[0]


def report(router: Stub, lease_id: str, outcome: router_pb2.Outcome.ValueType) -> None:
    item = router_pb2.ReportItem(id=1, lease_id=lease_id, outcome=outcome)
    router.Decide(router_pb2.RouterDecideRequest(sequence=1, report=[item]))


@contextlib.contextmanager
def refused(status: grpc.StatusCode, said: str) -> Iterator[None]:
    with pytest.raises(grpc.RpcError) as error:
        yield
    assert error.value.code() is status
    assert said in (error.value.details() or "")


INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


@contextlib.contextmanager
def another_router(tollhouse: Deployment, tmp_path: Path) -> Iterator[Stub]:
    """A second router on the same database and NATS, with its own name."""
    running = Path(f"/proc/{tollhouse.pids('router')[0]}/environ").read_bytes().decode()
    environment = dict(entry.split("=", 1) for entry in running.split("\0") if entry)
    port = free_port()
    own = {"PORT": str(port), "OPS_PORT": str(free_port()), "REPLICA": "router-other"}
    environment |= {f"TOLLHOUSE_ROUTER_{name}": value for name, value in own.items()}
    with (tmp_path / "router.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "services", "router"], env=environment, stdout=log, stderr=log
        )
    try:
        channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        grpc.channel_ready_future(channel).result(30)
        yield router_pb2_grpc.RouterServiceStub(channel)
        channel.close()
    finally:
        process.terminate()
        process.wait(30)


def test_the_default_pool_and_group_are_there_and_stay(tollhouse: Deployment) -> None:
    router = tollhouse.router
    default = pool(router, "default")
    assert default is not None
    assert default.accounts >= 1
    assert "claude-sonnet-4-6" in default.models
    groups = router.ListGroups(router_pb2.ListGroupsRequest()).groups
    assert next(list(group.pools) for group in groups if group.name == "default") == ["default"]
    with refused(INVALID, "the pool default stays"):
        router.DeletePool(router_pb2.DeletePoolRequest(name="default"))
    with refused(INVALID, "the group default stays"):
        router.DeleteGroup(router_pb2.DeleteGroupRequest(name="default"))


def test_a_pool_is_deleted_only_when_nothing_needs_it(tollhouse: Deployment) -> None:
    router = tollhouse.router
    put_pool(router, "spare")
    put_pool(router, "spare")
    put(router, account("in-spare", pool="spare"))
    put_group(router, "sparing", "default", "spare")
    spare = pool(router, "spare")
    assert spare is not None
    assert (spare.accounts, list(spare.models)) == (1, ["model-of-in-spare"])
    with refused(INVALID, "the pool 'spare' holds 1 upstream account"):
        router.DeletePool(router_pb2.DeletePoolRequest(name="spare"))
    router.DeleteUpstreamAccount(router_pb2.DeleteUpstreamAccountRequest(name="in-spare"))
    with refused(INVALID, "stands in the group 'sparing'"):
        router.DeletePool(router_pb2.DeletePoolRequest(name="spare"))
    router.DeleteGroup(router_pb2.DeleteGroupRequest(name="sparing"))
    router.DeletePool(router_pb2.DeletePoolRequest(name="spare"))
    router.DeletePool(router_pb2.DeletePoolRequest(name="spare"))
    assert pool(router, "spare") is None


def test_a_group_keeps_its_order_and_is_replaced_as_a_whole(tollhouse: Deployment) -> None:
    router = tollhouse.router
    for name in ("g-a", "g-b", "g-c"):
        put_pool(router, name)
    put_group(router, "ordered", "g-c", "g-a", "g-b")
    assert next(list(g.pools) for g in routes(router).groups if g.name == "ordered") == ["g-c", "g-a", "g-b"]
    put_group(router, "ordered", "g-b", "g-c")
    assert next(list(g.pools) for g in routes(router).groups if g.name == "ordered") == ["g-b", "g-c"]
    with refused(NOT_FOUND, "there is no pool 'g-x', 'g-y'"):
        put_group(router, "ordered", "g-a", "g-x", "g-y")
    assert next(list(g.pools) for g in routes(router).groups if g.name == "ordered") == ["g-b", "g-c"]


def test_all_that_is_said_of_an_account_is_kept(tollhouse: Deployment) -> None:
    router = tollhouse.router
    put_pool(router, "full")
    limits = router_pb2.AccountLimits(
        concurrent=3, requests_per_minute=60, input_tokens_per_minute=2**33, output_tokens_per_minute=5
    )
    asked = account(
        "full",
        kind=router_pb2.UPSTREAM_KIND_OPENROUTER,
        pool="full",
        weight=250,
        priority=-1,
        headers={"x-title": "us"},
        proxy="http://proxy.example:3128",
        limits=limits,
        resale_allowed=True,
        note="until March",
        models={"full-a": "there/a", "full-b": "full-b"},
    )
    stored = put(router, asked)
    for field in ("kind", "pool", "weight", "priority", "proxy", "limits", "resale_allowed", "note", "enabled"):
        assert getattr(stored, field) == getattr(asked, field), field
    assert dict(stored.headers) == {"x-title": "us"}
    picked = decide(router, model="full-a", pool="full", only=stored.upstream_account_id)
    assert (picked.upstream_model, picked.credential) == ("there/a", "secret")
    assert (dict(picked.headers), picked.proxy) == ({"x-title": "us"}, "http://proxy.example:3128")
    assert put(router, account("full"), "").upstream_account_id == stored.upstream_account_id
    again = listed(router, "full")
    assert again is not None
    assert (again.pool, again.weight, again.proxy, dict(again.models)) == (
        "default",
        100,
        "",
        {"model-of-full": "there"},
    )
    router.DeleteUpstreamAccount(router_pb2.DeleteUpstreamAccountRequest(name="full"))


def test_an_account_that_cannot_be_stored_is_refused_by_its_field(tollhouse: Deployment) -> None:
    router = tollhouse.router
    with refused(NOT_FOUND, "there is no pool 'nowhere'"):
        put(router, account("bad", pool="nowhere"))
    with refused(INVALID, "kind must be one of anthropic"):
        put(router, account("bad", kind=router_pb2.UPSTREAM_KIND_UNSPECIFIED))
    with refused(INVALID, "authorization is not for an account to set"):
        put(router, account("bad", headers={"Authorization": "x"}))
    with refused(INVALID, "credential is needed"):
        put(router, account("bad"), "")
    assert listed(router, "bad") is None
    for call in (
        lambda: router.SetUpstreamCredential(router_pb2.SetUpstreamCredentialRequest(name="bad", credential="x")),
        lambda: router.ClearUpstreamAccount(router_pb2.ClearUpstreamAccountRequest(name="bad")),
        lambda: router.SetUpstreamAccountEnabled(router_pb2.SetUpstreamAccountEnabledRequest(name="bad")),
    ):
        with refused(NOT_FOUND, "there is no upstream account 'bad'"):
            call()


def test_a_refused_account_is_tried_again_with_another_credential_or_when_cleared(tollhouse: Deployment) -> None:
    router = tollhouse.router
    put_pool(router, "refusing")
    asked = account("refusing", pool="refusing", models={"claude-refused-1": "x"})
    put(router, asked, "first")

    def refuse() -> None:
        item = router_pb2.PickItem(id=1, lease_id=f"{time.monotonic_ns()}:1", model="claude-refused-1", pool="refusing")
        picked = router.Decide(router_pb2.RouterDecideRequest(sequence=1, pick=[item])).pick[0]
        assert not picked.HasField("error")
        report(router, item.lease_id, router_pb2.OUTCOME_REFUSED)
        health = listed(router, "refusing").health[0]  # type: ignore[union-attr]
        assert (health.family, health.state) == ("claude-refused", router_pb2.AccountHealth.STATE_COOLING)
        assert (health.cause, health.until_ms) == (router_pb2.CAUSE_REFUSED, 0)
        assert decide(router, model="claude-refused-1", pool="refusing").error.kind == "no_healthy_account"

    refuse()
    put(router, asked, "first")  # nothing changed: as little as before
    put(router, asked, "")
    assert decide(router, model="claude-refused-1", pool="refusing").HasField("error")
    put(router, asked, "second")
    assert decide(router, model="claude-refused-1", pool="refusing").credential == "second"
    router.DeleteUpstreamAccount(router_pb2.DeleteUpstreamAccountRequest(name="refusing"))
    put(router, asked, "third")
    refuse()
    router.SetUpstreamCredential(router_pb2.SetUpstreamCredentialRequest(name="refusing", credential="fourth"))
    assert decide(router, model="claude-refused-1", pool="refusing").credential == "fourth"
    router.DeleteUpstreamAccount(router_pb2.DeleteUpstreamAccountRequest(name="refusing"))
    put(router, asked, "fifth")
    refuse()
    cleared = router.ClearUpstreamAccount(router_pb2.ClearUpstreamAccountRequest(name="refusing")).account
    assert all(health.state != router_pb2.AccountHealth.STATE_COOLING for health in cleared.health)
    eventually(lambda: decide(router, model="claude-refused-1", pool="refusing").credential == "fifth")


def test_what_is_said_of_a_model_goes_to_edges(tollhouse: Deployment) -> None:
    router = tollhouse.router
    put(router, account("timed", models={"claude-timed-9": "x"}))
    plain = next(model for model in routes(router).models if model.model == "claude-timed-9")
    assert (plain.display_name, plain.family) == ("claude-timed-9", "claude-timed")
    times = router_pb2.ModelTimes(attempts_budget_ms=1, first_byte_ms=2, idle_ms=3, total_ms=4)
    asked = router_pb2.Model(model="claude-timed-9", display_name="Timed", family="slow", times=times)
    stored = router.PutModel(router_pb2.PutModelRequest(model=asked)).model
    assert stored.created_ms == plain.created_ms
    told = next(model for model in routes(router).models if model.model == "claude-timed-9")
    assert told == stored
    assert (told.display_name, told.family, told.times) == ("Timed", "slow", times)
    router.SetUpstreamAccountEnabled(router_pb2.SetUpstreamAccountEnabledRequest(name="timed", enabled=False))
    assert all(model.model != "claude-timed-9" for model in routes(router).models)
    assert decide(router, model="claude-timed-9", pool="default").error.kind == "no_healthy_account"
    router.DeleteUpstreamAccount(router_pb2.DeleteUpstreamAccountRequest(name="timed"))
    assert decide(router, model="claude-timed-9", pool="default").error.kind == "model_unknown"


def test_changes_are_announced_to_another_router(tollhouse: Deployment, tmp_path: Path) -> None:
    router = tollhouse.router
    with another_router(tollhouse, tmp_path) as other:
        put_pool(router, "shared")
        stored = put(router, account("shared", pool="shared"), "first")
        eventually(lambda: listed(other, "shared") == stored)
        router.SetUpstreamCredential(router_pb2.SetUpstreamCredentialRequest(name="shared", credential="second"))
        eventually(lambda: decide(other, model="model-of-shared", pool="shared").credential == "second")
        put_group(router, "sharing", "shared", "default")
        eventually(lambda: any(group.name == "sharing" for group in routes(other).groups))
        lease = f"{ids.request_id(0)}:1"
        item = router_pb2.PickItem(id=1, lease_id=lease, model="model-of-shared", pool="shared")
        other.Decide(router_pb2.RouterDecideRequest(sequence=1, pick=[item]))
        asked = router_pb2.ExplainRouteRequest(request_id=lease.partition(":")[0])
        told = router.ExplainRoute(asked).decisions
        assert [(d.replica, d.upstream_account_id) for d in told] == [("router-other", stored.upstream_account_id)]
        with refused(NOT_FOUND, "no router remembers"):
            router.ExplainRoute(router_pb2.ExplainRouteRequest(request_id="req_nobody"))
