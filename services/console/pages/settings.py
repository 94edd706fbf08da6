"""A person's own settings: password and sessions."""

from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from services.console import deeds, passwords, self_service
from services.console.console import console_of
from services.console.forms import Form
from services.console.guards import customer
from services.console.handshake import connect_token
from services.console.pages.forms_again import again
from services.console.problems import Problem
from services.console.rendering import redirect
from services.console.visit import person_of, visit_of

_PATH = "/settings"


async def show(request: Request) -> Response:
    """Password and sessions."""
    return await _page(request, Form())


async def change_password(request: Request) -> Response:
    """Sets a new password; all other sessions end."""
    form = await Form.read(request, "old_password", "new_password")
    person, (old, new) = person_of(request), (form["old_password"], form["new_password"])
    change = partial(
        self_service.change_password,
        *(console_of(request), person, person.session_id, old, new, visit_of(request).address),
    )
    try:
        await deeds.done(request, "change_own_password", person.email, change)
    except Problem as problem:
        return await again(problem, form, partial(_page, request))
    return redirect(request, _PATH, "password_changed")


async def end_session(request: Request) -> Response:
    """Ends one of the person's own sessions."""
    session_id = request.path_params["session_id"]
    change = partial(self_service.end_session, console_of(request), person_of(request), session_id)
    await deeds.done(request, "end_own_session", session_id, change)
    return redirect(request, _PATH, "session_ended")


async def end_other_sessions(request: Request) -> Response:
    """Ends all but this one."""
    person = person_of(request)
    change = partial(console_of(request).store.end_sessions, person.person_id, but=person.session_id)
    await deeds.done(request, "end_other_own_sessions", person.email, change)
    return redirect(request, _PATH, "sessions_ended")


async def _page(request: Request, form: Form, status: int = 200) -> Response:
    console = console_of(request)
    sessions = await console.store.sessions(person_of(request).person_id)
    return console.renderer.page(
        request,
        "settings.html",
        status,
        form=form,
        sessions=sessions,
        shortest=passwords.SHORTEST,
        provider=console.provider,
        connect_token=connect_token(visit_of(request).secret),
    )


routes = [
    customer(_PATH, show),
    customer(f"{_PATH}/password", change_password, ["POST"]),
    customer(f"{_PATH}/sessions/end-others", end_other_sessions, ["POST"]),
    customer(f"{_PATH}/sessions/{{session_id}}/end", end_session, ["POST"]),
]
