"""A person's access tokens: made, shown once, listed, revoked."""

import os
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from services.console import access_tokens, deeds
from services.console.access_tokens import AccessToken
from services.console.console import console_of
from services.console.forms import Form
from services.console.guards import customer
from services.console.rendering import redirect
from services.console.visit import person_of
from services.shared import clock, ids

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
    name, now = form["name"].strip(), _now()
    scopes = [scope.label for scope in grantable if form[scope.label]]
    if not name or len(name) > access_tokens.NAME_MOST or not name.isprintable():
        form.wrong("name", f"A name of at most {access_tokens.NAME_MOST} characters is needed.")
    if not scopes:
        form.wrong("scopes", "Choose at least one thing that it may do.")
    if form["days"] not in map(str, _DAYS):
        form.wrong("days", "Choose when it ends.")
    running = [token for token in await console.tokens.of_person(person.person_id) if not token.ended(now)]
    if len(running) >= access_tokens.PER_PERSON_MOST:
        form.wrong("", f"You have {len(running)} access tokens. Revoke one first.")
    if form.errors:
        return await _page(request, form, 422)
    secret = access_tokens.secret_of(os.urandom(access_tokens.SECRET_BYTES))
    ends = now + timedelta(days=int(form["days"]))
    token = AccessToken(f"token_{ids.ulid()}", person.person_id, name, scopes, now, ends, None, None)
    change = partial(console.tokens.add, token, access_tokens.secret_hash(secret))
    await deeds.done(
        request, "create_access_token", token.token_id, change, name=name, scopes=" ".join(scopes), days=form["days"]
    )
    return await _page(request, Form({"days": str(_USUAL_DAYS)}), secret=secret)


async def revoke(request: Request) -> Response:
    """Ends one of the person's own tokens, at once and for good."""
    tokens, person_id = console_of(request).tokens, person_of(request).person_id
    token_id = request.path_params["token_id"]
    if not any(token.token_id == token_id for token in await tokens.of_person(person_id)):
        raise HTTPException(404)
    await deeds.done(request, "revoke_access_token", token_id, partial(tokens.revoke, person_id, token_id))
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
