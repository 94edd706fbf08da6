"""Unit tests of services.console.places."""

import pytest

from services.console.places import HOME, own_path


@pytest.mark.parametrize("path", ["/", "/settings", "/dashboard/usage?from=1&key=a%20b", "/a//b", "/settings#password"])
def test_our_own_paths_are_kept(path: str) -> None:
    assert own_path(path) == path


@pytest.mark.parametrize(
    "said",
    [
        "",
        "settings",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "/\n/evil.example",
        " /settings",
        "/settings\r\nset-cookie: a=b",
    ],
)
def test_everything_else_leads_home(said: str) -> None:
    assert own_path(said) == HOME
    assert own_path(said, "/sign-in") == "/sign-in"
