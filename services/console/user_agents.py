"""What a User-Agent header says, for people who look for a session that is not theirs. Pure.

Only names that a person would know; the order matters, for browsers claim to be each other
(https://developer.mozilla.org/en-US/docs/Web/HTTP/Browser_detection_using_the_user_agent).
"""

import re
from typing import Final

_BROWSERS: Final = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Version/", "Safari"),
)
_SYSTEMS: Final = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)
_SHOWN_MOST: Final = 60


def browser(user_agent: str) -> str:
    """`Chrome 156 on Linux`; of a program that is no browser the beginning of what it says."""
    name = next(((mark, name) for mark, name in _BROWSERS if mark in user_agent), None)
    if name is None or not user_agent.startswith("Mozilla/"):
        return user_agent[:_SHOWN_MOST] or "unknown"
    version = re.search(re.escape(name[0]) + r"(\d+)", user_agent)
    system = next((f" on {system}" for mark, system in _SYSTEMS if mark in user_agent), "")
    return f"{name[1]} {version[1]}{system}" if version else f"{name[1]}{system}"
