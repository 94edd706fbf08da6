"""Signing in through the OpenID Connect provider, and connecting its identity to who is signed in.

An identity is never connected by its e-mail address: whoever registered that address first need not be its owner, and
would share the account from then on. Somebody who has an account connects it themselves, while signed in.
"""

import hmac
import os
from functools import partial
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.console import deeds
from services.console.console import console_of
from services.console.guards import SIGN_IN, public
from services.console.handshake import CONNECT, Handshake, connect_token, returned
from services.console.handshake import SIGN_IN as TO_SIGN_IN
from services.console.pages.sign_in import admitted
from services.console.people import BadAddress
from services.console.places import HOME
from services.console.provider import Identity, Provider, ProviderFailed
from services.console.rendering import redirect
from services.console.store import AddressTaken, IdentityTaken, Person
from services.console.throttle import Throttled
from services.console.visit import visit_of
from services.shared.telemetry import logger

_START: Final = f"{SIGN_IN}/provider"
_DONE: Final = f"{_START}/done"
_SALT_BYTES: Final = 16
_TAKEN: Final = "That identity is connected to another account."
_FAILED: Final = "The provider could not say who you are. Please try again."

_log = logger("provider")


async def start(request: Request) -> Response:
    """To the provider. Who is signed in connects; the link of the settings holds a token of the session for that."""
    provider, visit = _provider(request), visit_of(request)
    intent = TO_SIGN_IN
    if visit.person:
        if not hmac.compare_digest(
            request.query_params.get("connect", "").encode(), connect_token(visit.secret).encode()
        ):
            return redirect(request, HOME)
        intent = CONNECT
    handshake = Handshake(visit.secret, intent, os.urandom(_SALT_BYTES).hex())
    try:
        return RedirectResponse(await provider.url(handshake, _redirect_uri(request)), 303)
    except ProviderFailed as failed:
        _log.warning("provider_failed", error=str(failed))
        raise HTTPException(502, "The provider does not answer just now. Please try again in a moment.") from None


async def done(request: Request) -> Response:
    """Back from the provider, with a code or a refusal."""
    provider, visit, said = _provider(request), visit_of(request), request.query_params
    handshake = returned(visit.secret, said.get("state", ""))
    if handshake is None or (handshake.intent == CONNECT) != (visit.person is not None):
        raise HTTPException(403, "This answer belongs to another sign-in. Please begin again.")
    if "code" not in said:
        raise HTTPException(403, "The provider did not let you in.")
    try:
        identity = await provider.identity(handshake, said["code"], _redirect_uri(request))
    except ProviderFailed as failed:
        _log.warning("provider_failed", error=str(failed))
        raise HTTPException(502, _FAILED) from None
    if visit.person:
        return await _connect(request, visit.person, identity)
    return await admitted(request, await _person(request, identity), HOME)


async def _connect(request: Request, person: Person, identity: Identity) -> Response:
    store = console_of(request).store
    known = await store.person_by_identity(identity.issuer, identity.subject)
    if known is not None and known.person_id != person.person_id:
        raise HTTPException(409, _TAKEN)
    connect = partial(store.add_identity, identity.issuer, identity.subject, person.person_id)
    try:
        await deeds.done(request, "connect_identity", person.email, connect, subject=identity.subject)
    except IdentityTaken:  # this very moment
        raise HTTPException(409, _TAKEN) from None
    return redirect(request, "/settings", "connected")


async def _person(request: Request, identity: Identity) -> Person:
    """Whom the identity is connected to; somebody new, if people may register. Raises HTTPException."""
    console = console_of(request)
    known = await console.store.person_by_identity(identity.issuer, identity.subject)
    if known is not None:
        if not known.enabled:
            raise HTTPException(403, "This account is shut.")
        return await console.people.with_tenant(known)
    if not console.settings.registration:
        raise HTTPException(403, "There is no account of yours here. Ask whoever runs this service for one.")
    try:
        return await console.people.register_identity(identity, visit_of(request).address)
    except BadAddress:
        raise HTTPException(403, "The provider has not verified your e-mail address.") from None
    except AddressTaken:
        said = "There is an account of your address. Sign in to it with its password, then connect it in its settings."
        raise HTTPException(409, said) from None
    except Throttled:
        raise HTTPException(429, "Too many accounts were made from your address. Please try again later.") from None


def _provider(request: Request) -> Provider:
    provider = console_of(request).provider
    if provider is None:
        raise HTTPException(404)
    return provider


def _redirect_uri(request: Request) -> str:
    return f"{request.url.scheme}://{request.url.netloc}{_DONE}"


routes = [public(_START, start), public(_DONE, done)]
