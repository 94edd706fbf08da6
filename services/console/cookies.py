"""The console's cookies: strict in every way that a browser knows."""

from typing import Final

from starlette.responses import Response

_SESSION: Final = "session"
_NOTICE: Final = "notice"
_NOTICE_S: Final = 60


def name(base: str, https: bool) -> str:
    """With __Host- a browser takes a cookie only over https, from this very host, for all of its paths: no neighbour
    under the same domain can plant one (RFC 6265bis, 4.1.3.2). Plain http knows no such thing."""
    return f"__Host-{base}" if https else base


def session_name(https: bool) -> str:
    """Of the session's secret."""
    return name(_SESSION, https)


def notice_name(https: bool) -> str:
    """Of what the next page is to say."""
    return name(_NOTICE, https)


def set_session(response: Response, secret: str, https: bool) -> None:
    """Ends with the browser; the server ends it earlier."""
    _set(response, session_name(https), secret, https)


def set_notice(response: Response, key: str, https: bool) -> None:
    """Tells the next page what to say."""
    _set(response, notice_name(https), key, https, _NOTICE_S)


def forget(response: Response, cookie: str, https: bool) -> None:
    """Takes a cookie away."""
    response.delete_cookie(cookie, path="/", secure=https, httponly=True, samesite="lax")


def _set(response: Response, cookie: str, value: str, https: bool, max_age_s: int | None = None) -> None:
    response.set_cookie(cookie, value, max_age=max_age_s, path="/", secure=https, httponly=True, samesite="lax")
