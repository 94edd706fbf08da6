"""Unit tests of services.console.user_agents."""

import pytest

from services.console.user_agents import browser

CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"


@pytest.mark.parametrize(
    ("user_agent", "expected"),
    [
        (CHROME, "Chrome 156 on Linux"),
        (CHROME + " Edg/156.0.1", "Edge 156 on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox 140 on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X) Version/19.0 Safari/605", "Safari 19 on iPhone"),
        ("Mozilla/5.0 (Linux; Android 16) Chrome/150.0 Mobile Safari/537.36", "Chrome 150 on Android"),
        ("curl/8.5.0", "curl/8.5.0"),
        ("", "unknown"),
        ("x" * 300, "x" * 60),
    ],
)
def test_a_browser_is_named_as_people_know_it(user_agent: str, expected: str) -> None:
    assert browser(user_agent) == expected
