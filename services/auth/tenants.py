"""What auth knows of a tenant's credit: its grants, its holds, and who waits for the ledger. Pure."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from services.auth.holds import Credit, Hold, Holds, Reserve
from services.shared.errors import Kind, Refusal
from services.shared.money import dollars
from services.shared.pricing import Tokens


@dataclass(slots=True, eq=False)
class Account:
    """A grant, and what is known of the balance or cap that it is a slice of."""

    credit: Credit
    cap_nano: int = 0
    reserve: Reserve = field(default_factory=Reserve)
    asked_nano: int = 0
    """The hold that asks for a raise; 0 while none does."""
    dry_until_s: float = 0.0
    """The ledger gave all that there is: until then only a hold that does not fit asks again."""
    free_nano: int = 0
    """Outside all grants, when the ledger last answered."""
    elsewhere_nano: int = 0
    """Out in other grants, unspent, when the ledger last answered: of other replicas, or given back by this one."""
    abandoned_nano: int = 0
    """Out in grants of replicas that were lost, when the ledger last answered."""
    cap_lowered: bool = False
    """The cap is lower than what the grant was taken under: the spare goes back before more is asked for."""
    forgone: bool = False
    """Nothing is placed in the spare any more, but the ledger has not been told."""
    used_s: float = 0.0
    """When a hold was last asked for in it, on the monotonic clock."""

    def forgo_spare(self) -> None:
        """Places nothing more in what is not needed now. First, before the ledger hears of it: it is not ours then."""
        self.forgone |= self.credit.available_nano > 0
        self.credit.granted_nano = min(self.credit.granted_nano, self.credit.committed_nano)
        self.reserve = Reserve()

    def set_cap(self, cap_nano: int) -> None:
        """What the key may spend over its life, as an edge has just heard."""
        if cap_nano < self.cap_nano:
            self.cap_lowered = True
            self.forgo_spare()
        self.cap_nano = cap_nano


@dataclass(slots=True)
class Waiter:
    """A hold that waits to be placed or, when it stands already, to grow to `output_tokens`."""

    hold: Hold
    output_tokens: int
    future: asyncio.Future[Hold]

    @property
    def more_nano(self) -> int:
        """What it needs beside what the hold has."""
        return self.hold.rates.hold_nano(self.hold.input_tokens, self.output_tokens) - self.hold.amount_nano


@dataclass(slots=True, eq=False)
class Tenant:
    """One tenant's grants and holds."""

    tenant_id: str
    balance: Account
    keys: dict[str, Account] = field(default_factory=dict)
    """Those with a spend cap."""
    holds: Holds = field(default_factory=Holds)
    waiters: list[Waiter] = field(default_factory=list)
    """Who wait for the ledger; those it is being asked for just now included."""
    conversing: asyncio.Task[None] | None = None
    spare_wanted: bool = False
    """Another replica is short of what is not needed here."""

    def accounts(self) -> Iterator[Account]:
        """The balance, then the capped keys."""
        yield self.balance
        yield from self.keys.values()

    def accounts_of(self, hold: Hold) -> Iterator[Account]:
        """Those whose grants a hold lies in."""
        yield self.balance
        if len(hold.credits) > 1:
            yield self.keys[hold.key_id]

    def seek(self, waiter: Waiter) -> bool:
        """Gives a waiter what it waits for, if that fits."""
        hold, standing = waiter.hold, self.holds.standing.get(waiter.hold.hold_id)
        placed = self.holds.place(hold) if standing is not hold else None
        if placed is None and (standing is not hold or not self.holds.extend(hold, waiter.output_tokens)):
            return False
        waiter.future.set_result(placed or hold)
        return True

    def settle(self, hold_id: str, charged: Sequence[Tokens], now_s: float) -> bool:
        """Ends a hold with what was used, and whoever waits for it to be placed or to grow. False when there is
        neither."""
        settled = self.holds.settle(hold_id, charged, now_s) is not None
        if not self.waiters:
            return settled
        # A question that came twice, over a stream that broke and the call after it, waits twice.
        left = [waiter.future.cancel() for waiter in self.waiters if waiter.hold.hold_id == hold_id]
        return settled or any(left)

    def idle_keys(self, before_s: float) -> list[str]:
        """Capped keys that nothing was asked for since, and no hold lies in."""
        if self.waiters or self.conversing is not None:
            return []
        in_use = {credit.key_id for hold in self.holds.standing.values() for credit in hold.credits}
        return [key_id for key_id, account in self.keys.items() if account.used_s <= before_s and key_id not in in_use]


def within_reach(tenant: Tenant, waiting: Sequence[Waiter]) -> bool:
    """Whether somebody is short of no more than what the ledger and other replicas have."""
    return any(missing <= account.free_nano + account.elsewhere_nano for account, missing in _short(tenant, waiting))


def is_free(tenant: Tenant, waiting: Sequence[Waiter]) -> bool:
    """Whether somebody is short of what the ledger has outside all grants: more was used meanwhile than was held."""
    return any(missing <= account.free_nano for account, missing in _short(tenant, waiting))


def _short(tenant: Tenant, waiting: Sequence[Waiter]) -> Iterator[tuple[Account, int]]:
    """What those who wait miss in an account, in nano-dollars."""
    for waiter in waiting:
        if not waiter.future.done():
            for account in tenant.accounts_of(waiter.hold):
                missing = waiter.more_nano - account.credit.available_nano
                if missing > 0:
                    yield account, missing


def lacking(account: Account, tenant: Tenant, waiting: Sequence[Waiter]) -> int:
    """What those who wait need of an account."""
    return sum(
        waiter.more_nano
        for waiter in waiting
        if not waiter.future.done() and (account is tenant.balance or account.credit in waiter.hold.credits)
    )


def exhausted(tenant: Tenant, waiter: Waiter) -> Refusal:
    """Why a hold cannot be placed or grow, and what could be afforded."""
    hold, more_nano = waiter.hold, waiter.more_nano
    account = next(account for account in tenant.accounts_of(hold) if account.credit.available_nano < more_nano)
    if more_nano <= account.credit.available_nano + account.abandoned_nano:
        return Refusal(Kind.CREDIT_RECOVERING, Kind.CREDIT_RECOVERING.meaning, retry_after_s="5")
    of_key = account is not tenant.balance
    kind, whose = (Kind.KEY_CAP_EXHAUSTED, "the key's spend cap") if of_key else (Kind.BALANCE_EXHAUSTED, "the balance")
    left_nano = max(0, account.credit.available_nano)
    affordable = hold.rates.affordable_output_tokens(hold.input_tokens, left_nano + hold.amount_nano)
    if affordable:
        advice = f"it could afford max_tokens of at most {affordable} for this prompt"
    else:
        advice = "it cannot afford this prompt"
    return Refusal(
        kind,
        f"{whose} cannot cover this request: it may cost {dollars(hold.amount_nano + more_nano)}"
        f" and {dollars(hold.amount_nano + left_nano)} is available; {advice}",
        affordable_output_tokens=str(affordable),
        available_nano=str(hold.amount_nano + left_nano),
        needed_nano=str(hold.amount_nano + more_nano),
    )
