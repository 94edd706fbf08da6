"""What people see when something is refused or goes wrong: a page in the layout or, for htmx, a toast."""

from collections.abc import Awaitable, Callable
from typing import Final

from psycopg import OperationalError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from services.console import problems
from services.console.problems import Problem
from services.console.rendering import Renderer
from services.shared.errors import Blame, Kind, Refusal
from services.shared.telemetry import logger

_HEADINGS: Final = {
    401: "Please sign in",
    403: "This is not yours to see",
    404: "There is no such page",
    405: "That cannot be done here",
    413: "That is too large",
    429: "One moment, please",
    500: "Something went wrong on our side",
    503: "A part of the service is away",
}
_SENTENCES: Final = {
    404: "The address may be mistyped, or what was here is gone.",
    405: "The page exists, but not for what your browser asked of it.",
    500: "It is in our log, and nothing that you did. Please try again.",
}
_AWAY: Final = {
    Kind.AUTH_UNAVAILABLE: "Accounts and keys cannot be reached just now. Please try again in a moment.",
    Kind.ROUTER_UNAVAILABLE: "Models and upstream accounts cannot be reached just now. Please try again in a moment.",
    Kind.LEDGER_UNAVAILABLE: "Usage and balances cannot be reached just now. Please try again in a moment.",
}

_log = logger("console")
Handler = Callable[[Request, Exception], Awaitable[Response]]


class Failures:
    """Makes the pages of failures."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer

    @property
    def handlers(self) -> dict[type[Exception], Handler]:
        """For Starlette."""
        return {
            HTTPException: self._http,
            Refusal: self._refusal,
            Problem: self._problem,
            OperationalError: self._away,
            Exception: self._defect,
        }

    async def page(self, request: Request, status: int, sentence: str) -> Response:
        """A page that says what is wrong; for htmx a toast, which console.js puts in its place; for callers of the
        management API an object."""
        if problems.speaks_json(request.url.path):
            return problems.answer(request.url.path, Problem(status, sentence))
        heading = _HEADINGS.get(status, "That did not work")
        template = "toast.html" if request.headers.get("hx-request") else "failure.html"
        return self._renderer.page(request, template, status, heading=heading, sentence=sentence, number=status)

    async def _http(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        said = _SENTENCES.get(error.status_code, error.detail)
        response = await self.page(request, error.status_code, said)
        response.headers.update(error.headers or {})
        return response

    async def _refusal(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, Refusal)
        return await self.page(request, error.kind.http_status, sentence(error))

    async def _problem(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)
        response = await self.page(request, error.status, _SENTENCES.get(error.status, error.detail))
        response.headers.update(error.headers)
        return response

    async def _away(self, request: Request, error: Exception) -> Response:
        _log.error("database_away", path=request.url.path, error=str(error))
        return await self.page(request, 503, "Please try again in a moment.")

    async def _defect(self, request: Request, error: Exception) -> Response:
        _log.error("page_failed", path=request.url.path, exc_info=error)
        return await self.page(request, 500, _SENTENCES[500])


def sentence(refusal: Refusal) -> str:
    """What a service refused, for people: its own words where it is something that they can change."""
    if refusal.kind in _AWAY:
        return _AWAY[refusal.kind]
    if refusal.kind.blame is Blame.OURS:
        return _SENTENCES[500]
    said = refusal.message.strip()
    return said[:1].upper() + said[1:] + ("" if said.endswith((".", "!", "?")) else ".")
