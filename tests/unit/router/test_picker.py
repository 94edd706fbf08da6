"""Unit tests of services.router.picker."""

import random as randomness
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from services.router.picker import Account, pick


def account(account_id: str, priority: int = 0) -> Account:
    return Account(account_id, account_id, "anthropic", "https://api", "secret-credential", {}, priority, True, 0)


def middle() -> float:
    return 0.5


def test_the_least_busy_account_takes_the_attempt() -> None:
    busy = {"a": 3, "b": 1, "c": 2}
    picked = pick([account(name) for name in busy], [], busy.__getitem__, middle)
    assert picked is not None
    assert picked.upstream_account_id == "b"


def test_a_lower_priority_number_goes_before_an_idle_account() -> None:
    accounts = [account("first", priority=0), account("second", priority=1)]
    picked = pick(accounts, [], {"first": 1_000, "second": 0}.__getitem__, middle)
    assert picked is accounts[0]


def test_an_account_that_was_tried_is_not_picked_again() -> None:
    accounts = [account("tried", priority=0), account("other", priority=1)]
    assert pick(accounts, ["tried"], lambda _: 0, middle) is accounts[1]


def test_nothing_is_picked_when_all_were_tried_or_none_is_there() -> None:
    assert pick([account("tried")], ["tried"], lambda _: 0, middle) is None
    assert pick([], [], lambda _: 0, middle) is None


def test_equally_busy_accounts_share_the_attempts() -> None:
    dice = randomness.Random(1)
    accounts = [account(name) for name in "abcd"]
    picks = [pick(accounts, [], lambda _: 0, dice.random) for _ in range(4_000)]
    picked = Counter(one.name for one in picks if one is not None)
    assert set(picked) == set("abcd")
    assert all(900 < count < 1_100 for count in picked.values())


def test_an_account_does_not_show_its_credential() -> None:
    assert "secret-credential" not in repr(account("a"))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=12),
    st.randoms(use_true_random=False),
)
def test_no_account_that_may_be_picked_is_better_than_the_one_that_is(
    described: list[tuple[int, int, bool]], dice: randomness.Random
) -> None:
    accounts = sorted((account(str(index), row[0]) for index, row in enumerate(described)), key=lambda a: a.priority)
    exclude = {str(index) for index, row in enumerate(described) if row[2]}
    picked = pick(accounts, exclude, lambda name: described[int(name)][1], dice.random)
    ranks = [row[:2] for row in described if not row[2]]
    if picked is None:
        assert ranks == []
    else:
        assert picked.upstream_account_id not in exclude
        assert described[int(picked.upstream_account_id)][:2] == min(ranks)
