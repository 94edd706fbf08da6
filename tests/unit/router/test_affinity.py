"""Unit tests of services.router.affinity, and of conversations picked for."""

import random as randomness
from collections import Counter
from hashlib import blake2b
from math import ceil

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.router.affinity import Conversations, PoolAccounts, Tier, Tiers, place
from services.router.picker import pick
from tests.unit.router.upstreams import MODEL, Seen, account, five, turn_of

POOL = "default"
IDLE_MS = 1_000


def conversation(number: int) -> bytes:
    return blake2b(b"%d" % number, digest_size=8).digest()


def take_turns(tiers: Tiers, conversations: Conversations, numbers: range, seen: Seen) -> dict[int, str]:
    """Where each of some conversations goes for a turn."""
    homes = {}
    for number in numbers:
        named = conversation(number)
        home = conversations.home(POOL, MODEL, named, 0)
        turn = turn_of(place(named), home, conversations.live(POOL, MODEL))
        picked = pick(tiers, turn, seen, randomness.random)
        assert picked.account is not None
        if picked.settles:
            conversations.settle(POOL, MODEL, named, picked.account, 0)
        homes[number] = picked.account.upstream_account_id
    return homes


def test_two_hundred_conversations_over_five_accounts_stay_within_a_quarter_of_the_mean() -> None:
    homes = take_turns(Tiers(five()), Conversations(1_000, IDLE_MS), range(200), Seen())
    assert max(Counter(homes.values()).values()) <= 1.25 * 40
    assert len(set(homes.values())) == 5


def test_conversations_go_where_they_went_whatever_comes_in_between() -> None:
    tiers, conversations = Tiers(five()), Conversations(1_000, IDLE_MS)
    before = take_turns(tiers, conversations, range(200), Seen())
    take_turns(tiers, conversations, range(200, 400), Seen())
    assert take_turns(tiers, conversations, range(200), Seen(loads={"acc_a": 100})) == before


def test_only_the_conversations_of_a_cooled_account_move_and_they_stay_where_they_moved() -> None:
    tiers, conversations = Tiers(five()), Conversations(1_000, IDLE_MS)
    before = take_turns(tiers, conversations, range(200), Seen())
    cooled = Seen(is_found={"acc_b": "cooling"}, moving={"acc_b"})
    after = take_turns(tiers, conversations, range(200), cooled)
    assert all(after[number] == home for number, home in before.items() if home != "acc_b")
    assert "acc_b" not in after.values()
    assert max(Counter(after.values()).values()) <= 1.25 * 50
    assert take_turns(tiers, conversations, range(200), Seen()) == after


def test_conversations_share_accounts_by_their_weights() -> None:
    tiers = Tiers([account("light", weight=100), account("middle", weight=200), account("heavy", weight=300)])
    homes = Counter(take_turns(tiers, Conversations(10_000, IDLE_MS), range(3_000), Seen()).values())
    assert 400 < homes["light"] < 625
    assert 850 < homes["middle"] < 1_250
    assert 1_300 < homes["heavy"] < 1_875


def test_a_conversation_begins_at_the_same_account_in_every_process() -> None:
    # Written down once: what changes this moves every conversation when a router is upgraded.
    order = [one.upstream_account_id for one in next(Tier(0, five()).windows(place(b"12345678")))]
    assert order == ["acc_a", "acc_d", "acc_b", "acc_e", "acc_c"]


def test_few_conversations_change_their_order_when_an_account_comes() -> None:
    fewer = Tier(0, [account(f"acc_{number}") for number in range(200)])
    more = Tier(0, [account(f"acc_{number}") for number in range(201)])
    changed = 0
    for number in range(2_000):
        at = place(conversation(number))
        changed += next(fewer.windows(at))[0].upstream_account_id != next(more.windows(at))[0].upstream_account_id
    assert changed < 2_000 * 3 / 200


@given(st.integers(1, 70), st.integers(0, (1 << 64) - 1))
def test_a_conversations_order_holds_every_account_once(count: int, at: int) -> None:
    tier = Tier(0, [account(str(number)) for number in range(count)])
    order = [one.upstream_account_id for window in tier.windows(at) for one in window]
    assert sorted(order) == sorted(str(number) for number in range(count))


def test_the_simulator_stands_in_only_where_no_provider_serves_the_model() -> None:
    both = {MODEL: MODEL, "pretend": "pretend"}
    pool = PoolAccounts(POOL, [account("simulated", kind="simulator", models=both), account("real")])
    assert [one.upstream_account_id for one in pool.serving(MODEL) or ()] == ["real"]
    assert [one.upstream_account_id for one in pool.serving("pretend") or ()] == ["simulated"]


def test_a_model_that_only_disabled_accounts_serve_is_known_but_served_by_none() -> None:
    pool = PoolAccounts(POOL, [account("off", enabled=False)])
    tiers = pool.serving(MODEL)
    assert tiers is not None
    assert tiers.count == 0
    assert pool.serving("other") is None


def test_a_conversation_is_forgotten_after_its_idle_time_and_when_too_many_came_after() -> None:
    conversations = Conversations(2, IDLE_MS)
    conversations.settle(POOL, MODEL, b"a", account("acc"), 0)
    conversations.settle(POOL, MODEL, b"b", account("acc"), 100)
    assert conversations.home(POOL, MODEL, b"a", IDLE_MS - 1) == "acc"
    assert conversations.home(POOL, MODEL, b"a", IDLE_MS) == ""
    conversations.settle(POOL, MODEL, b"c", account("acc"), 200)
    conversations.used(POOL, MODEL, b"b", 300)
    conversations.settle(POOL, MODEL, b"d", account("acc"), 300)
    assert conversations.home(POOL, MODEL, b"c", 300) == ""
    assert conversations.home(POOL, MODEL, b"b", 300) == "acc"
    assert len(conversations) == 2


class ConversationMachine(RuleBasedStateMachine):
    """Conversations settled, used and forgotten in any order, beside the plainest bookkeeping."""

    most = 4

    def __init__(self) -> None:
        super().__init__()
        self.conversations = Conversations(self.most, IDLE_MS)
        self.homes: dict[bytes, tuple[str, int, int]] = {}
        self.now_ms = 0

    @rule(named=st.binary(min_size=1, max_size=1), name=st.sampled_from("abc"))
    def settle(self, named: bytes, name: str) -> None:
        self.homes.pop(named, None)
        if len(self.homes) >= self.most:
            del self.homes[next(iter(self.homes))]
        priority = ord(name) % 2
        self.homes[named] = (name, priority, self.now_ms)
        self.conversations.settle(POOL, MODEL, named, account(name, priority), self.now_ms)

    @rule(named=st.binary(min_size=1, max_size=1), wait_ms=st.integers(0, IDLE_MS))
    def ask_and_use(self, named: bytes, wait_ms: int) -> None:
        self.now_ms += wait_ms
        self.homes = {key: home for key, home in self.homes.items() if home[2] + IDLE_MS > self.now_ms}
        home = self.homes.pop(named, None)
        assert self.conversations.home(POOL, MODEL, named, self.now_ms) == (home[0] if home else "")
        self.conversations.used(POOL, MODEL, named, self.now_ms)
        if home:
            self.homes[named] = (*home[:2], self.now_ms)

    @invariant()
    def what_is_alive_is_what_is_remembered(self) -> None:
        live = self.conversations.live(POOL, MODEL)
        assert live.of == Counter(name for name, _, _ in self.homes.values())
        assert live.total == Counter(priority for _, priority, _ in self.homes.values())
        assert len(self.conversations) == len(self.homes) <= ceil(self.most)


TestConversations = ConversationMachine.TestCase
