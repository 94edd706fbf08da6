"""One-time codes: asked for after the password, turned on and off in the settings."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from services.console import deeds, one_time_codes, self_service, sessions
from services.console.console import console_of
from services.console.forms import Form
from services.console.guards import SIGN_IN, customer, public
from services.console.pages.forms_again import again
from services.console.pages.registration import patience, signed_in, too_many
from services.console.people import WrongPassword
from services.console.places import own_path
from services.console.problems import Problem
from services.console.rendering import redirect
from services.console.store import SignedIn
from services.console.throttle import Throttled
from services.console.visit import person_of, visit_of

ASKED: Final = f"{SIGN_IN}/code"
_SETTINGS: Final = "/settings/codes"
_WRONG: Final = "That code is not good, or was used before."


async def ask(request: Request) -> Response:
    """The form of those whose password was right."""
    if await _awaited(request) is None:
        return redirect(request, SIGN_IN)
    return _asked(request, Form({"next": own_path(request.query_params.get("next", ""))}))


async def answer(request: Request) -> Response:
    """Checks the code and begins the session, under a new secret."""
    form, console = await Form.read(request, "code", "next"), console_of(request)
    person = await _awaited(request)
    if person is None:
        return redirect(request, SIGN_IN)
    try:
        await console.codes.check(person, form["code"])
    except WrongPassword:
        return _asked(request, form.wrong("code", _WRONG), 401)
    except Throttled as throttled:
        return too_many(_asked(request, form.wrong("", patience(throttled)), 429), throttled)
    await console.store.end_session(person.person_id, person.session_id)
    return await signed_in(request, person, own_path(form["next"]))


async def show(request: Request) -> Response:
    """Whether codes are on; while they are being turned on, the picture for the device."""
    return await _page(request, Form())


async def begin(request: Request) -> Response:
    """Makes a secret for a device."""
    person, issuer = person_of(request), visit_of(request).title
    change = partial(self_service.begin_codes, console_of(request), person, issuer)
    await deeds.done(request, "begin_own_codes", person.email, change)
    return redirect(request, _SETTINGS)


async def confirm(request: Request) -> Response:
    """Turns codes on once the device has made a good one, and shows the recovery codes, this once."""
    form, person = await Form.read(request, "code"), person_of(request)
    change = partial(self_service.confirm_codes, console_of(request), person, form["code"])
    try:
        codes = await deeds.done(request, "confirm_own_codes", person.email, change)
    except Problem as problem:
        return await again(problem, form, partial(_page, request))
    return await _page(request, Form(), recovery_codes=codes)


async def drop(request: Request) -> Response:
    """Turns codes off; takes the password, so that an unattended browser is not enough."""
    form, person = await Form.read(request, "password"), person_of(request)
    change = partial(self_service.drop_codes, console_of(request), person, form["password"], visit_of(request).address)
    try:
        await deeds.done(request, "drop_own_codes", person.email, change)
    except Problem as problem:
        return await again(problem, form, partial(_page, request))
    return redirect(request, _SETTINGS, "codes_off")


async def _awaited(request: Request) -> SignedIn | None:
    return await console_of(request).store.awaiting_code(sessions.secret_hash(visit_of(request).secret))


def _asked(request: Request, form: Form, status: int = 200) -> Response:
    return console_of(request).renderer.page(request, "code.html", status, form=form)


async def _page(request: Request, form: Form, status: int = 200, recovery_codes: Sequence[str] = ()) -> Response:
    console, person = console_of(request), person_of(request)
    on = await console.codes.wanted_of(person)
    device = None if on else await self_service.begun_codes(console, person, visit_of(request).title)
    left = await console.store.recovery_codes_left(person.person_id) if on else 0
    return console.renderer.page(
        request,
        "codes.html",
        status,
        form=form,
        on=on,
        secret=device.secret if device else None,
        picture=one_time_codes.picture(device.uri) if device else "",
        left=left,
        recovery_codes=recovery_codes,
    )


routes = [
    public(ASKED, ask),
    public(ASKED, answer, ["POST"]),
    customer(_SETTINGS, show),
    customer(f"{_SETTINGS}/begin", begin, ["POST"]),
    customer(f"{_SETTINGS}/confirm", confirm, ["POST"]),
    customer(f"{_SETTINGS}/drop", drop, ["POST"]),
]
