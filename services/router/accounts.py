"""What an upstream account is to those who decide about it. Pure."""

from collections.abc import Mapping
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
