"""Unit tests of services.auth.limits and what policies say."""

from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.auth.limits import Limits, Reservation
from services.auth.policies import terms_of
from services.shared.errors import Kind, Refusal
from services.shared.pricing import Tokens
from tollhouse.v1 import auth_pb2, types_pb2

REQUESTS = types_pb2.LIMIT_METRIC_REQUESTS
TOKENS = types_pb2.LIMIT_METRIC_TOKENS
INPUT = types_pb2.LIMIT_METRIC_INPUT_TOKENS
OUTPUT = types_pb2.LIMIT_METRIC_OUTPUT_TOKENS
CONCURRENT = types_pb2.LIMIT_METRIC_CONCURRENT
_IDS = count()


def limit(metric: types_pb2.LimitMetric.ValueType, amount: int, model: str = "") -> types_pb2.Limit:
    return types_pb2.Limit(metric=metric, amount=amount, model=model)


def policy(**fields: object) -> bytes:
    return types_pb2.Policy(**fields).SerializeToString()  # type: ignore[arg-type]


def asks(key: str = "key_1", model: str = "opus", into: int = 0, out: int = 0, hold_id: str = "") -> auth_pb2.AdmitItem:
    return auth_pb2.AdmitItem(
        hold_id=hold_id or f"req_{next(_IDS)}",
        tenant_id="acme",
        key_id=key,
        model=model,
        likely_input_tokens=into,
        likely_output_tokens=out,
    )


@dataclass
class Owner:
    """The limits of one policy, and a clock."""

    policy: bytes
    limits: Limits = field(default_factory=Limits)
    now_s: float = 1_000.0

    def take(self, item: auth_pb2.AdmitItem | None = None) -> Reservation:
        taken = self.limits.take(terms_of(self.policy), item or asks(), self.now_s)
        assert taken is not None
        return taken

    def refusal(self, item: auth_pb2.AdmitItem | None = None) -> Refusal:
        with pytest.raises(Refusal) as caught:
            self.take(item)
        assert caught.value.kind is Kind.RATE_LIMITED
        return caught.value

    def settle(self, taken: Reservation, *used: Tokens) -> None:
        taken.settle(used, self.now_s)

    def state(self, item: auth_pb2.AdmitItem | None = None) -> dict[int, tuple[int, int, int]]:
        """Metric to limit, remaining, reset in milliseconds."""
        states = self.limits.states(terms_of(self.policy), item or asks(), self.now_s)
        return {state.metric: (state.limit, state.remaining, state.reset_ms) for state in states}


# ---- how many pass ----


def test_sixty_a_minute_are_sixty_and_the_sixty_first_is_told_the_exact_wait() -> None:
    owner = Owner(policy(tenant_plan="starter", tenant_plan_limits=[limit(REQUESTS, 60)]))
    for _ in range(60):
        owner.take()
    owner.now_s += 0.58
    refused = owner.refusal()
    assert refused.message == "the limit of 60 requests a minute of plan starter is reached; try again in 0.42 s"
    assert refused.details == {"retry_after_ms": "420", "metric": "requests", "limit": "60", "scope": "starter"}
    owner.now_s += 0.419
    assert owner.refusal().details["retry_after_ms"] == "1"
    owner.now_s += 0.001
    owner.take()
    owner.refusal()


@settings(max_examples=60, deadline=None)
@given(
    limits=st.dictionaries(st.sampled_from([REQUESTS, TOKENS, INPUT, OUTPUT, CONCURRENT]), st.integers(0, 300)),
    asked=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=80),
)
def test_in_a_burst_never_more_than_each_limit_passes_and_never_less_than_all_of_them_allow(
    limits: dict[types_pb2.LimitMetric.ValueType, int], asked: list[tuple[int, int]]
) -> None:
    owner = Owner(policy(key_limits=[limit(metric, amount) for metric, amount in limits.items()]))
    used = dict.fromkeys([REQUESTS, TOKENS, INPUT, OUTPUT, CONCURRENT], 0)
    for into, out in asked:
        costs = {REQUESTS: 1, TOKENS: into + out, INPUT: into, OUTPUT: out, CONCURRENT: 1}
        fits = all(
            amount and used[metric] + (costs[metric] if metric == CONCURRENT else min(costs[metric], amount)) <= amount
            for metric, amount in limits.items()
        )
        try:
            owner.limits.take(terms_of(owner.policy), asks(into=into, out=out), owner.now_s)
            passed = True
        except Refusal:
            passed = False
        assert passed == fits
        for metric in used:
            used[metric] += costs[metric] * passed


def test_what_one_limit_refuses_takes_nothing_of_the_others() -> None:
    owner = Owner(policy(tenant_limits=[limit(REQUESTS, 10)], key_limits=[limit(TOKENS, 100), limit(CONCURRENT, 3)]))
    owner.take(asks(into=100))
    before = owner.state()
    assert owner.refusal(asks(into=1)).details["metric"] == "tokens"
    assert owner.state() == before == {REQUESTS: (10, 9, 6000), TOKENS: (100, 0, 60000)}


def test_of_several_limits_that_are_hit_the_one_that_lets_pass_last_is_named() -> None:
    owner = Owner(policy(tenant_limits=[limit(REQUESTS, 60)], key_plan="free", key_plan_limits=[limit(REQUESTS, 10)]))
    for _ in range(10):
        owner.take()
    refused = owner.refusal()
    assert (refused.details["scope"], refused.details["retry_after_ms"]) == ("free", "6000")
    for number in range(50):
        owner.take(asks(key=f"key_{number + 2}"))
    assert owner.refusal(asks(key="key_other")).details == {
        "retry_after_ms": "1000",
        "metric": "requests",
        "limit": "60",
        "scope": "tenant",
    }


# ---- whose ----


def test_a_tenants_limits_count_all_of_its_keys_and_a_keys_only_its_own() -> None:
    tenants = Owner(policy(tenant_limits=[limit(REQUESTS, 2)]))
    tenants.take(asks(key="key_1"))
    tenants.take(asks(key="key_2"))
    tenants.refusal(asks(key="key_3"))
    keys = Owner(policy(key_limits=[limit(REQUESTS, 1)]))
    keys.take(asks(key="key_1"))
    keys.take(asks(key="key_2"))
    assert keys.refusal(asks(key="key_1")).message.startswith("the limit of 1 request a minute of the key is reached")


def test_a_limit_of_a_model_counts_and_limits_only_that_model() -> None:
    owner = Owner(policy(tenant_limits=[limit(REQUESTS, 1, "opus"), limit(REQUESTS, 3)]))
    owner.take(asks(model="opus"))
    assert "for opus of the tenant" in owner.refusal(asks(model="opus")).message
    owner.take(asks(model="haiku"))
    owner.take(asks(model="haiku"))
    assert owner.refusal(asks(model="haiku")).details["limit"] == "3"


def test_another_plan_goes_on_where_the_one_before_stood() -> None:
    owner = Owner(policy(tenant_plan="free", tenant_plan_limits=[limit(REQUESTS, 10)]))
    for _ in range(10):
        owner.take()
    owner.policy = policy(tenant_plan="pro", tenant_plan_limits=[limit(REQUESTS, 12)])
    owner.take()
    owner.take()
    assert owner.refusal().details["scope"] == "pro"


def test_without_limits_nothing_is_counted() -> None:
    owner = Owner(policy(tenant_plan="open", group="default"))
    assert owner.limits.take(terms_of(owner.policy), asks(), 0) is None
    assert owner.limits.take(terms_of(b""), asks(), 0) is None
    assert (len(owner.limits), owner.state()) == (0, {})


def test_a_limit_of_nothing_lets_nothing_pass() -> None:
    for metric in (REQUESTS, TOKENS, CONCURRENT):
        Owner(policy(key_limits=[limit(metric, 0)])).refusal()


# ---- corrections ----


def test_tokens_are_corrected_to_what_was_used_and_cache_reads_do_not_count() -> None:
    owner = Owner(policy(key_limits=[limit(TOKENS, 1000), limit(INPUT, 1000), limit(OUTPUT, 1000)]))
    taken = owner.take(asks(into=400, out=300))
    assert [state[1] for state in owner.state().values()] == [300, 600, 700]
    used = Tokens(input=10, output=50, cache_read=5_000, cache_write_5m=20, cache_write_1h=30, requests=1)
    owner.settle(taken, used, Tokens(input=5))
    assert [state[1] for state in owner.state().values()] == [885, 935, 950]


@given(
    st.integers(1, 10**6), st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 4_000)), min_size=1, max_size=20)
)
def test_corrections_leave_exactly_what_was_used(amount: int, requests: list[tuple[int, int]]) -> None:
    owner = Owner(policy(key_limits=[limit(OUTPUT, amount)]))
    terms, used = terms_of(owner.policy), 0
    taken = []
    for likely, true in requests:
        try:
            taken.append((owner.limits.take(terms, asks(out=likely), owner.now_s), true))
        except Refusal:
            continue
    for reservation, true in taken:
        assert reservation is not None
        owner.settle(reservation, Tokens(output=true))
        used += true
    assert owner.state()[OUTPUT][1] == max(0, amount - used)


def test_what_flowed_off_by_itself_is_not_given_back_a_second_time() -> None:
    owner = Owner(policy(key_limits=[limit(OUTPUT, 600)]))
    long = owner.take(asks(out=600))
    owner.now_s += 60
    owner.settle(owner.take(asks(out=600)), Tokens(output=600))
    owner.settle(long, Tokens(output=10))
    assert owner.state()[OUTPUT][1] == 0


def test_what_a_long_stream_used_beyond_its_estimate_counts_when_it_is_known() -> None:
    owner = Owner(policy(key_limits=[limit(OUTPUT, 600)]))
    taken = owner.take(asks(out=100))
    owner.now_s += 300
    owner.settle(taken, Tokens(output=700))
    assert owner.state()[OUTPUT] == (600, 0, 60_000)


def test_what_ends_after_its_limit_was_raised_is_corrected_under_the_new_one() -> None:
    owner = Owner(policy(tenant_plan="free", tenant_plan_limits=[limit(OUTPUT, 100)]))
    before = [owner.take(asks(out=20)) for _ in range(5)]
    owner.policy = policy(tenant_plan="pro", tenant_plan_limits=[limit(OUTPUT, 1000)])
    owner.take(asks(out=500))
    for taken in before:
        owner.settle(taken, Tokens(output=10))
        assert owner.state()[OUTPUT][0] == 1000
    assert owner.state()[OUTPUT][1] == 1000 - 500 - 5 * 10


def test_a_request_that_used_nothing_stays_counted_as_a_request() -> None:
    owner = Owner(policy(key_limits=[limit(REQUESTS, 5), limit(TOKENS, 100)]))
    owner.settle(owner.take(asks(into=50)))
    assert owner.state() == {REQUESTS: (5, 4, 12_000), TOKENS: (100, 100, 0)}


def test_what_is_given_back_is_as_if_it_had_never_been_taken() -> None:
    owner = Owner(policy(key_limits=[limit(REQUESTS, 5), limit(TOKENS, 100), limit(CONCURRENT, 1)]))
    before = owner.state()
    owner.take(asks(into=50)).give_back(owner.now_s)
    assert owner.state() == before
    owner.take()


# ---- requests at a time ----


def test_so_many_at_a_time_and_the_next_when_one_has_ended() -> None:
    owner = Owner(policy(tenant_plan="free", tenant_plan_limits=[limit(CONCURRENT, 2)]))
    first, _ = owner.take(), owner.take()
    refused = owner.refusal()
    assert refused.details == {"retry_after_ms": "1000", "metric": "concurrent", "limit": "2", "scope": "free"}
    assert "2 requests at a time of plan free" in refused.message
    owner.settle(first)
    owner.settle(first)
    owner.take()
    owner.refusal()


def test_a_question_that_comes_twice_takes_once_and_ends_once() -> None:
    owner = Owner(policy(key_limits=[limit(REQUESTS, 10), limit(CONCURRENT, 1)]))
    first, again = owner.take(asks(hold_id="req_x")), owner.take(asks(hold_id="req_x"))
    assert first is again
    assert owner.state()[REQUESTS][1] == 9
    first.give_back(owner.now_s)
    owner.refusal()
    owner.settle(again)
    again.give_back(owner.now_s)
    owner.take()
    assert owner.state()[REQUESTS][1] == 8


def test_a_request_that_is_taken_over_is_under_way_here_and_counts_what_it_says_at_its_end() -> None:
    owner = Owner(policy(key_limits=[limit(REQUESTS, 10), limit(OUTPUT, 100), limit(CONCURRENT, 1)]))
    item = auth_pb2.RenewItem(hold_id="req_x", tenant_id="acme", key_id="key_1", model="opus")
    taken = owner.limits.take_over(terms_of(owner.policy), item, owner.now_s)
    assert taken is not None
    assert owner.limits.take_over(terms_of(owner.policy), item, owner.now_s) is taken
    assert owner.refusal().details["metric"] == "concurrent"
    owner.settle(taken, Tokens(output=30))
    assert owner.state() == {REQUESTS: (10, 10, 0), OUTPUT: (100, 70, 18_000)}
    owner.take()


# ---- what is told, and what is forgotten ----


def test_of_each_metric_the_nearest_limit_is_told() -> None:
    owner = Owner(
        policy(
            tenant_plan="starter",
            tenant_plan_limits=[limit(REQUESTS, 60), limit(TOKENS, 1000), limit(CONCURRENT, 9)],
            key_limits=[limit(REQUESTS, 10), limit(TOKENS, 5000), limit(REQUESTS, 1, "haiku")],
        )
    )
    owner.take(asks(into=100))
    assert owner.state() == {REQUESTS: (10, 9, 6000), TOKENS: (1000, 900, 6000)}
    assert owner.state(asks(key="key_2")) == {REQUESTS: (60, 59, 1000), TOKENS: (1000, 900, 6000)}
    owner.take(asks(model="haiku"))
    assert owner.state(asks(model="haiku"))[REQUESTS] == (1, 0, 60_000)


def test_a_counter_is_forgotten_when_nothing_stands_in_it_and_nothing_is_under_way() -> None:
    owner = Owner(policy(key_limits=[limit(TOKENS, 100), limit(CONCURRENT, 1)]))
    taken = owner.take(asks(into=50))
    owner.now_s += 61
    owner.limits.forget_idle(owner.now_s)
    assert len(owner.limits) == 2
    owner.settle(taken, Tokens(input=60))
    owner.limits.forget_idle(owner.now_s)
    assert (len(owner.limits), owner.state()[TOKENS][1]) == (1, 90)
    owner.now_s += 6
    owner.limits.forget_idle(owner.now_s)
    assert len(owner.limits) == 0


def test_limits_of_a_metric_that_this_version_does_not_know_limit_nothing() -> None:
    unknown = types_pb2.Limit(amount=0)
    assert terms_of(types_pb2.Policy(key_limits=[unknown]).SerializeToString()).rules == ()


def test_a_policy_that_is_none_is_refused() -> None:
    with pytest.raises(Refusal):
        terms_of(b"\xff\xff")


class Traffic(RuleBasedStateMachine):
    """Requests of two keys come, end and are given back in any order: as many are under way as have not ended."""

    def __init__(self) -> None:
        super().__init__()
        self.owner = Owner(policy(tenant_limits=[limit(CONCURRENT, 4)], key_limits=[limit(CONCURRENT, 3)]))
        self.under_way: list[tuple[str, Reservation]] = []

    @rule(key=st.sampled_from(["key_1", "key_2"]))
    def ask(self, key: str) -> None:
        fits = len(self.under_way) < 4 and sum(name == key for name, _ in self.under_way) < 3
        if fits:
            self.under_way.append((key, self.owner.take(asks(key=key))))
        else:
            self.owner.refusal(asks(key=key))

    @rule(data=st.data(), settled=st.booleans(), after_s=st.floats(0, 200))
    def end(self, data: st.DataObject, settled: bool, after_s: float) -> None:
        if not self.under_way:
            return
        _, taken = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        self.owner.now_s += after_s
        if settled:
            self.owner.settle(taken, Tokens(output=5))
        else:
            taken.give_back(self.owner.now_s)

    @rule()
    def forget(self) -> None:
        self.owner.limits.forget_idle(self.owner.now_s)

    @invariant()
    def what_is_remembered_is_what_is_in_use(self) -> None:
        assert len(self.owner.limits._standing) == len(self.under_way)

    def teardown(self) -> None:
        for _, taken in self.under_way:
            self.owner.settle(taken)
        self.owner.limits.forget_idle(self.owner.now_s)
        assert len(self.owner.limits) == 0


TestTraffic = Traffic.TestCase
TestTraffic.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
