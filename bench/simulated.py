"""The services of a simulated deployment: the pure modules of the real ones with a clock that is passed in, and around
them only what would be Postgres, gRPC and NATS."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from services.auth.holds import Credit, Hold, Holds, Reserve
from services.router import health
from services.router.accounts import Account
from services.router.affinity import Conversations, Tiers, place
from services.router.health import Verdict
from services.router.leases import Leases
from services.router.picker import Turn, pick
from services.router.sight import AccountsSeen
from services.shared.gcra import Bucket
from services.shared.pricing import Rates, Tokens
from tollhouse.v1 import router_pb2

MODEL: Final = "simulated"
RATES: Final = Rates(1, input=3_000_000, output=15_000_000, cache_read=300_000, cache_write_5m=0, cache_write_1h=0)
_ANSWERS_BEFORE: Final = 20
_CONVERSATION_IDLE_MS: Final = 600_000


class Overspent(AssertionError):
    """I2 does not hold."""


def owner(names: list[str], key: str) -> str:
    """Who decides about a key: as services/edge/replicas.py chooses."""
    return max(names, key=lambda name: hashlib.blake2b(f"{name}\0{key}".encode(), digest_size=8).digest())


@dataclass(slots=True)
class Book:
    """What the ledger knows of a tenant; nano-dollars."""

    opening_nano: int
    balance_nano: int
    shortfall_nano: int = 0
    grants: dict[str, int] = field(default_factory=dict)
    """What of each grant is not booked."""


class Ledger:
    """Balances and grants: a raise is what the balance has beyond all grants, as under the lock of its row."""

    def __init__(self, balances_nano: list[int]) -> None:
        self.books = [Book(nano, nano) for nano in balances_nano]
        self.away = False
        self.raises = 0

    def raise_grant(self, tenant: int, grant_id: str, more_nano: int) -> int:
        """How much more the grant has now; 0 while the ledger is away."""
        if self.away:
            return 0
        self.raises += 1
        book = self.books[tenant]
        spare_nano = book.balance_nano - sum(book.grants.values())
        growth_nano = max(0, min(more_nano, spare_nano))
        book.grants[grant_id] = book.grants.get(grant_id, 0) + growth_nano
        if growth_nano and sum(book.grants.values()) > book.balance_nano:
            raise Overspent(f"tenant {tenant}: grants beyond the balance")
        return growth_nano

    def book(self, tenant: int, grant_id: str, cost_nano: int) -> None:
        """Books usage: a balance stops at zero, the rest is shortfall. What a grant did not cover comes out of what is
        free, and only then out of what others were granted."""
        book = self.books[tenant]
        paid_nano = min(cost_nano, book.balance_nano)
        book.balance_nano -= paid_nano
        book.shortfall_nano += cost_nano - paid_nano
        book.grants[grant_id] = max(0, book.grants.get(grant_id, 0) - cost_nano)
        over_nano = sum(book.grants.values()) - book.balance_nano
        if over_nano > 0:
            book.grants[grant_id] = max(0, book.grants[grant_id] - over_nano)


@dataclass(slots=True)
class Tenant:
    """What an auth replica keeps of a tenant that it owns."""

    credit: Credit
    holds: Holds = field(default_factory=Holds)
    reserve: Reserve = field(default_factory=Reserve)
    bucket: Bucket = field(default_factory=Bucket)
    dry_until_s: float = 0.0


class Auth:
    """A replica of auth: limits, then a hold inside a grant, which is raised ahead of need.

    Args:
        factors: how far ahead grants are raised at first, for each tenant; later they follow its spending.
    """

    DRY_S = 1.0

    def __init__(self, name: str, ledger: Ledger, factors: Sequence[int]) -> None:
        self.name = name
        self._factors = factors
        self.up = True
        self._ledger = ledger
        self.tenants: dict[int, Tenant] = {}

    def tenant(self, number: int) -> Tenant:
        """What is kept of a tenant, from its first request on."""
        tenant = self.tenants.get(number)
        if tenant is None:
            tenant = self.tenants[number] = Tenant(Credit(f"{self.name}/{number}"))
            tenant.reserve.factor = self._factors[number]
        return tenant

    def admit(self, number: int, hold_id: str, tokens: Tokens, limit: int, now_s: float) -> Hold | str:
        """A hold, or why there is none."""
        tenant = self.tenant(number)
        now_ns = round(now_s * 1e9)
        if tenant.bucket.wait_ns(limit, 1, now_ns):
            return "limit"
        tenant.bucket.take(limit, 1, now_ns)
        hold = Hold(hold_id, "", MODEL, RATES, tokens.input, tokens.output, (tenant.credit,), now_s + 60)
        placed = tenant.holds.place(hold)
        if placed is None:
            self._raise(number, tenant, hold.wanted_nano, now_s)
            placed = tenant.holds.place(hold)
        if placed is None:
            return "ledger away" if self._ledger.away else "credit"
        if tenant.credit.available_nano < placed.amount_nano * tenant.reserve.factor // 2:
            self._raise(number, tenant, placed.amount_nano, now_s)
        return placed

    def extend(self, number: int, hold: Hold, output_tokens: int, now_s: float) -> bool:
        """Lets a stream go on."""
        tenant = self.tenant(number)
        if tenant.holds.extend(hold, output_tokens):
            return True
        self._raise(number, tenant, RATES.hold_nano(0, output_tokens), now_s)
        return tenant.holds.extend(hold, output_tokens)

    def _raise(self, number: int, tenant: Tenant, hold_nano: int, now_s: float) -> None:
        if now_s < tenant.dry_until_s:
            return
        if self._ledger.away:
            tenant.dry_until_s = now_s + self.DRY_S
            return
        credit = tenant.credit
        want_nano = max(0, -credit.available_nano) + hold_nano + tenant.reserve.next_nano(hold_nano, now_s)
        growth_nano = self._ledger.raise_grant(number, credit.grant_id, want_nano)
        credit.granted_nano += growth_nano
        if growth_nano < want_nano:
            tenant.dry_until_s = now_s + self.DRY_S


class Healths:
    """The health of a router's upstream accounts, without NATS: one family, and limits that no upstream tells."""

    def __init__(self, random: Callable[[], float]) -> None:
        self._random = random
        self._of: dict[str, health.Health] = {}

    def of(self, account_id: str) -> health.Health:
        """An account's health."""
        found = self._of.get(account_id)
        if found is None:
            found = self._of[account_id] = health.Health()
        return found

    def verdict(self, account_id: str, family: str, now_ms: int) -> Verdict:
        """See services.router.sight.Health, as the others."""
        return self.of(account_id).verdict(now_ms)

    def until_ms(self, account_id: str, family: str) -> int:
        """The end of its cooldown."""
        cooldown = self.of(account_id).cooldown
        return cooldown.until_ms if cooldown is not None else 0

    def cause(self, account_id: str, family: str) -> health.Cause:
        """Why it cools."""
        cooldown = self.of(account_id).cooldown
        return cooldown.cause if cooldown is not None else health.NO_CAUSE

    def left(self, account_id: str, now_ms: int) -> float:
        """Unknown."""
        return 1.0

    def began(self, account_id: str, family: str, lease_id: str, now_ms: int) -> None:
        """An attempt goes."""
        self.of(account_id).began(lease_id, now_ms)

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
        self.of(account_id).ended(lease_id, report.outcome, 0, now_ms, self._random, others_healthy)


class Pool:
    """A pool of upstream accounts at the router that owns it."""

    def __init__(self, name: str, accounts: int, random: Callable[[], float]) -> None:
        self._random = random
        self.healths = Healths(random)
        self.leases = Leases(3600)
        self.conversations = Conversations(100_000, _CONVERSATION_IDLE_MS)
        self.name = name
        self._unlimited = router_pb2.PickItem()
        self._excluding = router_pb2.PickItem(exclude=["one"])
        self.tiers = Tiers(
            [
                Account(f"{name}-{n}", f"{name}-{n}", "anthropic", "https://api", "key", {MODEL: MODEL}, 0, True, 0)
                for n in range(accounts)
            ]
        )

        for account in self.tiers:
            self._has_answered(account)

    def _has_answered(self, account: Account) -> None:
        """As all of them have for a while when the simulation begins."""
        for n in range(_ANSWERS_BEFORE):
            self.healths.began(account.upstream_account_id, MODEL, f"before-{n}", n)
            self.report(f"before-{n}", account, ok=True, now_s=0)

    def pick(self, lease_id: str, tried: frozenset[str], conversation: bytes, now_s: float) -> Account | None:
        """Leases an account for an attempt."""
        now_ms = round(now_s * 1000)
        item = self._excluding if tried else self._unlimited
        sight = AccountsSeen(self.leases, self.healths, item, tried, MODEL, now_ms, now_s)
        turn = None
        if conversation:
            home = self.conversations.home(self.name, MODEL, conversation, now_ms)
            turn = Turn(place(conversation), home, self.conversations.live(self.name, MODEL))
        picked = pick(self.tiers, turn, sight, self._random)
        account = picked.account
        if account is None:
            return None
        if conversation and picked.settles:
            self.conversations.settle(self.name, MODEL, conversation, account, now_ms)
        elif conversation:
            self.conversations.used(self.name, MODEL, conversation, now_ms)
        self.leases.take(lease_id, account, MODEL, MODEL, now_s)
        self.healths.began(account.upstream_account_id, MODEL, lease_id, now_ms)
        return account

    def report(self, lease_id: str, account: Account, *, ok: bool, now_s: float) -> None:
        """Ends a lease."""
        self.leases.end(lease_id, now_s)
        outcome = router_pb2.OUTCOME_OK if ok else router_pb2.OUTCOME_UPSTREAM_FAULT
        self.healths.of(account.upstream_account_id).ended(
            lease_id, outcome, 0, round(now_s * 1000), self._random, lambda: True
        )
