"""Which upstream account takes an attempt. Pure: state and randomness are passed in."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Limits:
    """What an upstream account may be asked for, tokens and requests a minute; 0: no limit."""

    concurrent: int = 0
    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


NO_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Account:
    """An upstream account as the picker sees it; its credential is opened."""

    upstream_account_id: str
    name: str
    kind: str
    base_url: str
    credential: str = field(repr=False)
    models: Mapping[str, str]
    priority: int
    enabled: bool
    created_ms: int
    pool: str = "default"
    weight: int = 100
    headers: Mapping[str, str] = field(default_factory=dict)
    proxy: str = ""
    limits: Limits = NO_LIMITS
    resale_allowed: bool = False
    note: str = ""


def pick(
    candidates: Sequence[Account],
    exclude: Collection[str],
    in_flight: Callable[[str], int],
    random: Callable[[], float],
) -> Account | None:
    """The least busy of the accounts of the lowest priority number that this request has not tried; None when all are
    tried. `candidates` are enabled, serve the model and are sorted by priority."""
    best: Account | None = None
    best_rank: tuple[int, int, float] | None = None
    for account in candidates:
        if account.upstream_account_id in exclude:
            continue
        if best_rank is not None and account.priority > best_rank[0]:
            break
        rank = (account.priority, in_flight(account.upstream_account_id), random())
        if best_rank is None or rank < best_rank:
            best, best_rank = account, rank
    return best
