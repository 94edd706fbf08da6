"""What a simulation is to do, and what came of it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Plan:
    """What is simulated. Times are in seconds."""

    rate: int = 100_000
    seconds: float = 8.0
    seed: int = 1
    edges: int = 50
    auths: int = 12
    pools: int = 20
    accounts: int = 100
    """Of each pool."""
    tenants: int = 5_000
    part: int = 0
    parts: int = 1
    """Pools share nothing, nor do tenants: they can be simulated in several parts, each with its share of the rate."""

    @property
    def accounts_die_s(self) -> float:
        """When one upstream account of each pool dies, for good."""
        return self.seconds / 16

    @property
    def ledger_away_s(self) -> tuple[float, float]:
        """From when until when the ledger is away: 5 s of 8."""
        return self.seconds / 8, self.seconds * 3 / 4

    @property
    def auth_dies_s(self) -> float:
        """When an auth replica dies."""
        return self.seconds * 13 / 16


@dataclass
class Result:
    """What came of it."""

    told: Counter[str] = field(default_factory=Counter)
    attempts: Counter[int] = field(default_factory=Counter)
    """Requests by how many attempts they took."""
    on_dead: Counter[str] = field(default_factory=Counter)
    """Attempts on each dead account after its death."""
    cooled: dict[str, tuple[float, int]] = field(default_factory=dict)
    """When each dead account began to cool, and after how many attempts."""
    spent_nano: int = 0
    beyond_nano: int = 0
    shortfall_nano: int = 0
    raises: int = 0
    cpu_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("admit", "pick", "extend", "settle"), 0.0))
    most_in_flight: int = 0

    def add(self, other: "Result") -> None:
        """Adds what came of another part."""
        self.told += other.told
        self.attempts += other.attempts
        self.on_dead += other.on_dead
        self.cooled |= other.cooled
        self.spent_nano += other.spent_nano
        self.beyond_nano += other.beyond_nano
        self.shortfall_nano += other.shortfall_nano
        self.raises += other.raises
        self.cpu_s = {name: self.cpu_s[name] + spent_s for name, spent_s in other.cpu_s.items()}
        self.most_in_flight += other.most_in_flight


def table(plan: Plan, result: Result, took_s: float) -> Iterator[str]:
    """What came of a run, as Markdown."""
    requests = int(plan.rate * plan.seconds)
    told, dead = result.told, result.on_dead
    cpu_us = {name: result.cpu_s[name] / max(1, told["admitted"]) * 1e6 for name in sorted(result.cpu_s)}
    slowest_s = max((at_s - plan.accounts_die_s for at_s, _ in result.cooled.values()), default=0.0)
    most = max((before for _, before in result.cooled.values()), default=0)
    rows = {
        "requests": f"{requests:,} in {plan.seconds:g} s by {plan.edges} edges; {plan.tenants:,} tenants",
        "admitted; in flight at most": f"{told['admitted']:,}; {result.most_in_flight:,}",
        "refused: limit a minute": f"{told['limit']:,}",
        "refused: no credit left": f"{told['credit']:,}",
        "refused: ledger away and the grant used up": f"{told['ledger away']:,}",
        "grants raised": f"{result.raises:,}, {result.raises / plan.seconds:,.0f} a second",
        "requests that took 1, 2, 3 attempts": ", ".join(f"{result.attempts[n]:,}" for n in (1, 2, 3)),
        "no account; failed": f"{told['no account']:,}; {told['failed']:,}",
        "attempts on a dead account until it cooled": f"{most} at most, for {slowest_s * 1000:.0f} ms at most",
        "attempts on dead accounts, probes among them": f"{dead.total():,}, {told['probes of dead accounts']:,}",
        "calls to the dead auth, holds taken over": f"{told['asked a dead auth']:,}, {told['holds taken over']:,}",
        "streams that ended early for want of credit": f"{told['stopped early']:,}",
        "spent; beyond holds; shortfall": " ".join(
            f"${nano / 1e9:,.4f}" for nano in (result.spent_nano, result.beyond_nano, result.shortfall_nano)
        ),
        "CPU a request, us": ", ".join(f"{name} {us:.1f}" for name, us in cpu_us.items()),
        "I2, I7, limits": f"held; checked {requests:,} times in {took_s:.0f} s",
    }
    yield "| what | came of it |"
    yield "|---|---|"
    for name, value in rows.items():
        yield f"| {name} | {value} |"
