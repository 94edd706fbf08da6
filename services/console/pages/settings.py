"""A person's own settings: password and sessions."""

from functools import partial

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from services.console import deeds, passwords
from services.console.console import console_of
from services.console.forms import Form
from services.console.guards import customer
from services.console.handshake import connect_token
from services.console.pages.registration import patience, signed_in, too_many
from services.console.passwords import Weak
from services.console.people import WrongPassword
from services.console.rendering import redirect
from services.console.throttle import Throttled
from services.console.visit import person_of, visit_of

_PATH = "/settings"


async def show(request: Request) -> Response:
    """Password and sessions."""
    return await _page(request, Form())


async def change_password(request: Request) -> Response:
    """Sets a new password; every session ends, and this browser goes on under a new one: whoever has learned the secret
    of the present one is out too."""
    form = await Form.read(request, "old_password", "new_password")
    person, people, new = person_of(request), console_of(request).people, form["new_password"]
    try:
        await people.may_change_password(person, form["old_password"], new, visit_of(request).address)
    except WrongPassword:
        return await _page(request, form.wrong("old_password", "That is not your password."), 422)
    except Weak as weak:
        return await _page(request, form.wrong("new_password", str(weak)), 422)
    except Throttled as throttled:
        return too_many(await _page(request, form.wrong("", patience(throttled)), 429), throttled)
    await deeds.done(request, "change_own_password", person.email, partial(people.set_password, person, new))
    return await signed_in(request, person, _PATH, "password_changed")


async def end_session(request: Request) -> Response:
    """Ends one of the person's own sessions."""
    if not await console_of(request).store.end_session(person_of(request).person_id, request.path_params["session_id"]):
        raise HTTPException(404)
    return redirect(request, _PATH, "session_ended")


async def end_other_sessions(request: Request) -> Response:
    """Ends all but this one."""
    person = person_of(request)
    await console_of(request).store.end_sessions(person.person_id, but=person.session_id)
    return redirect(request, _PATH, "sessions_ended")


async def _page(request: Request, form: Form, status: int = 200) -> Response:
    console = console_of(request)
    person = person_of(request)
    return console.renderer.page(
        request,
        "settings.html",
        status,
        form=form,
        sessions=await console.store.sessions(person.person_id),
        has_password=await console.people.has_password(person),
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
