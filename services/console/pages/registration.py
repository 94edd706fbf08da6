"""Registering, and `/auth?action=register`, which links elsewhere lead to."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.console import cookies, passwords, problems
from services.console.console import console_of
from services.console.forms import Form
from services.console.guards import SIGN_IN, public
from services.console.passwords import Weak
from services.console.people import BadAddress
from services.console.places import HOME
from services.console.rendering import redirect
from services.console.store import AddressTaken, Person
from services.console.throttle import Throttled
from services.console.visit import visit_of


async def show(request: Request) -> Response:
    """The form."""
    _offered(request)
    if visit_of(request).person:
        return redirect(request, HOME)
    return _page(request, Form())


async def register(request: Request) -> Response:
    """Makes the account and signs in."""
    _offered(request)
    form = await Form.read(request, "email", "password")
    try:
        address = visit_of(request).address
        person = await console_of(request).people.register(form["email"], form["password"], address)
    except BadAddress:
        return _page(request, form.wrong("email", "That is not an e-mail address."), 422)
    except AddressTaken:
        return _page(request, form.wrong("email", "There is an account of this address. Sign in instead."), 409)
    except Weak as weak:
        return _page(request, form.wrong("password", str(weak)), 422)
    except Throttled as throttled:
        return too_many(_page(request, form.wrong("", patience(throttled)), 429), throttled)
    return await signed_in(request, person, HOME, notice="welcome")


async def auth(request: Request) -> Response:
    """To the form that `action` names."""
    return RedirectResponse("/register" if request.query_params.get("action") == "register" else SIGN_IN, 303)


async def signed_in(request: Request, person: Person, path: str, notice: str = "") -> Response:
    """Begins a session under a new secret, whatever the browser came with, and goes on."""
    visit = visit_of(request)
    begun = await console_of(request).people.begin_session(person, visit.address, visit.user_agent)
    response = redirect(request, path, notice)
    cookies.set_session(response, begun.secret, visit.https)
    return response


def patience(throttled: Throttled) -> str:
    """How long to wait, for people."""
    return problems.of_throttled(throttled).detail


def too_many(response: Response, throttled: Throttled) -> Response:
    """Says how long to wait, for programs."""
    response.headers["retry-after"] = f"{throttled.wait_s:.0f}"
    return response


def _page(request: Request, form: Form, status: int = 200) -> Response:
    renderer = console_of(request).renderer
    return renderer.page(request, "register.html", status, form=form, shortest=passwords.SHORTEST)


def _offered(request: Request) -> None:
    if not console_of(request).settings.registration:
        raise HTTPException(404)


routes = [
    public("/register", show),
    public("/register", register, ["POST"]),
    public("/auth", auth),
]
