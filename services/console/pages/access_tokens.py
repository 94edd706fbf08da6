"""A person's access tokens: made, shown once, listed, revoked."""

from datetime import UTC, datetime
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from services.console import access_tokens, deeds, self_service
from services.console.console import console_of
from services.console.forms import Form
from services.console.guards import customer
from services.console.pages.forms_again import again
from services.console.problems import Problem
from services.console.rendering import redirect
from services.console.visit import person_of
from services.shared import clock

_PATH: Final = "/settings/tokens"
_DAYS: Final = (7, 30, 90, 365)
_USUAL_DAYS: Final = 90


async def show(request: Request) -> Response:
    """The tokens, and the form for a new one."""
    return await _page(request, Form({"days": str(_USUAL_DAYS)}))


async def create(request: Request) -> Response:
    """Makes a token and shows it, this once."""
    console, person = console_of(request), person_of(request)
    grantable = access_tokens.grantable(person.is_operator)
    form = await Form.read(request, "name", "days", *(scope.label for scope in grantable))
    name, days = form["name"].strip(), int(form["days"]) if form["days"] in map(str, _DAYS) else 0
    scopes = [scope for scope in grantable if form[scope.label]]
    for field, why in self_service.token_faults(person, name, scopes, days).items():
        form.wrong(field, why)
    if form.errors:
        return await _page(request, form, 422)
    change = partial(self_service.make_token, console, person, name, scopes, days)
    try:
        _, secret = await deeds.done(request, "create_own_access_token", person.email, change, name=name)
    except Problem as problem:
        return await again(problem, form, partial(_page, request))
    return await _page(request, Form({"days": str(_USUAL_DAYS)}), secret=secret)


async def revoke(request: Request) -> Response:
    """Ends one of the person's own tokens, at once and for good."""
    token_id = request.path_params["token_id"]
    change = partial(self_service.revoke_token, console_of(request), person_of(request), token_id)
    await deeds.done(request, "revoke_own_access_token", token_id, change)
    return redirect(request, _PATH, "token_revoked")


async def _page(request: Request, form: Form, status: int = 200, secret: str = "") -> Response:
    console, person = console_of(request), person_of(request)
    return console.renderer.page(
        request,
        "access_tokens.html",
        status,
        form=form,
        secret=secret,
        tokens=await console.tokens.of_person(person.person_id),
        now=_now(),
        scopes=access_tokens.grantable(person.is_operator),
        days=_DAYS,
        name_most=access_tokens.NAME_MOST,
        here=f"{request.url.scheme}://{request.url.netloc}",
    )


def _now() -> datetime:
    return datetime.fromtimestamp(clock.now_ms() / clock.MS_PER_S, UTC)


routes = [
    customer(_PATH, show),
    customer(_PATH, create, ["POST"]),
    customer(f"{_PATH}/{{token_id}}/revoke", revoke, ["POST"]),
]
