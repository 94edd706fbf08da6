"""Unit tests of bench.simulation: a short run, and that it would notice."""

import random

import pytest

from bench.simulated import Healths, Overspent
from bench.simulated_plan import Plan, table
from bench.simulation import Attracted, Request, Simulation
from services.router.health import Verdict
from services.shared.pricing import Tokens

SHORT = Plan(rate=2_000, seconds=1.6, edges=10, auths=3, pools=2, accounts=10, tenants=60)


class Forgetful(Healths):
    """Knows what failed, and has it picked all the same."""

    def verdict(self, account_id: str, family: str, now_ms: int) -> Verdict:
        return Verdict.READY


def test_a_short_run_overspends_nothing_and_avoids_dead_accounts() -> None:
    result = Simulation(SHORT).run()
    assert result.attempts.total() == result.told["admitted"] > 1_000
    assert result.told["asked a dead auth"] == SHORT.edges
    assert len(result.cooled) == SHORT.pools
    assert result.attempts[3] == 0
    assert result.shortfall_nano <= result.beyond_nano
    assert any("held; checked" in line for line in table(SHORT, result, 1))


def test_a_ledger_that_grants_more_than_there_is_is_noticed() -> None:
    simulation = Simulation(SHORT)
    for book in simulation.ledger.books:
        book.opening_nano //= 1_000_000
    with pytest.raises(Overspent):
        simulation.run()


def test_a_router_that_picks_what_cools_is_noticed() -> None:
    simulation = Simulation(SHORT)
    for pool in simulation.pools:
        pool.healths = Forgetful(random.random)
    with pytest.raises(Attracted):
        simulation.run()


def test_a_probe_is_due_when_the_routers_clock_says_so_which_counts_whole_milliseconds() -> None:
    simulation, request = Simulation(SHORT), Request("r", 0, 0, Tokens(), Tokens(), b"")
    simulation.result.cooled["dead"] = 0.0004, 0
    simulation._check_attempt(request, "dead", 4.9996)
    with pytest.raises(Attracted):
        simulation._check_attempt(request, "dead", 9.9)
