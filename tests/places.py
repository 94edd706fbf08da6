"""Every page that links lead to, found by following them: a page that is added is looked at without being named."""

import re
from collections import deque
from urllib.parse import urldefrag, urlsplit

from tests.visitors import Visitor

PUBLIC = ("/", "/sign-in", "/register")
_FILES = ("/static/", "/brand.css", "/favicon", "/webhooks/", "/sign-in/provider")


def pattern(path: str) -> str:
    """A path with its ids and its query taken out: one page of a kind is enough."""
    parts = urlsplit(path).path.split("/")
    return "/".join("*" if re.search(r"\d", part) and len(part) > 5 else part for part in parts)


def places(visitor: Visitor, *starts: str) -> list[str]:
    """Paths of the console's own pages, one of each kind, as links lead from the first ones."""
    found: dict[str, str] = {}
    waiting = deque(starts)
    while waiting:
        path = waiting.popleft()
        if pattern(path) in found:
            continue
        answer = visitor.get(path)
        if answer.status_code != 200 or not answer.headers["content-type"].startswith("text/html"):
            assert answer.status_code < 400, f"a link leads to {path}, which answers {answer.status_code}"
            continue
        found[pattern(path)] = path
        for link in re.findall(r'<a[^>]* href="([^"]+)"', answer.text):
            own = urldefrag(link.replace("&amp;", "&"))[0]
            if own.startswith("/") and not own.startswith(_FILES):
                waiting.append(own)
    return list(found.values())
