"""Entries: what usage moves between ledger accounts. Pure.

Every posting has both sides, so whatever is posted sums to zero (I4). A prepaid balance is what we owe a tenant: it is
charged as far as it goes and never falls below zero; what a request cost beyond it is our shortfall (I2).
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple


class Account(NamedTuple):
    """A ledger account: its kind and, for prepaid ones, whose."""

    kind: str
    tenant_id: str = ""


REVENUE: Final = Account("revenue")
SHORTFALL: Final = Account("shortfall")
UPSTREAM_COST: Final = Account("upstream_cost")
UPSTREAM_PAYABLE: Final = Account("upstream_payable")


class Posting(NamedTuple):
    """Moves nano-dollars, more than none, from the debited account to the credited one."""

    debit: Account
    credit: Account
    amount_nano: int


class Charge(NamedTuple):
    """What usage cost a tenant: what its balance pays and what it does not. Nano-dollars."""

    charged_nano: int
    shortfall_nano: int


def prepaid(tenant_id: str) -> Account:
    """A tenant's balance."""
    return Account("prepaid", tenant_id)


def charge(balance_nano: int, cost_nano: int) -> Charge:
    """Takes a cost from a balance, as far as that goes."""
    charged_nano = min(cost_nano, max(0, balance_nano))
    return Charge(charged_nano, cost_nano - charged_nano)


def usage_postings(charges: Mapping[str, Charge], upstream_cost_nano: int) -> list[Posting]:
    """The postings of a booking: by tenant, and our own cost."""
    postings: list[Posting] = []
    for tenant_id, (charged_nano, shortfall_nano) in sorted(charges.items()):
        postings += moved(prepaid(tenant_id), REVENUE, charged_nano)
        postings += moved(SHORTFALL, REVENUE, shortfall_nano)
    postings += moved(UPSTREAM_COST, UPSTREAM_PAYABLE, upstream_cost_nano)
    return summed(postings)


def correction_postings(
    tenant_id: str, before: Charge, after: Charge, upstream_cost_before_nano: int, upstream_cost_after_nano: int
) -> list[Posting]:
    """The postings that turn what was booked for an attempt into what should have been."""
    return [
        *moved(prepaid(tenant_id), REVENUE, after.charged_nano - before.charged_nano),
        *moved(SHORTFALL, REVENUE, after.shortfall_nano - before.shortfall_nano),
        *moved(UPSTREAM_COST, UPSTREAM_PAYABLE, upstream_cost_after_nano - upstream_cost_before_nano),
    ]


def moved(debit: Account, credit: Account, amount_nano: int) -> Iterator[Posting]:
    """One posting; the other way round for a negative amount, none for nothing."""
    if amount_nano > 0:
        yield Posting(debit, credit, amount_nano)
    elif amount_nano < 0:
        yield Posting(credit, debit, -amount_nano)


def summed(postings: Iterable[Posting]) -> list[Posting]:
    """One posting for each pair of accounts."""
    sums: dict[tuple[Account, Account], int] = {}
    for debit, credit, amount_nano in postings:
        sums[debit, credit] = sums.get((debit, credit), 0) + amount_nano
    return [Posting(debit, credit, amount_nano) for (debit, credit), amount_nano in sums.items()]


def spread(shortfall_nano: int, costs_nano: Iterable[int]) -> list[int]:
    """Which part of a shortfall belongs to each of the costs that made it: the last ones first."""
    costs, left_nano = list(costs_nano), shortfall_nano
    parts = [0] * len(costs)
    for index in range(len(costs) - 1, -1, -1):
        parts[index] = min(costs[index], left_nano)
        left_nano -= parts[index]
    return parts
