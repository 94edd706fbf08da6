"""Unit tests of services.ledger.entries."""

from hypothesis import given
from hypothesis import strategies as st

from services.ledger.entries import (
    SHORTFALL,
    Account,
    Charge,
    Posting,
    charge,
    correction_postings,
    moved,
    prepaid,
    spread,
    summed,
    usage_postings,
)

nano = st.integers(0, 1 << 62)
tenants = st.text("abc", min_size=1, max_size=2)
charges = st.builds(Charge, nano, nano)


def balances(postings: list[Posting]) -> dict[Account, int]:
    """What the postings do to each account."""
    change: dict[Account, int] = {}
    for debit, credit, amount_nano in postings:
        change[debit] = change.get(debit, 0) - amount_nano
        change[credit] = change.get(credit, 0) + amount_nano
    return change


def well_formed(postings: list[Posting]) -> bool:
    """As the table of entries wants them: positive, between two accounts, one row for each pair."""
    pairs = [(posting.debit, posting.credit) for posting in postings]
    return len(set(pairs)) == len(pairs) and all(p.amount_nano > 0 and p.debit != p.credit for p in postings)


@given(st.integers(-(1 << 62), 1 << 62), nano)
def test_a_charge_takes_what_is_there_and_never_more(balance_nano: int, cost_nano: int) -> None:
    made = charge(balance_nano, cost_nano)
    assert made.charged_nano + made.shortfall_nano == cost_nano
    assert made.charged_nano >= 0
    assert made.shortfall_nano >= 0
    assert balance_nano - made.charged_nano >= min(0, balance_nano)
    assert not made.shortfall_nano or made.charged_nano == max(0, balance_nano)


@given(st.dictionaries(tenants, charges, max_size=5), nano)
def test_usage_postings_balance_and_move_each_charge(of: dict[str, Charge], upstream_cost_nano: int) -> None:
    postings = usage_postings(of, upstream_cost_nano)
    change = balances(postings)
    assert sum(change.values()) == 0
    assert well_formed(postings)
    for tenant_id, made in of.items():
        assert change.get(prepaid(tenant_id), 0) == -made.charged_nano
    assert change.get(SHORTFALL, 0) == -sum(made.shortfall_nano for made in of.values())


@given(charges, charges, nano, nano)
def test_a_correction_turns_what_was_posted_into_what_should_have_been(
    before: Charge, after: Charge, cost_before: int, cost_after: int
) -> None:
    booked = usage_postings({"acme": before}, cost_before)
    correction = correction_postings("acme", before, after, cost_before, cost_after)
    assert well_formed(correction)
    both = {account: nano for account, nano in balances([*booked, *correction]).items() if nano}
    assert both == {
        account: nano for account, nano in balances(usage_postings({"acme": after}, cost_after)).items() if nano
    }


@given(st.integers(-(1 << 62), 1 << 62))
def test_a_move_of_less_than_nothing_goes_the_other_way(amount_nano: int) -> None:
    change = balances(list(moved(prepaid("a"), SHORTFALL, amount_nano)))
    assert change.get(SHORTFALL, 0) == amount_nano


@given(st.lists(st.tuples(tenants, nano.filter(bool)), max_size=10))
def test_postings_between_the_same_accounts_become_one(amounts: list[tuple[str, int]]) -> None:
    postings = [Posting(prepaid(tenant_id), SHORTFALL, amount) for tenant_id, amount in amounts]
    assert well_formed(summed(postings))
    assert balances(summed(postings)) == balances(postings)


@given(st.lists(nano, max_size=10), st.data())
def test_a_shortfall_is_spread_over_the_last_costs_and_over_none_more_than_it_cost(
    costs: list[int], data: st.DataObject
) -> None:
    shortfall_nano = data.draw(st.integers(0, sum(costs)))
    parts = spread(shortfall_nano, costs)
    assert len(parts) == len(costs)
    assert sum(parts) == shortfall_nano
    assert all(0 <= part <= cost for part, cost in zip(parts, costs, strict=True))
    partial = [index for index, part in enumerate(parts) if part]
    if partial:
        assert all(parts[index] == costs[index] for index in range(partial[0] + 1, len(costs)))
