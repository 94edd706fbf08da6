"""Upstream accounts and their health, for the tests of the router's decisions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from services.router.accounts import NO_LIMITS, Account, Limits
from services.router.affinity import Live, PoolAccounts
from services.router.health import Verdict
from services.router.picker import SPARE, Turn
from tollhouse.v1 import router_pb2

MODEL = "claude-sonnet-4-5"
FAMILY = "claude-sonnet"


def account(
    account_id: str,
    priority: int = 0,
    *,
    weight: int = 100,
    limits: Limits = NO_LIMITS,
    enabled: bool = True,
    kind: str = "anthropic",
    models: Mapping[str, str] | None = None,
) -> Account:
    """An upstream account of the pool `default`."""
    return Account(
        account_id,
        f"{account_id}-name",
        kind,
        "https://api",
        "secret-credential",
        {MODEL: MODEL} if models is None else models,
        priority,
        enabled,
        0,
        weight=weight,
        limits=limits,
    )


def five() -> list[Account]:
    """Five accounts that are alike."""
    return [account(f"acc_{name}") for name in "abcde"]


@dataclass
class Seen:
    """What a pick sees; accounts that are not named are spare and idle."""

    is_found: dict[str, str] = field(default_factory=dict)
    loads: dict[str, int] = field(default_factory=dict)
    lefts: dict[str, float] = field(default_factory=dict)
    moving: set[str] = field(default_factory=set)
    asked: int = 0

    def found(self, account: Account) -> str:
        self.asked += 1
        return self.is_found.get(account.upstream_account_id, SPARE)

    def moves(self, account: Account) -> bool:
        return account.upstream_account_id in self.moving

    def in_flight(self, account_id: str) -> int:
        return self.loads.get(account_id, 0)

    def left(self, account_id: str) -> float:
        return self.lefts.get(account_id, 1.0)


@dataclass
class Catalogue:
    """Pools as the catalogue tells them."""

    accounts: Sequence[Account]

    def __post_init__(self) -> None:
        self._pool = PoolAccounts("default", self.accounts)

    def pool(self, name: str) -> PoolAccounts | None:
        return self._pool if name == "default" else None

    def family(self, model: str) -> str:
        return FAMILY


@dataclass
class Ailments:
    """The health of accounts, as a test says it is: ready, but for those that cool."""

    cooling: dict[str, tuple[router_pb2.Cause.ValueType, int]] = field(default_factory=dict)
    """Cause and end, Unix milliseconds, 0 for none."""
    unproven: set[str] = field(default_factory=set)
    others_healthy: list[bool] = field(default_factory=list)
    reports: list[router_pb2.ReportItem] = field(default_factory=list)
    under_way: set[str] = field(default_factory=set)
    asked: int = 0

    def verdict(self, account_id: str, family: str, now_ms: int) -> Verdict:
        self.asked += 1
        if account_id in self.unproven:
            return Verdict.PROBING if account_id in self.under_way else Verdict.UNPROVEN
        if account_id not in self.cooling:
            return Verdict.READY
        until_ms = self.cooling[account_id][1]
        if not until_ms or now_ms < until_ms:
            return Verdict.COOLING
        return Verdict.PROBING if account_id in self.under_way else Verdict.PROBE_DUE

    def until_ms(self, account_id: str, family: str) -> int:
        return self.cooling[account_id][1] if account_id in self.cooling else 0

    def cause(self, account_id: str, family: str) -> router_pb2.Cause.ValueType:
        return self.cooling[account_id][0] if account_id in self.cooling else router_pb2.CAUSE_UNSPECIFIED

    def left(self, account_id: str, now_ms: int) -> float:
        return 1.0

    def began(self, account_id: str, family: str, lease_id: str, now_ms: int) -> None:
        self.under_way.add(account_id)

    def ended(
        self,
        account_id: str,
        family: str,
        lease_id: str,
        report: router_pb2.ReportItem,
        now_ms: int,
        others_healthy: Callable[[], bool],
    ) -> None:
        self.under_way.discard(account_id)
        self.reports.append(report)
        self.others_healthy.append(others_healthy())
        if report.outcome == router_pb2.OUTCOME_OK:
            self.cooling.pop(account_id, None)
            self.unproven.discard(account_id)


def turn_of(place: int, home: str = "", live: Live | None = None) -> Turn:
    """A turn of a conversation."""
    return Turn(place, home, live or Live())
