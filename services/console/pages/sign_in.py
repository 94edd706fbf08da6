"""Signing in and out."""

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from services.console import cookies
from services.console.console import console_of
from services.console.forms import Form
from services.console.guards import SIGN_IN, public
from services.console.pages.codes import ASKED
from services.console.pages.registration import patience, signed_in, too_many
from services.console.people import WrongPassword
from services.console.places import own_path
from services.console.rendering import redirect
from services.console.store import Person
from services.console.throttle import Throttled
from services.console.visit import visit_of


async def show(request: Request) -> Response:
    """The form; `next` is where to go afterwards."""
    onward = own_path(request.query_params.get("next", ""))
    if visit_of(request).person:
        return redirect(request, onward)
    return _page(request, Form({"next": onward}))


async def sign_in(request: Request) -> Response:
    """Checks the password and begins a session."""
    form = await Form.read(request, "email", "password", "next")
    console, visit = console_of(request), visit_of(request)
    try:
        person = await console.people.sign_in(form["email"], form["password"], visit.address)
    except WrongPassword:
        return _page(request, form.wrong("", "The address or the password is wrong."), 401)
    except Throttled as throttled:
        return too_many(_page(request, form.wrong("", patience(throttled)), 429), throttled)
    if visit.person:
        await console.store.end_session(visit.person.person_id, visit.person.session_id)
    return await admitted(request, person, own_path(form["next"]))


async def sign_out(request: Request) -> Response:
    """Ends the session, and takes its cookie away."""
    visit = visit_of(request)
    if visit.person:
        await console_of(request).store.end_session(visit.person.person_id, visit.person.session_id)
    response = redirect(request, SIGN_IN, "signed_out")
    cookies.forget(response, cookies.session_name(visit.https), visit.https)
    response.headers["clear-site-data"] = '"cache"'
    return response


async def admitted(request: Request, person: Person, onward: str) -> Response:
    """Signs somebody in who has shown who they are, or asks for their one-time code first."""
    if await console_of(request).codes.wanted_of(person):
        return await _to_code(request, person, onward)
    return await signed_in(request, person, onward)


async def _to_code(request: Request, person: Person, onward: str) -> Response:
    """The password was right, and nobody is signed in yet."""
    visit = visit_of(request)
    begun = await console_of(request).people.begin_session(person, visit.address, visit.user_agent, awaits_code=True)
    response = redirect(request, f"{ASKED}?{urlencode({'next': onward})}")
    cookies.set_session(response, begun.secret, visit.https)
    return response


def _page(request: Request, form: Form, status: int = 200) -> Response:
    return console_of(request).renderer.page(
        request, "sign_in.html", status, form=form, provider=console_of(request).provider
    )


routes = [
    public(SIGN_IN, show),
    public(SIGN_IN, sign_in, ["POST"]),
    public("/sign-out", sign_out, ["POST"]),
]
