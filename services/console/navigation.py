"""The entries of the side navigation, in their order. A page that is to stand there adds its line."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Entry:
    """One place: its path, its label, and its icon in templates/components/icons.html."""

    path: str
    label: str
    icon: str


CUSTOMER: Final = (
    Entry("/dashboard", "Overview", "overview"),
    Entry("/dashboard/keys", "Keys", "keys"),
    Entry("/dashboard/usage", "Usage", "usage"),
    Entry("/dashboard/billing", "Billing", "billing"),
    Entry("/dashboard/models", "Models", "models"),
    Entry("/dashboard/quick-start", "Quick start", "guide"),
    Entry("/dashboard/playground", "Playground", "play"),
    Entry("/settings", "Settings", "settings"),
)
OPERATOR: Final = (
    Entry("/operator", "Fleet", "fleet"),
    Entry("/operator/payments", "Payments", "billing"),
    Entry("/operator/accounts", "Upstreams", "accounts"),
    Entry("/operator/tenants", "Tenants", "tenants"),
    Entry("/operator/reconciliation", "Reconciliation", "reconciliation"),
    Entry("/operator/pools", "Pools and groups", "usage"),
    Entry("/operator/models", "Models", "models"),
    Entry("/operator/prices", "Prices", "prices"),
    Entry("/operator/plans", "Plans", "settings"),
    Entry("/operator/vouchers", "Vouchers", "vouchers"),
    Entry("/operator/brands", "Brands", "brands"),
    Entry("/operator/people", "People", "keys"),
    Entry("/operator/audit", "Audit log", "audit"),
)


def current(path: str, entries: tuple[Entry, ...]) -> Entry | None:
    """The entry that a path belongs to: the longest one that it begins with."""
    within = [entry for entry in entries if path == entry.path or path.startswith(f"{entry.path}/")]
    return max(within, key=lambda entry: len(entry.path), default=None)
