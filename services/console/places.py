"""Where a person may be sent: to our own pages only. Pure."""

from urllib.parse import urlsplit

HOME = "/dashboard"


def own_path(said: str, otherwise: str = HOME) -> str:
    """`said` if it is a path of this very site, else `otherwise`. Browsers take a backslash for a slash, drop tabs and
    line ends, and read `//host` as another site (https://url.spec.whatwg.org/#url-parsing)."""
    if not said.startswith("/") or said.startswith("//") or "\\" in said or not said.isprintable():
        return otherwise
    parts = urlsplit(said)
    if parts.scheme or parts.netloc or parts.path.startswith("//"):
        return otherwise
    return said
