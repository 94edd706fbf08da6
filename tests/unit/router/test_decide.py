"""Unit tests of services.router.decide: batches, waiting, refusals, and what is told of decisions."""

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Sequence

import nats.aio.client
import pytest

from services.router.accounts import Account, Limits
from services.router.cooldowns import Cooldowns
from services.router.decide import Decider
from services.router.leases import Leases
from services.router.settings import RouterSettings
from services.shared import clock
from services.shared.settings import Secret
from tests.unit.router.upstreams import MODEL, Ailments, Catalogue, account, five
from tollhouse.v1 import router_pb2, types_pb2

THROTTLED, OVERLOADED, REFUSED = router_pb2.CAUSE_THROTTLED, router_pb2.CAUSE_OVERLOADED, router_pb2.CAUSE_REFUSED
SETTINGS = RouterSettings(database_url=Secret(""), nats_url=Secret(""), master_key=Secret(""))
CONVERSATION = b"12345678"


class Router:
    """A decider with its accounts, and short ways to ask it."""

    def __init__(self, accounts: Sequence[Account], health: Ailments | None = None) -> None:
        self.health = health or Ailments()
        self.leases = Leases(60.0)
        self.decider = Decider(Catalogue(accounts), self.leases, self.health, SETTINGS, replica="router-1")
        self.count = 0

    def item(self, lease_id: str = "", **fields: object) -> router_pb2.PickItem:
        self.count += 1
        named = {"pool": "default", "model": MODEL} | fields
        return router_pb2.PickItem(id=self.count, lease_id=lease_id or f"req_{self.count}:1", **named)  # type: ignore[arg-type]

    def pick(self, lease_id: str = "", **fields: object) -> router_pb2.PickResult:
        """Asks for one account, of which the answer is known at once."""
        response, later = self.decider.decide(router_pb2.RouterDecideRequest(pick=[self.item(lease_id, **fields)]))
        assert not later
        return response.pick[0]

    def wait(self, lease_id: str = "", **fields: object) -> "asyncio.Future[router_pb2.RouterDecideResponse]":
        """Asks for one account, of which the answer comes later."""
        fields = {"wait_ms": 2_000} | fields
        response, later = self.decider.decide(router_pb2.RouterDecideRequest(pick=[self.item(lease_id, **fields)]))
        assert not response.pick
        return asyncio.ensure_future(later[0])

    def report(self, lease_id: str, outcome: router_pb2.Outcome.ValueType = router_pb2.OUTCOME_OK) -> None:
        report = router_pb2.ReportItem(id=1, lease_id=lease_id, outcome=outcome)
        self.decider.decide(router_pb2.RouterDecideRequest(report=[report]))


def soon(ms: int) -> int:
    return clock.now_ms() + ms


def test_an_answer_holds_what_the_edge_needs_to_call_the_account() -> None:
    one = Account(
        "acc",
        "name",
        "openai",
        "https://api",
        "key",
        {MODEL: "theirs"},
        0,
        True,
        0,
        headers={"a": "b"},
        proxy="http://p",
    )
    response, _ = Router([one]).decider.decide(
        router_pb2.RouterDecideRequest(
            sequence=7, pick=[router_pb2.PickItem(id=3, lease_id="req_1:1", model=MODEL, pool="default")]
        )
    )
    assert response.sequence == 7
    assert response.pick[0] == router_pb2.PickResult(
        id=3,
        upstream_account_id="acc",
        kind=router_pb2.UPSTREAM_KIND_OPENAI,
        base_url="https://api",
        credential="key",
        upstream_model="theirs",
        headers={"a": "b"},
        proxy="http://p",
    )


def test_the_same_lease_asked_for_twice_is_the_same_lease() -> None:
    router = Router(five())
    first = router.pick("req_1:1")
    assert {router.pick("req_1:1").upstream_account_id for _ in range(20)} == {first.upstream_account_id}
    assert len(router.leases) == 1


def test_reports_of_a_batch_free_slots_for_its_picks_and_end_its_own_leases() -> None:
    router = Router([account("acc", limits=Limits(concurrent=1))])
    router.pick("req_1:1")
    request = router_pb2.RouterDecideRequest(
        pick=[router.item("req_2:1")],
        report=[router_pb2.ReportItem(id=8, lease_id="req_1:1"), router_pb2.ReportItem(id=9, lease_id="req_2:1")],
    )
    response, _ = router.decider.decide(request)
    assert response.pick[0].upstream_account_id == "acc"
    assert [report.id for report in response.report] == [8, 9]
    assert len(router.leases) == 0


def test_accounts_that_were_tried_are_not_picked_unless_only_that_one_is_asked_for() -> None:
    router = Router([account("a"), account("b")], Ailments({"a": (REFUSED, 0)}))
    assert router.pick().upstream_account_id == "b"
    assert router.pick(exclude=["b"]).error.kind == "no_healthy_account"
    assert router.pick(only="a", exclude=["a"]).upstream_account_id == "a"
    assert router.pick(only="gone").error.kind == "no_healthy_account"


def test_turns_of_a_conversation_go_to_one_account_until_it_cools() -> None:
    router = Router(five())
    home = router.pick(conversation=CONVERSATION).upstream_account_id
    assert {router.pick(conversation=CONVERSATION).upstream_account_id for _ in range(20)} == {home}
    router.health.cooling[home] = (THROTTLED, soon(60_000))
    moved = router.pick(conversation=CONVERSATION).upstream_account_id
    assert moved != home
    del router.health.cooling[home]
    assert router.pick(conversation=CONVERSATION).upstream_account_id == moved


def test_a_pool_and_a_model_that_are_unknown_are_told_apart() -> None:
    router = Router([account("off", enabled=False)])
    nowhere = router.pick(pool="nowhere").error
    assert (nowhere.kind, "nowhere" in nowhere.message) == ("no_healthy_account", True)
    unheard_of = router.pick(model="unheard-of").error
    assert (unheard_of.kind, unheard_of.message) == ("model_unknown", "there is no model 'unheard-of'")
    assert router.pick().error.kind == "no_healthy_account"


@pytest.mark.parametrize(
    ("causes", "kind"),
    [
        ([THROTTLED, THROTTLED], "upstream_throttled"),
        ([OVERLOADED, OVERLOADED], "upstream_overloaded"),
        ([OVERLOADED, THROTTLED], "no_healthy_account"),
        ([REFUSED, THROTTLED], "upstream_throttled"),
        ([REFUSED, REFUSED], "no_healthy_account"),
    ],
)
def test_a_refusal_tells_what_is_the_matter_with_all_accounts_and_when_one_may_be_free(
    causes: list[router_pb2.Cause.ValueType], kind: str
) -> None:
    ends = [0 if cause == REFUSED else soon(60_000 + 1_000 * number) for number, cause in enumerate(causes)]
    cooling = {f"acc_{number}": (cause, ends[number]) for number, cause in enumerate(causes)}
    router = Router([account(name) for name in cooling], Ailments(cooling))
    for exclude in ([], list(cooling)):
        error = router.pick(exclude=exclude).error
        assert error.kind == kind
        if any(ends):
            left_ms = min(end for end in ends if end) - clock.now_ms()
            assert 0 <= int(error.details["retry_after_ms"]) - left_ms < 200
        else:
            assert not error.details


def test_what_was_tried_already_is_not_counted_among_those_that_are_throttled() -> None:
    router = Router([account("tried"), account("full")], Ailments({"full": (THROTTLED, soon(5_000))}))
    assert router.pick(exclude=["tried"]).error.kind == "upstream_throttled"


def test_an_account_at_its_own_limit_a_minute_is_told_as_throttled_with_the_exact_time() -> None:
    router = Router([account("acc", limits=Limits(requests=60))])
    for _ in range(60):
        assert router.pick().upstream_account_id
    error = router.pick().error
    assert error.kind == "upstream_throttled"
    assert 900 < int(error.details["retry_after_ms"]) <= 1_000


def test_what_an_attempt_used_corrects_the_limits_and_what_was_turned_away_cost_no_tokens() -> None:
    limits = Limits(input_tokens=1_000)
    router = Router([account("acc", limits=limits)])
    router.pick("req_1:1", input_tokens=1_000)
    assert router.pick(input_tokens=500).error.kind == "upstream_throttled"
    used = types_pb2.TokenCounts(input=100, cache_write_5m=100, cache_write_1h=100, cache_read=9_000)
    report = router_pb2.ReportItem(lease_id="req_1:1", outcome=router_pb2.OUTCOME_OK, used=used)
    router.decider.decide(router_pb2.RouterDecideRequest(report=[report]))
    assert router.pick(input_tokens=750).error.kind == "upstream_throttled"
    assert router.pick("req_2:1", input_tokens=700).upstream_account_id
    router.report("req_2:1", router_pb2.OUTCOME_THROTTLED)
    assert router.pick("req_3:1", input_tokens=700).upstream_account_id


def test_at_a_cold_start_every_request_is_served_and_each_account_gets_one_first() -> None:
    accounts = five()
    router = Router(accounts, Ailments(unproven={one.upstream_account_id for one in accounts}))
    items = [router.item() for _ in range(32)]
    response, later = router.decider.decide(router_pb2.RouterDecideRequest(pick=items))
    assert not later
    picked = [result.upstream_account_id for result in response.pick]
    assert len(set(picked[:5])) == 5
    assert all(picked)
    assert max(Counter(picked).values()) <= 12


def test_after_a_cooldown_one_attempt_goes_and_the_others_wait_for_its_end() -> None:
    router = Router([account("acc")], Ailments({"acc": (THROTTLED, soon(-1))}))
    assert router.pick("req_1:1").upstream_account_id == "acc"
    assert router.pick().error.kind == "upstream_throttled"
    router.report("req_1:1")
    assert router.pick().upstream_account_id == "acc"


def test_whether_others_are_healthy_is_told_with_a_report() -> None:
    router = Router([account("a"), account("b")], Ailments({"b": (REFUSED, 0)}))
    router.pick("req_1:1")
    router.report("req_1:1", router_pb2.OUTCOME_OVERLOADED)
    router.health.cooling.clear()
    router.pick("req_2:1")
    router.report("req_2:1", router_pb2.OUTCOME_OVERLOADED)
    assert router.health.others_healthy == [False, True]


def test_a_lease_that_nobody_gives_back_ends_and_tells_nothing_of_its_account() -> None:
    router = Router([account("acc")])
    router.pick("req_1:1")
    router.decider.expire(clock.monotonic_s() + 61)
    assert len(router.leases) == 0
    assert router.health.reports[0].outcome == router_pb2.OUTCOME_UNUSED


def test_in_an_outage_the_accounts_are_not_asked_for_each_request() -> None:
    accounts = [account(f"acc_{number}") for number in range(1_000)]
    cooling = {one.upstream_account_id: (THROTTLED, soon(60_000)) for one in accounts}
    router = Router(accounts, Ailments(cooling))
    router.pick()
    asked = router.health.asked
    assert router.pick().error.kind == "upstream_throttled"
    assert router.health.asked == asked


# ---- waiting ----


async def test_a_pick_waits_for_the_end_of_a_cooldown() -> None:
    end_ms = soon(80)
    router = Router([account("acc")], Ailments({"acc": (THROTTLED, end_ms)}))
    result = (await asyncio.wait_for(router.wait(), 10)).pick[0]
    assert result.upstream_account_id == "acc"
    assert 0 <= clock.now_ms() - end_ms < 200
    assert router.decider.explain("req_1")[0].waited_ms >= 75


async def test_slots_that_are_freed_go_to_those_who_wait_in_the_order_they_came() -> None:
    router = Router([account("acc", limits=Limits(concurrent=1))])
    router.pick("req_0:1")
    first, second = router.wait("req_1:1"), router.wait("req_2:1")
    router.report("req_0:1")
    assert (await first).pick[0].upstream_account_id == "acc"
    assert not second.done()
    router.report("req_1:1")
    assert (await second).pick[0].upstream_account_id == "acc"


async def test_a_pick_waits_for_a_limit_a_minute_to_refill() -> None:
    router = Router([account("acc", limits=Limits(requests=600))])
    for _ in range(600):
        router.pick()
    result = (await asyncio.wait_for(router.wait(), 10)).pick[0]
    assert result.upstream_account_id == "acc"


async def test_who_waits_in_vain_is_refused_at_its_deadline() -> None:
    router = Router([account("acc", limits=Limits(concurrent=1))])
    router.pick("req_0:1")
    began_s = clock.monotonic_s()
    error = (await router.wait(wait_ms=50)).pick[0].error
    assert error.kind == "no_healthy_account"
    assert 0.04 < clock.monotonic_s() - began_s < 0.5


async def test_nobody_waits_for_what_comes_too_late_or_never() -> None:
    router = Router([account("a"), account("b")], Ailments({"a": (REFUSED, 0), "b": (THROTTLED, soon(5_000))}))
    assert router.pick(wait_ms=100).error.kind == "upstream_throttled"
    assert router.pick(wait_ms=10_000, exclude=["a", "b"]).error.kind == "upstream_throttled"
    assert router.pick(wait_ms=100, pool="nowhere").error.kind == "no_healthy_account"


async def test_a_probe_that_is_answered_lets_all_who_wait_go() -> None:
    router = Router([account("acc")], Ailments({"acc": (OVERLOADED, soon(-1))}))
    router.pick("req_0:1")
    waiting = [router.wait() for _ in range(50)]
    router.report("req_0:1")
    answers = await asyncio.wait_for(asyncio.gather(*waiting), 10)
    assert all(answer.pick[0].upstream_account_id == "acc" for answer in answers)


async def test_whoever_gave_up_waiting_takes_no_slot() -> None:
    router = Router([account("acc", limits=Limits(concurrent=1))])
    router.pick("req_0:1")
    gone, there = router.wait("req_1:1"), router.wait("req_2:1")
    gone.cancel()
    router.report("req_0:1")
    assert (await there).pick[0].upstream_account_id == "acc"
    assert router.leases.standing("req_1:1") is None


async def test_at_most_ten_thousand_wait_at_once() -> None:
    router = Router([account("acc", limits=Limits(concurrent=1))])
    router.pick("req_0:1")
    items = [router.item(wait_ms=100) for _ in range(10_001)]
    response, later = router.decider.decide(router_pb2.RouterDecideRequest(pick=items))
    assert (len(later), [result.error.kind for result in response.pick]) == (10_000, ["no_healthy_account"])
    await asyncio.wait_for(asyncio.gather(*later), 10)


async def test_an_operator_who_clears_an_account_wakes_those_who_wait() -> None:
    router = Router([account("acc")], Ailments({"acc": (THROTTLED, soon(1_900))}))
    waiting, running = router.wait(), asyncio.create_task(router.decider.run())
    router.health.cooling.clear()
    began_s = clock.monotonic_s()
    assert (await waiting).pick[0].upstream_account_id == "acc"
    assert clock.monotonic_s() - began_s < 1
    running.cancel()


async def test_the_unary_call_answers_when_everything_is_known() -> None:
    router = Router([account("acc")], Ailments({"acc": (THROTTLED, soon(50))}))
    items = [router.item(wait_ms=1_000), router.item(pool="nowhere")]
    response = await router.decider.decide_all(router_pb2.RouterDecideRequest(sequence=0, pick=items))
    assert {result.id: bool(result.upstream_account_id) for result in response.pick} == {1: True, 2: False}


# ---- explanations ----


def test_a_decision_is_told_with_those_that_were_looked_at_and_how_the_attempt_ended() -> None:
    router = Router([account("cool"), account("good")], Ailments({"cool": (THROTTLED, soon(60_000))}))
    router.pick("req_9:1", conversation=CONVERSATION)
    router.report("req_9:1", router_pb2.OUTCOME_CUT)
    router.pick("req_9:2", conversation=CONVERSATION, exclude=["good"])
    taken, none = router.decider.explain("req_9")
    assert (taken.lease_id, taken.pool, taken.model, taken.family) == ("req_9:1", "default", MODEL, "claude-sonnet")
    assert (taken.upstream_account_id, taken.outcome, taken.replica) == ("good", router_pb2.OUTCOME_CUT, "router-1")
    assert taken.reason in ("affinity", "spill")
    assert taken.serving == none.serving == 2
    assert {one.name: one.verdict for one in taken.candidates}["good-name"] == "picked"
    assert (none.reason, none.upstream_account_id) == ("upstream_throttled", "")
    assert {one.name: one.verdict for one in none.candidates} == {"cool-name": "cooling", "good-name": "excluded"}
    assert router.decider.explain("req") == []


# ---- with the health that is real ----


async def test_one_bad_account_costs_one_attempt_and_its_conversations_come_back_to_where_they_moved() -> None:
    accounts = five()
    health = Cooldowns(nats.aio.client.Client(), lambda: 0.5)
    decider = Decider(Catalogue(accounts), Leases(60.0), health, SETTINGS)
    attempts: Counter[str] = Counter()
    for number in range(200):
        exclude: list[str] = []
        for attempt in range(3):
            lease_id = f"req_{number}:{attempt}"
            item = router_pb2.PickItem(
                lease_id=lease_id,
                pool="default",
                model=MODEL,
                conversation=number.to_bytes(8, "big"),
                exclude=exclude,
            )
            response, _ = decider.decide(router_pb2.RouterDecideRequest(pick=[item]))
            account_id = response.pick[0].upstream_account_id
            assert account_id
            attempts[account_id] += 1
            bad = account_id in ("acc_a", "acc_b")
            outcome = router_pb2.OUTCOME_REFUSED if bad else router_pb2.OUTCOME_OK
            report = router_pb2.ReportItem(lease_id=lease_id, outcome=outcome)
            decider.decide(router_pb2.RouterDecideRequest(report=[report]))
            if not bad:
                break
            exclude.append(account_id)
    assert attempts["acc_a"] == attempts["acc_b"] == 1
    assert sum(attempts.values()) == 202
    good = [attempts[name] for name in ("acc_c", "acc_d", "acc_e")]
    assert max(good) <= 1.25 * sum(good) / 3


async def test_of_many_requests_at_a_cold_start_each_is_served_by_the_real_health_too() -> None:
    health = Cooldowns(nats.aio.client.Client(), lambda: 0.5)
    decider = Decider(Catalogue([account("acc")]), Leases(60.0), health, SETTINGS)
    items = [
        router_pb2.PickItem(id=number, lease_id=f"req_{number}:1", pool="default", model=MODEL) for number in range(32)
    ]
    response, later = decider.decide(router_pb2.RouterDecideRequest(pick=items))
    assert not later
    assert all(result.upstream_account_id == "acc" for result in response.pick)


async def test_a_pick_that_is_withdrawn_while_it_waits_leases_nothing() -> None:
    router = Router([account("acc", limits=Limits(concurrent=1))])
    router.pick("req_1:1")
    waiting = router.wait("req_2:1")
    router.report("req_2:1", router_pb2.OUTCOME_UNUSED)
    assert not (await asyncio.wait_for(waiting, 10)).pick
    router.report("req_1:1")
    assert len(router.leases) == 0
    assert router.pick("req_3:1").upstream_account_id == "acc"


async def test_a_probe_whose_answer_has_begun_lets_others_go_and_keeps_its_lease() -> None:
    nc = nats.aio.client.Client()
    cooldowns, leases = Cooldowns(nc, lambda: 0.5), Leases(60.0)
    decider = Decider(Catalogue([account("acc")]), leases, cooldowns, SETTINGS)

    def pick(lease_id: str) -> router_pb2.PickResult:
        item = router_pb2.PickItem(id=1, lease_id=lease_id, pool="default", model=MODEL)
        return decider.decide(router_pb2.RouterDecideRequest(pick=[item]))[0].pick[0]

    def report(lease_id: str, outcome: router_pb2.Outcome.ValueType) -> None:
        item = router_pb2.ReportItem(id=1, lease_id=lease_id, outcome=outcome)
        decider.decide(router_pb2.RouterDecideRequest(report=[item]))

    assert pick("req_1:1").probe
    report("req_1:1", router_pb2.OUTCOME_ANSWERING)
    assert len(leases) == 1
    assert not pick("req_2:1").probe
    report("req_1:1", router_pb2.OUTCOME_OK)
    assert len(leases) == 1


def test_a_refusal_of_the_credential_of_before_is_not_held_against_the_new_one() -> None:
    before = account("acc")
    catalogue, health = Catalogue([before]), Ailments()
    decider = Decider(catalogue, Leases(60.0), health, SETTINGS)
    item = router_pb2.PickItem(id=1, lease_id="req_1:1", pool="default", model=MODEL)
    decider.decide(router_pb2.RouterDecideRequest(pick=[item]))
    catalogue.accounts = [dataclasses.replace(before, credential="new")]
    catalogue.__post_init__()
    refused = router_pb2.ReportItem(id=1, lease_id="req_1:1", outcome=router_pb2.OUTCOME_REFUSED)
    decider.decide(router_pb2.RouterDecideRequest(report=[refused]))
    assert [told.outcome for told in health.reports] == [router_pb2.OUTCOME_UNUSED]


def test_a_request_that_failed_once_goes_to_an_account_that_is_known_to_answer() -> None:
    accounts = [account(f"acc_{name}") for name in "abcdefgh"]
    unknown = {one.upstream_account_id for one in accounts} - {"acc_c"}
    for number in range(20):
        router = Router(accounts, Ailments(unproven=set(unknown)))
        conversation = number.to_bytes(8, "big")
        again = router.pick(exclude=["acc_a"], conversation=conversation)
        assert again.upstream_account_id == "acc_c"
    router = Router([account("acc_a"), account("acc_b")], Ailments(unproven={"acc_a", "acc_b"}))
    assert router.pick(exclude=["acc_a"]).upstream_account_id == "acc_b"
