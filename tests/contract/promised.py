"""What the wire contract promises of a brand, as a table: each brand's test file holds its own."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

Api = Literal["anthropic", "openai"]
APIS: Final[tuple[Api, ...]] = ("anthropic", "openai")


@dataclass(frozen=True)
class Refused:
    """How a refusal is told; an empty code is none."""

    status: int
    type: str
    code: str = ""


Words = dict[str, Refused]
"""A refusal's reason to how it is told."""

ANTHROPIC: Final[Words] = {
    "key": Refused(401, "authentication_error"),
    "money": Refused(402, "billing_error"),
    "key_cap": Refused(402, "billing_error"),
    "key_disabled": Refused(403, "permission_error"),
    "address": Refused(403, "permission_error"),
    "model_not_allowed": Refused(403, "permission_error"),
    "route": Refused(404, "not_found_error"),
    "usage_unknown": Refused(404, "not_found_error"),
    "model_unknown": Refused(404, "not_found_error"),
    "malformed": Refused(400, "invalid_request_error"),
    "too_large": Refused(413, "request_too_large"),
    "rate": Refused(429, "rate_limit_error"),
    "throttled": Refused(429, "rate_limit_error"),
    "not_implemented": Refused(501, "not_implemented_error"),
    "upstream_failed": Refused(502, "upstream_error"),
    "no_account": Refused(503, "overloaded_error"),
    "timeout": Refused(504, "timeout_error"),
    "overloaded": Refused(529, "overloaded_error"),
}
"""Where a brand says nothing else: Anthropic's own words."""
OPENAI: Final[Words] = {
    "key": Refused(401, "invalid_request_error", "invalid_api_key"),
    "money": Refused(402, "insufficient_quota", "insufficient_quota"),
    "key_cap": Refused(402, "insufficient_quota", "insufficient_quota"),
    "key_disabled": Refused(403, "permission_error", "key_disabled"),
    "address": Refused(403, "permission_error", "address_not_allowed"),
    "model_not_allowed": Refused(403, "permission_error", "model_not_allowed"),
    "route": Refused(404, "invalid_request_error", "route_unknown"),
    "model_unknown": Refused(404, "invalid_request_error", "model_not_found"),
    "malformed": Refused(400, "invalid_request_error", "invalid_request"),
    "too_large": Refused(413, "invalid_request_error", "request_too_large"),
    "rate": Refused(429, "rate_limit_error", "rate_limit_exceeded"),
    "throttled": Refused(429, "rate_limit_error", "rate_limit_exceeded"),
    "not_implemented": Refused(501, "not_implemented_error", "not_implemented"),
    "upstream_failed": Refused(502, "server_error", "upstream_failed"),
    "no_account": Refused(503, "server_error", "no_healthy_account"),
    "timeout": Refused(504, "timeout_error", "upstream_timeout"),
    "overloaded": Refused(529, "server_error", "upstream_overloaded"),
}
"""Where a brand says nothing else: OpenAI's own words."""


@dataclass(frozen=True, kw_only=True)
class Promised:
    """One brand's promises. A brand without a name is the built-in one, for hosts that no brand has."""

    name: str
    key_prefix: str
    masked: Callable[[str], str]
    """How lists show a key."""
    roots: tuple[str, ...] = ("", "/v1")
    """What users put before `/v1`, a `/v1` too many among it."""
    revealed: bool = False
    default_max_tokens: int = 0
    """0: a Messages request without max_tokens is refused."""
    bare_errors: bool = False
    anthropic: Words = field(default_factory=lambda: ANTHROPIC)
    openai: Words = field(default_factory=lambda: OPENAI)
    request_id_header: str = ""
    account_header: str = ""
    model_list_extras: bool = False
    google_keys_on_models: bool = True

    @property
    def own_headers(self) -> set[str]:
        """The brand's own response headers, in lower case."""
        return {name.lower() for name in (self.request_id_header, self.account_header) if name}

    def refused(self, api: Api, why: str) -> Refused:
        """How a refusal is told in an API's words."""
        return (self.anthropic if api == "anthropic" else self.openai)[why]


def prefix_and_last_four(prefix: str) -> Callable[[str], str]:
    """`prefix...wxyz`, as most brands show keys."""
    return lambda key: f"{prefix}...{key[-4:]}"
