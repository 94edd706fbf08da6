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
    Entry("/dashboard/billing/pay", "Add credit", "billing"),
    Entry("/settings", "Settings", "settings"),
)
OPERATOR: Final = (
    Entry("/operator", "Overview", "overview"),
    Entry("/operator/payments", "Payments", "billing"),
)


def current(path: str, entries: tuple[Entry, ...]) -> Entry | None:
    """The entry that a path belongs to: the longest one that it begins with."""
    within = [entry for entry in entries if path == entry.path or path.startswith(f"{entry.path}/")]
    return max(within, key=lambda entry: len(entry.path), default=None)
