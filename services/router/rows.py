"""What the store keeps, and what is to be stored. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from services.router.accounts import Limits


@dataclass(frozen=True, slots=True)
class AccountFilter:
    """Which upstream accounts are listed; what is empty stands for all. `after` is the name that a page begins behind,
    `ids` are the only ones that fit, unless it is None."""

    name: str = ""
    search: str = ""
    pool: str = ""
    disabled: bool = False
    ids: list[str] | None = None
    after: str = ""


@dataclass(frozen=True, slots=True)
class AccountRow:
    """An upstream account with its models; the credential is sealed, limits of 0 are none."""

    upstream_account_id: str
    name: str
    kind: str
    base_url: str
    credential_sealed: bytes
    priority: int
    enabled: bool
    created_at: datetime
    pool: str
    weight: int
    headers: dict[str, str]
    proxy: str
    concurrent_limit: int
    requests_limit: int
    input_tokens_limit: int
    output_tokens_limit: int
    resale_allowed: bool
    note: str
    models: dict[str, str]


@dataclass(frozen=True, slots=True)
class AccountChange:
    """An upstream account as it is to be stored."""

    name: str
    kind: str
    base_url: str
    models: Mapping[str, str]
    priority: int
    enabled: bool
    pool: str
    weight: int
    headers: Mapping[str, str]
    proxy: str
    limits: Limits
    resale_allowed: bool
    note: str


@dataclass(frozen=True, slots=True)
class ModelRow:
    """What an operator said of a model; times in milliseconds, 0: as the edge is set."""

    model: str
    display_name: str
    family: str
    attempts_budget_ms: int
    first_byte_ms: int
    idle_ms: int
    total_ms: int


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group and its pools, in order."""

    group: str
    pools: list[str]


@dataclass(frozen=True, slots=True)
class Stored:
    """All that the catalogue is made of, as it stood at one moment."""

    accounts: list[AccountRow]
    pools: list[str]
    groups: list[GroupRow]
    models: list[ModelRow]
