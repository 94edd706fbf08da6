"""Unit tests of services.console.navigation and services.console.notices."""

import pytest

from services.console import navigation
from services.console.navigation import CUSTOMER, OPERATOR, Entry, current
from services.console.pages import ROUTES

ENTRIES = (Entry("/operator", "Start", "overview"), Entry("/operator/tenants", "Tenants", "tenants"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/operator", "Start"),
        ("/operator/tenants", "Tenants"),
        ("/operator/tenants/house", "Tenants"),
        ("/operator/tenantsandmore", "Start"),
        ("/elsewhere", None),
    ],
)
def test_a_page_belongs_to_the_nearest_entry(path: str, expected: str | None) -> None:
    found = current(path, ENTRIES)
    assert (found.label if found else None) == expected


@pytest.mark.parametrize("entry", [*CUSTOMER, *OPERATOR], ids=lambda entry: entry.path)
def test_every_entry_leads_to_a_page_and_has_an_icon(entry: Entry) -> None:
    assert entry.path in {route.path for route in ROUTES}  # type: ignore[attr-defined]
    from services.console.rendering import _TEMPLATES

    assert f'"{entry.icon}":' in (_TEMPLATES / "components" / "icons.html").read_text(encoding="utf-8")


def test_operators_entries_are_operators_pages() -> None:
    assert all(entry.path.startswith("/operator") for entry in navigation.OPERATOR)
    assert not any(entry.path.startswith("/operator") for entry in navigation.CUSTOMER)
