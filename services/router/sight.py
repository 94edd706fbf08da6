"""What is known of upstream accounts at one moment, for one pick: health, leases and what was tried. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from services.router.accounts import Account
from services.router.health import Verdict
from services.router.kinds import KINDS
from services.router.leases import Leases
from services.router.picker import PROVING, SPARE
from services.router.refusals import COOLING, PROBING
from tollhouse.v1 import router_pb2

EXCLUDED: Final = "excluded"
"""Found of an account: the request has tried it already."""
OTHER_KIND: Final = "other_kind"
"""Found of an account: it does not speak what the request needs."""


class Health(Protocol):
    """What decisions need of the health of upstream accounts; times are Unix milliseconds."""

    def verdict(self, account_id: str, family: str, now_ms: int) -> Verdict:
        """How an account is."""
        ...

    def until_ms(self, account_id: str, family: str) -> int:
        """The end of its cooldown; 0 when it has none by time."""
        ...

    def cause(self, account_id: str, family: str) -> router_pb2.Cause.ValueType:
        """Why it cools, or cooled last."""
        ...

    def left(self, account_id: str, now_ms: int) -> float:
        """The share of the upstream's own limits that is left."""
        ...

    def began(self, account_id: str, family: str, lease_id: str, now_ms: int) -> None:
        """An attempt goes."""
        ...

    def ended(
        self,
        account_id: str,
        family: str,
        lease_id: str,
        report: router_pb2.ReportItem,
        now_ms: int,
        others_healthy: Callable[[], bool],
    ) -> None:
        """An attempt ended."""
        ...


@dataclass(slots=True)
class AccountsSeen:
    """What one pick sees of accounts: the picker's Sight, and the Outlook of its refusal."""

    leases: Leases
    health: Health
    item: router_pb2.PickItem
    exclude: frozenset[str]
    family: str
    now_ms: int
    now_s: float

    def found(self, account: Account) -> str:
        """SPARE, PROVING, or why it cannot take the attempt."""
        if account.upstream_account_id in self.exclude:
            return EXCLUDED
        if not self.speaks(account):
            return OTHER_KIND
        found = self._health_of(account.upstream_account_id)
        if found in (COOLING, PROBING):
            return found
        return self.leases.reached(account, self.item.input_tokens, self.item.output_tokens, self.now_s) or found

    def _health_of(self, account_id: str) -> str:
        verdict = self.health.verdict(account_id, self.family, self.now_ms)
        if verdict is Verdict.COOLING:
            return COOLING
        if verdict is not Verdict.PROBING:
            # A request that has failed once already is not the one to try an account with.
            return PROVING if self.item.exclude and verdict is not Verdict.READY else SPARE
        return PROVING if self.health.cause(account_id, self.family) == router_pb2.CAUSE_UNSPECIFIED else PROBING

    def speaks(self, account: Account) -> bool:
        """Whether an account speaks what the request needs."""
        return not self.item.kinds or KINDS[account.kind] in self.item.kinds

    def moves(self, account: Account) -> bool:
        """Whether it cools, so that its conversations move for good."""
        return self._health_of(account.upstream_account_id) in (COOLING, PROBING)

    def in_flight(self, account_id: str) -> int:
        """Attempts under way on it."""
        return self.leases.in_flight(account_id)

    def left(self, account_id: str) -> float:
        """The share of the upstream's own limits that is left."""
        return self.health.left(account_id, self.now_ms)

    def cause(self, account: Account) -> router_pb2.Cause.ValueType:
        """Why it cools, or cooled last."""
        return self.health.cause(account.upstream_account_id, self.family)

    def cool_until_ms(self, account: Account) -> int:
        """When its cooldown ends; 0 for never."""
        return self.health.until_ms(account.upstream_account_id, self.family)

    def fits_at_ms(self, account: Account) -> int:
        """When its limits a minute let the attempt pass."""
        tokens = (self.item.input_tokens, self.item.output_tokens)
        return self.now_ms + self.leases.fits_ms(account, *tokens, self.now_s)
