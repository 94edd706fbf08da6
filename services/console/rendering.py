"""Templates: how a page is made, and what every template knows."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from services.console import cookies, navigation, palette
from services.console.assets import Assets
from services.console.notices import NOTICES
from services.console.places import own_path
from services.console.user_agents import browser
from services.console.visit import visit_of
from services.shared import clock, money

_TEMPLATES: Final = Path(__file__).parent / "templates"
_WORDS: Final = {
    "headline": "Every model behind one key",
    "tagline": "Keep the SDK that you have. Change the base URL, and pay for what you use.",
    "key": "API key",
    "keys": "API keys",
    "credit": "credit",
}


class Renderer:
    """Makes pages. One for the process.

    Args:
        api_url: where clients reach the API of brands that do not say it; empty for the pages' own host.
        registration: whether pages offer to register.
    """

    def __init__(self, assets: Assets, api_url: str, registration: bool) -> None:
        self._api_url = api_url.rstrip("/")
        self._environment = Environment(
            loader=FileSystemLoader(_TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._texts = self._environment.overlay(autoescape=False)
        self._environment.filters.update(
            money=money.rounded_dollars,
            exact_money=money.dollars,
            count=count,
            instant=instant,
            iso=iso,
            duration=duration,
            browser=browser,
        )
        self._environment.globals.update(asset=assets.url, registration=registration)

    def page(self, request: Request, template: str, status: int = 200, **context: Any) -> Response:
        """A page, or a piece of one for htmx. Beside the context its template knows what `_frame` says."""
        response = HTMLResponse(self._text(request, template, context), status)
        visit = visit_of(request)
        cookie = cookies.notice_name(visit.https)
        if cookie in request.cookies:
            cookies.forget(response, cookie, visit.https)
        return response

    def text(self, template: str, **context: Any) -> str:
        """A text that is not HTML, such as a snippet of code. Where a page shows it, it is escaped there."""
        return self._texts.get_template(template).render(context).rstrip("\n")

    def piece(self, request: Request, template: str, **context: Any) -> str:
        """The text of a piece of a page, for what is sent while the page stands."""
        return self._text(request, template, context)

    def api_url(self, request: Request) -> str:
        """The base URL that a client of this brand sets: scheme, host and base path."""
        brand = visit_of(request).brand
        host = brand.api_url or self._api_url or f"{request.url.scheme}://{request.url.netloc}"
        return host + (brand.base_paths[0] if brand.base_paths else "/v1")

    def _text(self, request: Request, template: str, context: dict[str, Any]) -> str:
        return self._environment.get_template(template).render(self._frame(request) | context)

    def _frame(self, request: Request) -> dict[str, Any]:
        visit, path = visit_of(request), request.url.path
        at_operators = path == "/operator" or path.startswith("/operator/")
        operating = at_operators and visit.person is not None and visit.person.is_operator
        entries = navigation.OPERATOR if operating else navigation.CUSTOMER
        return {
            "visit": visit,
            "person": visit.person,
            "brand": visit.brand,
            "title": visit.title,
            "csrf_token": visit.csrf_token,
            "word": lambda name: visit.brand.words.get(name) or _WORDS[name],
            "brand_css": f"/brand.css?accent={(visit.brand.accent or palette.ACCENT)[1:]}",
            "api_url": self.api_url(request),
            "notice": NOTICES.get(request.cookies.get(cookies.notice_name(visit.https), "")),
            "operating": operating,
            "entries": entries,
            "current": navigation.current(path, entries),
        }


def redirect(request: Request, path: str, notice: str = "") -> Response:
    """To one of our own pages, after a change: the browser asks for it by GET. The next page says the notice, which is
    a key of `notices.NOTICES`."""
    response = RedirectResponse(own_path(path), 303)
    if notice:
        assert notice in NOTICES, f"{notice!r} is not in notices.py"
        cookies.set_notice(response, notice, visit_of(request).https)
    return response


def count(number: int) -> str:
    """A number with its thousands apart: 12,345."""
    return f"{number:,}"


def duration(ms: int) -> str:
    """A length of time for people: 850 ms, 2.4 s, 3 min 20 s."""
    if ms < clock.MS_PER_S:
        return f"{ms} ms"
    if ms < 60 * clock.MS_PER_S:
        return f"{ms / clock.MS_PER_S:.1f} s"
    minutes, seconds = divmod(ms // clock.MS_PER_S, 60)
    return f"{minutes} min {seconds} s"


def instant(at: datetime | int) -> str:
    """A moment for people, in UTC: 21 Nov 2026, 13:51. Takes Unix milliseconds too."""
    return _utc(at).strftime("%-d %b %Y, %H:%M")


def iso(at: datetime | int) -> str:
    """A moment for `<time datetime>`."""
    return _utc(at).isoformat(timespec="seconds")


def _utc(at: datetime | int) -> datetime:
    return at.astimezone(UTC) if isinstance(at, datetime) else datetime.fromtimestamp(at / clock.MS_PER_S, UTC)
