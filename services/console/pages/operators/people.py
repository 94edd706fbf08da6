"""People who may sign in: who is an operator, and who is shut out."""

from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from services.console import deeds
from services.console.console import console_of
from services.console.guards import operator
from services.console.pages.operators import lists
from services.console.rendering import redirect
from services.console.store import Person
from services.console.visit import person_of

_PATH = "/operator/people"


async def show(request: Request) -> Response:
    """A page of them, newest first."""
    asked, console = lists.asked_of(request, "search"), console_of(request)
    found = await console.store.people_page(asked["search"], asked.token, lists.SHOWN + 1)
    people = found[: lists.SHOWN]
    older = asked.onward(people[-1].person_id) if len(found) > lists.SHOWN else ""
    return console.renderer.page(request, "operators/people.html", asked=asked, people=people, older=older)


async def promote(request: Request) -> Response:
    """Makes a customer an operator."""
    return await _set_role(request, "operator")


async def demote(request: Request) -> Response:
    """Makes an operator a customer."""
    return await _set_role(request, "customer")


async def enable(request: Request) -> Response:
    """Lets somebody in again."""
    person = await _other(request)
    change = partial(console_of(request).store.set_enabled, person.person_id, True)
    await deeds.done(request, "enable_person", person.email, change)
    return redirect(request, _PATH, "person_saved")


async def disable(request: Request) -> Response:
    """Shuts somebody out: their sessions end."""
    person = await _other(request)
    change = partial(console_of(request).store.set_enabled, person.person_id, False)
    await deeds.done(request, "disable_person", person.email, change)
    return redirect(request, _PATH, "person_saved")


async def end_sessions(request: Request) -> Response:
    """Ends all of somebody's sessions."""
    person = await _other(request)
    change = partial(console_of(request).store.end_sessions, person.person_id)
    await deeds.done(request, "end_sessions", person.email, change)
    return redirect(request, _PATH, "person_saved")


async def _set_role(request: Request, role: str) -> Response:
    person = await _other(request)
    change = partial(console_of(request).store.set_role, person.person_id, role)
    await deeds.done(request, "set_role", person.email, change, role=role)
    return redirect(request, _PATH, "person_saved")


async def _other(request: Request) -> Person:
    """Whom the path names. Nobody changes themselves here: so there is always an operator left."""
    person = await console_of(request).store.person(request.path_params["person_id"])
    if person is None:
        raise HTTPException(404)
    if person.person_id == person_of(request).person_id:
        raise HTTPException(403, "Another operator has to do that for you.")
    return person


_ONE = f"{_PATH}/{{person_id}}"
routes = [
    operator(_PATH, show),
    operator(f"{_ONE}/promote", promote, ["POST"]),
    operator(f"{_ONE}/demote", demote, ["POST"]),
    operator(f"{_ONE}/enable", enable, ["POST"]),
    operator(f"{_ONE}/disable", disable, ["POST"]),
    operator(f"{_ONE}/end-sessions", end_sessions, ["POST"]),
]
