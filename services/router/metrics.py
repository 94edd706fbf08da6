"""What the router measures."""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from services.router.catalog import Catalog
from services.router.cooldowns import Cooldowns
from services.router.decide import Decider
from services.router.leases import Leases
from services.shared.metrics import ITEMS, OTHER, Exposition, Labels, Names, counter, gauge, histogram
from tollhouse.v1 import router_pb2

PICKS: Final = counter(
    "tollhouse_router_picks",
    "decided picks by their reason: why this upstream account (`conversation`, `affinity`, `spill`, `load`, `only`), or"
    " the kind of the refusal",
    "reason",
)
BATCHES: Final = histogram("tollhouse_router_batch_items", "items of a batch of questions from an edge", bounds=ITEMS)
REPORTS: Final = counter(
    "tollhouse_router_attempts", "ended attempts by the kind of the upstream account and by outcome", "kind", "outcome"
)
COOLDOWNS_BEGUN: Final = counter(
    "tollhouse_router_cooldowns_begun", "cooldowns that this replica began or made longer, by cause", "cause"
)
COOLDOWNS: Final = gauge("tollhouse_router_cooldowns", "upstream accounts' families that cool now, by cause", "cause")
LEASES: Final = gauge("tollhouse_router_leases", "attempts under way on upstream accounts")
WAITING: Final = gauge("tollhouse_router_waiting", "picks that wait for an upstream account")
ACCOUNTS: Final = gauge("tollhouse_router_upstream_accounts", "enabled upstream accounts of a pool", "pool")
COOLING: Final = gauge(
    "tollhouse_router_upstream_accounts_cooling",
    "those of them that cool, or wait for their probe, for some family of models",
    "pool",
)

_POOLS_MOST: Final = 200


def show(exposition: Exposition, catalog: Catalog, leases: Leases, cooldowns: Cooldowns, decider: Decider) -> None:
    """Shows what the parts of the router count."""
    pools = Names(_POOLS_MOST)
    exposition.show(PICKS, decider.picks.items)
    exposition.add(BATCHES, decider.batches)
    exposition.show(REPORTS, lambda: _outcomes(decider))
    exposition.show(COOLDOWNS_BEGUN, cooldowns.begun.items)
    exposition.show(COOLDOWNS, lambda: [((_cause(cause),), count) for cause, count in cooldowns.by_cause().items()])
    exposition.show(LEASES, lambda: len(leases))
    exposition.show(WAITING, lambda: decider.waiting)
    exposition.show(ACCOUNTS, lambda: _by_pool(catalog, pools, None))
    exposition.show(COOLING, lambda: _by_pool(catalog, pools, set(cooldowns.cooling())))


def _outcomes(decider: Decider) -> Iterator[tuple[Labels, float]]:
    for (kind, outcome), count in decider.outcomes.items():
        yield (kind, router_pb2.Outcome.Name(outcome).removeprefix("OUTCOME_").lower()), count


def _cause(cause: router_pb2.Cause.ValueType) -> str:
    return router_pb2.Cause.Name(cause).removeprefix("CAUSE_").lower()


def _by_pool(catalog: Catalog, names: Names, among: set[str] | None) -> list[tuple[Labels, float]]:
    """How many enabled upstream accounts a pool has, of those that are `among`. Pools beyond the most are one."""
    counts = Counter({names.of(pool.name): 0 for pool in catalog.pools()})
    for account in catalog.accounts:
        if account.enabled and (among is None or account.upstream_account_id in among):
            counts[names.of(account.pool)] += 1
    return [((name,), count) for name, count in counts.items() if name != OTHER or count]
