"""Unit tests of services.edge.picks: pools in order, replicas that are lost, and what is told when there is nobody."""

import asyncio
from typing import Any, cast

import pytest

from services.edge.clients import Routers
from services.edge.exchange import Exchange
from services.edge.picks import Picks
from services.edge.replicas import Replica
from services.edge.settings import EdgeSettings
from services.shared.errors import Kind, Refusal, to_detail
from services.shared.settings import load
from tests.unit.edge.test_exchange import exchange
from tollhouse.v1 import router_pb2

SETTINGS = load(
    EdgeSettings,
    "edge",
    {
        "TOLLHOUSE_EDGE_NATS_URL": "nats://here",
        "TOLLHOUSE_EDGE_KEY_PEPPER": "p",
        "TOLLHOUSE_EDGE_LEDGER_TOKEN": "t",
        "TOLLHOUSE_EDGE_JOURNAL_DIR": "/tmp",
    },
)


class Router(Replica):
    """A replica that answers for each pool what the test says; a list is answered one after the other."""

    def __init__(self, name: str, **answers: Any) -> None:
        self.name, self.answers = name, answers
        self.asked: list[router_pb2.PickItem] = []
        self.told: list[router_pb2.ReportItem] = []

    def ask(self, field: str, item: Any) -> asyncio.Future[Any]:
        future = asyncio.get_running_loop().create_future()
        self.asked.append(item)
        answer = self.answers[item.pool]
        if isinstance(answer, list):
            answer = answer.pop(0)
        if isinstance(answer, Refusal) and answer.kind is Kind.ROUTER_UNAVAILABLE:
            future.set_exception(answer)
        elif isinstance(answer, Refusal):
            future.set_result(router_pb2.PickResult(error=to_detail(answer)))
        else:
            future.set_result(router_pb2.PickResult(upstream_account_id=answer))
        return future

    def tell(self, field: str, item: Any) -> None:
        self.told.append(item)


class Fleet:
    def __init__(self, *routers: Router) -> None:
        self.routers = routers

    def owner(self, key: str, other_than: Any = None) -> Router:
        return next((router for router in self.routers if router is not other_than), self.routers[0])


def none(kind: Kind = Kind.NO_HEALTHY_ACCOUNT, after_ms: int | None = None) -> Refusal:
    return Refusal(kind, "no", **({} if after_ms is None else {"retry_after_ms": str(after_ms)}))


LOST = Refusal(Kind.ROUTER_UNAVAILABLE, "away")


async def picked(made_for: Exchange, *routers: Router) -> str:
    picks = Picks(SETTINGS, cast(Routers, Fleet(*routers)))
    return (await picks.answer(made_for, picks.ask(made_for))).upstream_account_id


def through(*pools: str) -> Exchange:
    made = exchange()
    made.pools = pools
    return made


async def test_the_first_pool_that_has_an_account_gives_it() -> None:
    router = Router("r", one=none(), two="acc_2", three="acc_3")
    made_for = through("one", "two", "three")
    assert await picked(made_for, router) == "acc_2"
    assert [item.pool for item in router.asked] == ["one", "two"]
    assert made_for.attempts[-1].picked.upstream_account_id == "acc_2"
    assert len(made_for.attempts) == 1


async def test_only_a_pool_that_stands_alone_is_waited_for_at_once() -> None:
    alone, several = Router("r", one="acc_1"), Router("r", one=none(), two="acc_2")
    await picked(through("one"), alone)
    await picked(through("one", "two"), several)
    assert [item.wait_ms for item in alone.asked] == [2000]
    assert [item.wait_ms for item in several.asked] == [0, 0]


async def test_of_several_pools_without_anybody_the_soonest_is_waited_for() -> None:
    router = Router("r", one=[none(after_ms=1500)], two=[none(after_ms=700), "acc_2"])
    assert await picked(through("one", "two"), router) == "acc_2"
    assert (router.asked[-1].pool, router.asked[-1].wait_ms) == ("two", 2000)


async def test_what_takes_too_long_is_not_waited_for_and_the_earliest_moment_is_told() -> None:
    router = Router("r", one=none(after_ms=9000), two=none(Kind.UPSTREAM_THROTTLED, 7000))
    with pytest.raises(Refusal) as refused:
        await picked(through("one", "two"), router)
    assert refused.value.kind is Kind.NO_HEALTHY_ACCOUNT
    assert refused.value.details["retry_after_ms"] == "7000"
    assert len(router.asked) == 2


async def test_that_all_are_throttled_is_told_only_when_all_are() -> None:
    router = Router("r", one=none(Kind.UPSTREAM_THROTTLED, 9000), two=none(Kind.UPSTREAM_THROTTLED, 7000))
    with pytest.raises(Refusal) as refused:
        await picked(through("one", "two"), router)
    assert refused.value.kind is Kind.UPSTREAM_THROTTLED


async def test_a_model_is_unknown_only_where_no_pool_knows_it() -> None:
    for second, kind in ((none(Kind.MODEL_UNKNOWN), Kind.MODEL_UNKNOWN), (none(), Kind.NO_HEALTHY_ACCOUNT)):
        with pytest.raises(Refusal) as refused:
            await picked(through("one", "two"), Router("r", one=none(Kind.MODEL_UNKNOWN), two=second))
        assert refused.value.kind is kind


async def test_the_next_replica_is_asked_when_the_owner_is_lost_and_the_lost_one_gives_back() -> None:
    lost, next_ = Router("a", one=LOST), Router("b", one="acc_1")
    made_for = through("one")
    assert await picked(made_for, lost, next_) == "acc_1"
    assert made_for.attempts[-1].router is next_
    assert [report.outcome for report in lost.told] == [router_pb2.OUTCOME_UNUSED]


async def test_without_another_replica_the_loss_is_told() -> None:
    with pytest.raises(Refusal) as refused:
        await picked(through("one"), Router("a", one=LOST))
    assert refused.value.kind is Kind.ROUTER_UNAVAILABLE


async def test_a_pick_says_whose_turn_it_is_and_what_was_tried() -> None:
    router, made_for = Router("r", one=["acc_1", "acc_2"]), through("one")
    made_for.conversation = b"12345678"
    await picked(made_for, router)
    made_for.attempts[-1].ended_s = 101.0
    await picked(made_for, router)
    first, second = router.asked
    assert (first.conversation, first.model, list(first.exclude)) == (b"12345678", "opus", [])
    assert (second.lease_id, list(second.exclude)) == ("req_1:2", ["acc_1"])
    assert first.input_tokens == made_for.likely_input_tokens
