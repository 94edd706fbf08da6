"""What New-API and its kin tell a key of itself, in their shapes and units: dollars, hundredths of a dollar, and quota,
of which 500,000 are a dollar."""

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from services.shared import clock
from services.shared.money import NANO_PER_DOLLAR
from tollhouse.v1 import auth_pb2

NANO_PER_QUOTA: Final = NANO_PER_DOLLAR // 500_000
_NANO_PER_CENT: Final = NANO_PER_DOLLAR // 100


@dataclass(frozen=True, slots=True)
class Funds:
    """What a key has spent over its life, and what it still may: all that its tenant has or, with a spend cap, no more
    than what is left of that. In nano-dollars."""

    spent_nano: int
    left_nano: int


def funds_of(key: auth_pb2.Key, spent_nano: int, available_nano: int) -> Funds:
    """A key's funds, where its tenant has `available_nano`."""
    if key.HasField("spend_cap_nano"):
        return Funds(spent_nano, max(0, min(available_nano, key.spend_cap_nano - spent_nano)))
    return Funds(spent_nano, max(0, available_nano))


def subscription(key: auth_pb2.Key, funds: Funds) -> dict[str, Any]:
    """GET /v1/dashboard/billing/subscription. What is left is `hard_limit_usd` less the usage."""
    limit = _number(funds.spent_nano + funds.left_nano, NANO_PER_DOLLAR)
    return {
        "object": "billing_subscription",
        "has_payment_method": True,
        "soft_limit_usd": limit,
        "hard_limit_usd": limit,
        "system_hard_limit_usd": limit,
        "access_until": key.expires_ms // clock.MS_PER_S,
    }


def billing_usage(funds: Funds) -> dict[str, Any]:
    """GET /v1/dashboard/billing/usage: hundredths of a dollar, over the key's life."""
    return {"object": "list", "total_usage": _number(funds.spent_nano, _NANO_PER_CENT)}


def token_usage(key: auth_pb2.Key, funds: Funds) -> dict[str, Any]:
    """GET /api/usage/token/, in quota."""
    return {
        "code": True,
        "message": "ok",
        "data": {
            "object": "token_usage",
            "name": key.name,
            "total_granted": (funds.spent_nano + funds.left_nano) // NANO_PER_QUOTA,
            "total_used": funds.spent_nano // NANO_PER_QUOTA,
            "total_available": funds.left_nano // NANO_PER_QUOTA,
            "unlimited_quota": not key.HasField("spend_cap_nano"),
            "model_limits": dict.fromkeys(key.models, True),
            "model_limits_enabled": bool(key.models),
            "expires_at": key.expires_ms // clock.MS_PER_S,
        },
    }


def _number(nano: int, unit: int) -> msgspec.Raw:
    """An exact JSON number: never a float on our side."""
    digits = len(str(unit)) - 1
    whole, part = divmod(nano, unit)
    return msgspec.Raw(f"{whole}.{part:0{digits}d}".encode())
