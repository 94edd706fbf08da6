"""What auth knows of a tenant's credit: its grants, its holds, and who waits for the ledger. Pure."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from services.auth.holds import Credit, Hold, Holds, Reserve
from services.shared.errors import Kind, Refusal
from services.shared.money import dollars


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
    elsewhere_nano: int = 0
    abandoned_nano: int = 0


@dataclass(slots=True)
class Waiter:
    """A hold that waits to be placed or, when it stands already, to grow to `output_tokens`."""

    hold: Hold
    output_tokens: int
    future: asyncio.Future[Hold]

    @property
    def more_nano(self) -> int:
        return self.hold.rates.hold_nano(self.hold.input_tokens, self.output_tokens) - self.hold.amount_nano


@dataclass(slots=True, eq=False)
class Tenant:
    tenant_id: str
    balance: Account
    keys: dict[str, Account] = field(default_factory=dict)
    """Those with a spend cap."""
    holds: Holds = field(default_factory=Holds)
    waiters: list[Waiter] = field(default_factory=list)
    """Who wait for the ledger; those it is being asked for just now included."""
    conversing: asyncio.Task[None] | None = None

    def accounts(self) -> Iterator[Account]:
        yield self.balance
        yield from self.keys.values()

    def accounts_of(self, hold: Hold) -> Iterator[Account]:
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
    if account.abandoned_nano:
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
