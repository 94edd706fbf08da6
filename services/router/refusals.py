"""Why no upstream account can take an attempt, and when one may. Pure."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from services.router.accounts import Account
from services.router.leases import A_MINUTE, CONCURRENT
from services.router.picker import Looked
from services.shared.errors import Kind, Refusal
from tollhouse.v1 import router_pb2

COOLING: Final = "cooling"
"""Found of an account: it is not asked for a while, or for good."""
PROBING: Final = "probing"
"""Found of an account: its cooldown is over and one attempt is under way to see how it is."""

_FOR_GOOD: Final = frozenset((router_pb2.CAUSE_REFUSED, router_pb2.CAUSE_OUT_OF_CREDIT))
_OTHERWISE: Final = router_pb2.CAUSE_UNSPECIFIED


class Outlook(Protocol):
    """What is known of accounts that cannot take an attempt."""

    def found(self, account: Account) -> str:
        """Why it cannot; or that it could, were it not excluded."""
        ...

    def cause(self, account: Account) -> router_pb2.Cause.ValueType:
        """Why it cools, or cooled last."""
        ...

    def cool_until_ms(self, account: Account) -> int:
        """When its cooldown ends; 0 for never."""
        ...

    def fits_at_ms(self, account: Account) -> int:
        """When its limits a minute let the attempt pass."""
        ...


@dataclass(frozen=True, slots=True)
class Refused:
    """No account can take an attempt now."""

    kind: Kind
    message: str
    earliest_ms: int = 0
    """When one can, Unix milliseconds; 0 where time alone does not tell."""
    by_report: bool = False
    """Whether the end of an attempt under way may let one."""
    all_cool: bool = False
    """Whether every account cools or is full: then nothing but time, news of its health or a report changes that."""
    hopeless: bool = False
    """Whether every account was tried already, so that waiting is in vain."""
    looked: Looked = field(default_factory=list)
    """The accounts that were looked at."""
    serving: int = 0
    """How many accounts serve the model."""

    def within(self, deadline_ms: int) -> bool:
        """Whether waiting until then may help."""
        return not self.hopeless and (self.by_report or 0 < self.earliest_ms <= deadline_ms)

    def refusal(self, now_ms: int) -> Refusal:
        """The refusal as it is told; the detail `retry_after_ms` is left out where time alone does not tell."""
        waiting = {"may_wait": "true"} if self.by_report and not self.hopeless else {}
        if not self.earliest_ms:
            return Refusal(self.kind, self.message, **waiting)
        return Refusal(self.kind, self.message, retry_after_ms=str(max(1, self.earliest_ms - now_ms)), **waiting)


def refused(
    model: str, accounts: Iterable[Account], exclude: Collection[str], outlook: Outlook, looked: Looked
) -> Refused:
    """Judges the accounts that serve a model, none of which can take an attempt. Those that were tried already count
    only where all were."""
    everyone = list(accounts)
    candidates = [account for account in everyone if account.upstream_account_id not in exclude]
    hopeless = not candidates
    causes: set[router_pb2.Cause.ValueType] = set()
    moments: list[int] = []
    by_report, all_cool = False, bool(everyone)
    for account in candidates or everyone:
        found = outlook.found(account)
        all_cool = all_cool and found in (COOLING, CONCURRENT)
        by_report = by_report or found in (CONCURRENT, PROBING)
        if found == COOLING:
            until_ms = outlook.cool_until_ms(account)
            if until_ms:
                moments.append(max(until_ms, outlook.fits_at_ms(account)))
        elif found in A_MINUTE:
            moments.append(outlook.fits_at_ms(account))
        causes.add(_cause(account, found, outlook))
    kind, message = _told(model, causes)
    return Refused(kind, message, min(moments, default=0), by_report, all_cool, hopeless, looked, len(everyone))


def _cause(account: Account, found: str, outlook: Outlook) -> router_pb2.Cause.ValueType:
    if found in (COOLING, PROBING):
        return outlook.cause(account)
    return router_pb2.CAUSE_THROTTLED if found in A_MINUTE else _OTHERWISE


def _told(model: str, causes: set[router_pb2.Cause.ValueType]) -> tuple[Kind, str]:
    """The kind of the refusal and its message; who is out for good could not serve it anyway."""
    temporary = causes - _FOR_GOOD
    if temporary == {router_pb2.CAUSE_THROTTLED}:
        return Kind.UPSTREAM_THROTTLED, f"every upstream account for {model!r} is at its rate limit"
    if temporary == {router_pb2.CAUSE_OVERLOADED}:
        return Kind.UPSTREAM_OVERLOADED, f"every upstream account for {model!r} is overloaded"
    return Kind.NO_HEALTHY_ACCOUNT, f"no upstream account can serve {model!r} now"
