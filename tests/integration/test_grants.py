"""Grants in a real Postgres: no more is lent than there is, and it comes back when it may."""

import asyncio

import pytest

from tests.books import OK, ORPHANED, Books, usage

NANO = 1_000_000


def grant_of(books: Books, grant_id: str) -> tuple[int, int, bool]:
    """Amount, spent, abandoned."""
    found = books.sql("SELECT amount_nano, spent_nano, abandoned FROM grants WHERE grant_id = %s", grant_id)
    assert found
    amount, spent, abandoned = found[0]
    return amount, spent, abandoned


async def test_a_grant_is_raised_as_far_as_the_balance_goes(books: Books) -> None:
    await books.top_up("acme", 10 * NANO)
    first = await books.grants.raise_grant("a", "acme", "auth-1", 6 * NANO, 30, "", 0)
    assert (first.granted_nano, first.available_nano, first.elsewhere_nano) == (6 * NANO, 4 * NANO, 0)
    second = await books.grants.raise_grant("b", "acme", "auth-2", 6 * NANO, 30, "", 0)
    assert (second.granted_nano, second.available_nano, second.elsewhere_nano) == (4 * NANO, 0, 6 * NANO)
    again = await books.grants.raise_grant("b", "acme", "auth-2", 6 * NANO, 30, "", 0)
    assert again.granted_nano == 4 * NANO
    assert await books.differences() == {}


async def test_what_a_holder_has_in_another_grant_of_its_own_may_come_back_too(books: Books) -> None:
    await books.top_up("acme", 10 * NANO)
    await books.grants.raise_grant("a", "acme", "auth-1", 8 * NANO, 30, "", 0)
    second = await books.grants.raise_grant("b", "acme", "auth-1", 8 * NANO, 30, "", 0)
    assert (second.granted_nano, second.elsewhere_nano) == (2 * NANO, 8 * NANO)
    await books.grants.lower_grant("a", NANO)
    again = await books.grants.raise_grant("b", "acme", "auth-1", 8 * NANO, 30, "", 0)
    assert (again.granted_nano, again.elsewhere_nano) == (8 * NANO, NANO)


async def test_raising_to_less_lowers_nothing(books: Books) -> None:
    await books.top_up("acme", 10 * NANO)
    await books.grants.raise_grant("a", "acme", "auth-1", 6 * NANO, 30, "", 0)
    assert (await books.grants.raise_grant("a", "acme", "auth-1", NANO, 30, "", 0)).granted_nano == 6 * NANO


async def test_a_grant_that_its_holder_believes_in_is_not_made_anew(books: Books) -> None:
    await books.top_up("acme", 10 * NANO)
    lost = await books.grants.raise_grant("a", "acme", "auth-1", 9 * NANO, 30, "", 0, 6 * NANO)
    assert (lost.lost, lost.granted_nano, lost.available_nano) == (True, 0, 10 * NANO)
    assert books.one("SELECT count(*) FROM grants") == 0
    opened = await books.grants.raise_grant("b", "acme", "auth-1", 3 * NANO, 30, "", 0)
    assert (opened.lost, opened.granted_nano) == (False, 3 * NANO)
    again = await books.grants.raise_grant("b", "acme", "auth-1", 4 * NANO, 30, "", 0, 3 * NANO)
    assert (again.lost, again.granted_nano) == (False, 4 * NANO)


async def test_many_who_want_all_of_a_balance_at_once_get_it_once(books: Books) -> None:
    await books.top_up("acme", 10 * NANO)
    raised = await asyncio.gather(
        *(books.grants.raise_grant(f"g{n}", "acme", f"auth-{n}", 3 * NANO, 30, "", 0) for n in range(12))
    )
    assert sum(grant.granted_nano for grant in raised) == 10 * NANO


async def test_a_tenant_without_an_account_gets_nothing(books: Books) -> None:
    assert (await books.grants.raise_grant("g", "nobody", "auth-1", NANO, 30, "", 0)).granted_nano == 0


async def test_a_keys_grants_are_slices_of_its_cap_and_not_of_the_balance(books: Books) -> None:
    await books.top_up("acme", 100 * NANO)
    raised = await books.grants.raise_grant("k1", "acme", "auth-1", 8 * NANO, 30, "key_of_acme", 10 * NANO)
    assert (raised.granted_nano, raised.available_nano) == (8 * NANO, 2 * NANO)
    await books.bookings.book([usage(cost_nano=5 * NANO, key_grant_id="k1")])
    other = await books.grants.raise_grant("k2", "acme", "auth-2", 8 * NANO, 30, "key_of_acme", 10 * NANO)
    assert (other.granted_nano, other.elsewhere_nano) == (2 * NANO, 3 * NANO)
    whole = await books.grants.raise_grant("a", "acme", "auth-1", 95 * NANO, 30, "", 0)
    assert whole.granted_nano == 95 * NANO
    lowered_cap = await books.grants.raise_grant("k2", "acme", "auth-2", 8 * NANO, 30, "key_of_acme", NANO)
    assert (lowered_cap.granted_nano, lowered_cap.available_nano) == (2 * NANO, 0)


async def test_a_grant_is_lowered_to_what_is_committed_and_never_below_what_was_spent(books: Books) -> None:
    await books.top_up("acme", 10 * NANO)
    await books.grants.raise_grant("a", "acme", "auth-1", 8 * NANO, 30, "", 0)
    await books.bookings.book([usage(cost_nano=3 * NANO, grant_id="a")])
    await books.grants.lower_grant("a", 5 * NANO)
    assert grant_of(books, "a") == (5 * NANO, 3 * NANO, False)
    await books.grants.lower_grant("a", 0)
    assert grant_of(books, "a") == (3 * NANO, 3 * NANO, False)
    await books.grants.lower_grant("a", 9 * NANO)
    assert grant_of(books, "a") == (3 * NANO, 3 * NANO, False)
    assert (await books.grants.raise_grant("b", "acme", "auth-2", 10 * NANO, 30, "", 0)).granted_nano == 7 * NANO


async def test_a_lowering_that_a_raise_has_overtaken_lowers_nothing(books: Books) -> None:
    await books.top_up("acme", 10 * NANO)
    await books.grants.raise_grant("a", "acme", "auth-1", 8 * NANO, 30, "", 0, sequence=1)
    # The lowering, second in order, hangs on its way over one ledger; another raises the grant meanwhile.
    again = await books.grants.raise_grant("a", "acme", "auth-1", 5 * NANO, 30, "", 0, 2 * NANO, sequence=3)
    assert again.granted_nano == 8 * NANO
    await books.grants.lower_grant("a", 2 * NANO, NANO, sequence=2)
    assert grant_of(books, "a") == (8 * NANO, 0, False)
    await books.grants.lower_grant("a", 3 * NANO, NANO, sequence=4)
    await books.grants.lower_grant("a", 3 * NANO, NANO, sequence=4)
    assert grant_of(books, "a") == (3 * NANO, 0, False)


async def test_a_raise_that_a_lowering_has_overtaken_raises_nothing(books: Books) -> None:
    await books.top_up("acme", 10 * NANO)
    await books.grants.raise_grant("a", "acme", "auth-1", 4 * NANO, 30, "", 0, sequence=1)
    await books.grants.lower_grant("a", NANO, sequence=3)
    late = await books.grants.raise_grant("a", "acme", "auth-1", 9 * NANO, 30, "", 0, 4 * NANO, sequence=2)
    assert (late.granted_nano, late.available_nano) == (NANO, 9 * NANO)
    assert grant_of(books, "a") == (NANO, 0, False)
    twice = [await books.grants.raise_grant("a", "acme", "auth-1", 6 * NANO, 30, "", 0, NANO, 4) for _ in range(2)]
    assert [raised.granted_nano for raised in twice] == [6 * NANO, 6 * NANO]


async def test_only_grants_of_an_earlier_life_are_abandoned(books: Books) -> None:
    await books.top_up("acme", 10 * NANO)
    for grant_id in ("grant_1", "grant_9", "grant_a", "grant_z"):
        await books.grants.raise_grant(grant_id, "acme", "auth-1", NANO, 30, "", 0)
    assert await books.grants.abandon_grants("auth-1", 0, "grant_a") == 2
    assert books.sql("SELECT grant_id FROM grants WHERE abandoned ORDER BY 1") == [("grant_1",), ("grant_9",)]


async def test_abandoned_grants_are_nobodys_but_stand_until_they_expire(books: Books) -> None:
    await books.top_up("acme", 10 * NANO)
    await books.grants.raise_grant("a", "acme", "auth-1", 8 * NANO, 30, "", 0)
    assert await books.grants.renew_grants("auth-1", ["a", "unknown"], [NANO, 0], 30) == ["a"]
    assert await books.grants.renew_grants("auth-2", ["a"], [NANO], 30) == []
    assert books.one("SELECT held_nano FROM grants") == NANO
    assert await books.grants.abandon_grants("auth-1", 0) == 1
    assert await books.grants.abandon_grants("auth-1", 0) == 0
    assert grant_of(books, "a") == (8 * NANO, 0, True)
    assert await books.grants.renew_grants("auth-1", ["a"], [0], 30) == []
    raised = await books.grants.raise_grant("b", "acme", "auth-1", 8 * NANO, 30, "", 0)
    assert (raised.granted_nano, raised.abandoned_nano, raised.elsewhere_nano) == (2 * NANO, 8 * NANO, 0)
    assert await books.grants.expire_grants(await books.grants.database_s(), None) == 1
    assert (await books.grants.raise_grant("b", "acme", "auth-1", 8 * NANO, 30, "", 0)).granted_nano == 8 * NANO


@pytest.mark.parametrize("abandoned", [False, True])
async def test_a_grant_expires_only_when_it_ended_before_the_instant(books: Books, abandoned: bool) -> None:
    await books.top_up("acme", 10 * NANO)
    await books.grants.raise_grant("a", "acme", "auth-1", 8 * NANO, 5, "", 0)
    if abandoned:
        await books.grants.abandon_grants("auth-1", 5)
    ends_s = float(books.one("SELECT extract(epoch FROM expires_at) FROM grants"))
    assert await books.grants.expire_grants(ends_s - 1, ends_s - 1) == 0
    assert await books.grants.expire_grants(ends_s + 1, None) == (1 if abandoned else 0)
    assert await books.grants.expire_grants(ends_s + 1, ends_s + 1) == (0 if abandoned else 1)
    assert books.one("SELECT count(*) FROM grants") == 0


async def test_what_was_settled_in_a_grant_stays_set_aside_until_it_is_booked(books: Books) -> None:
    await books.top_up("acme", 10 * NANO)
    await books.grants.raise_grant("a", "acme", "auth-1", 10 * NANO, 0, "", 0)
    await books.grants.renew_grants("auth-1", ["a"], [2 * NANO], 0)
    await books.grants.lower_grant("a", 9 * NANO, 7 * NANO)
    now_s = await books.grants.database_s() + 1
    assert await books.grants.expire_grants(now_s, now_s) == 0
    assert grant_of(books, "a") == (7 * NANO, 0, False)
    assert books.one("SELECT held_nano FROM grants") == 0
    raised = await books.grants.raise_grant("b", "acme", "auth-2", 10 * NANO, 3600, "", 0)
    assert (raised.granted_nano, raised.elsewhere_nano) == (3 * NANO, 0)
    await books.bookings.book([usage(cost_nano=4 * NANO, grant_id="a")])
    assert await books.grants.expire_grants(now_s, now_s) == 0
    assert grant_of(books, "a") == (7 * NANO, 4 * NANO, False)
    await books.bookings.book([usage(cost_nano=3 * NANO, grant_id="a")])
    assert await books.grants.expire_grants(now_s, now_s) == 0
    assert books.sql("SELECT grant_id FROM grants") == [("b",)]
    assert await books.differences() == {}


async def test_what_is_not_booked_for_long_is_set_aside_no_more(books: Books) -> None:
    await books.top_up("acme", 10 * NANO)
    await books.grants.raise_grant("a", "acme", "auth-1", 10 * NANO, 30, "", 0)
    await books.grants.lower_grant("a", 7 * NANO, 7 * NANO)
    now_s = await books.grants.database_s() + 1
    for hours, left in ((5, 1), (7, 0)):
        books.sql("UPDATE grants SET expires_at = now() - make_interval(hours => %s)", hours)
        assert await books.grants.expire_grants(now_s, now_s) == 1 - left
        assert books.one("SELECT count(*) FROM grants") == left


async def test_a_correction_downwards_does_not_keep_a_grant_that_ended(books: Books) -> None:
    await books.top_up("acme", 10 * NANO)
    await books.grants.raise_grant("a", "acme", "auth-1", 5 * NANO, 0, "", 0)
    orphan = usage(cost_nano=5 * NANO, status=ORPHANED, grant_id="a")
    await books.bookings.book([orphan])
    await books.bookings.book([orphan._replace(cost_nano=NANO, status=OK)])
    await books.grants.lower_grant("a", 5 * NANO, 5 * NANO)
    now_s = await books.grants.database_s() + 1
    await books.grants.expire_grants(now_s, now_s)
    assert books.one("SELECT count(*) FROM grants") == 0


async def test_a_grant_that_was_used_up_expires_without_loss(books: Books) -> None:
    await books.top_up("acme", 10 * NANO)
    await books.grants.raise_grant("a", "acme", "auth-1", NANO, 0, "", 0)
    await books.bookings.book([usage(cost_nano=NANO, grant_id="a")])
    now_s = await books.grants.database_s() + 1
    assert await books.grants.expire_grants(now_s, now_s) == 0
    assert books.one("SELECT count(*) FROM grants") == 0
    assert await books.balance("acme") == 9 * NANO
