"""Schemas of what a key asks about itself, in the shapes that clients of New-API know."""

from typing import Final

from services.edge.openapi.schema import BOOLEAN, COUNT, STRING, Schema, closed, described

_DOLLARS: Final[Schema] = {"type": "number", "minimum": 0, "description": "Dollars: spent so far and still open."}
_QUOTA: Final = described(COUNT, "Quota, of which 500,000 are a dollar.")
_END: Final = described(COUNT, "When the key ends, Unix seconds; 0 for never.")
_MODELS: Final[Schema] = {"type": "object", "additionalProperties": {"const": True}}

SCHEMAS: Final[dict[str, Schema]] = {
    "BillingSubscription": closed(
        {
            "object": {"const": "billing_subscription"},
            "has_payment_method": BOOLEAN,
            "soft_limit_usd": _DOLLARS,
            "hard_limit_usd": _DOLLARS,
            "system_hard_limit_usd": _DOLLARS,
            "access_until": _END,
        }
    ),
    "BillingUsage": closed(
        {
            "object": {"const": "list"},
            "total_usage": {"type": "number", "minimum": 0, "description": "Hundredths of a dollar, over its life."},
        }
    ),
    "TokenUsage": closed(
        {
            "code": {"const": True},
            "message": STRING,
            "data": closed(
                {
                    "object": {"const": "token_usage"},
                    "name": STRING,
                    "total_granted": _QUOTA,
                    "total_used": _QUOTA,
                    "total_available": _QUOTA,
                    "unlimited_quota": described(BOOLEAN, "Whether the key has no spend cap of its own."),
                    "model_limits": _MODELS,
                    "model_limits_enabled": BOOLEAN,
                    "expires_at": _END,
                }
            ),
        }
    ),
}
"""What clients get, by name."""
