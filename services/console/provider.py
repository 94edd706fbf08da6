"""Signing in through an OpenID Connect provider: the authorization code flow with PKCE and a nonce.

What the protocol asks of us is OpenID Connect Core 1.0, 3.1, and Discovery 1.0; ID tokens are checked by joserfc (their
signature) and Authlib (their claims).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import msgspec
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import InvalidKeyIdError, JoseError
from joserfc.jwk import KeySet

from services.console.handshake import Handshake
from services.console.settings import ConsoleSettings
from services.shared import clock
from services.shared.telemetry import logger

_ALGORITHMS: Final = ["RS256", "PS256", "ES256", "EdDSA"]
_LEEWAY_S: Final = 60
_TIMEOUT_S: Final = 10.0
_ANSWER_MOST: Final = 1024 * 1024
_KEPT_S: Final = 3600.0
"""How long the provider's description and keys are kept; keys that are not known are looked for at once."""

_log = logger("provider")


class ProviderFailed(Exception):
    """The provider does not answer, or answers what cannot be believed. Its text is for the log."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Who somebody is, as the provider says."""

    issuer: str
    subject: str
    email: str
    """Empty unless the provider has verified it."""


class _Description(msgspec.Struct, frozen=True):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str
    access_token: str = ""


class Provider:
    """The one provider of the settings."""

    def __init__(self, settings: ConsoleSettings) -> None:
        self._issuer = settings.oidc_issuer.rstrip("/")
        self._client_id = settings.oidc_client_id
        self._secret = settings.oidc_client_secret
        self.label = settings.oidc_label
        self._described: tuple[float, _Description] | None = None
        self._keys: KeySet | None = None

    async def url(self, handshake: Handshake, redirect_uri: str) -> str:
        """Where the browser goes to sign in. Raises ProviderFailed."""
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": redirect_uri,
            "scope": "openid email",
            "state": handshake.state,
            "nonce": handshake.nonce,
            "code_challenge": create_s256_code_challenge(handshake.verifier),  # type: ignore[no-untyped-call]
            "code_challenge_method": "S256",
        }
        endpoint = (await self._description()).authorization_endpoint
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def identity(self, handshake: Handshake, code: str, redirect_uri: str) -> Identity:
        """Turns a code in for an ID token, and says who it names. Raises ProviderFailed."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": self._client_id,
            "code_verifier": handshake.verifier,
        }
        if self._secret is not None:
            form["client_secret"] = self._secret.reveal()
        description = await self._description()
        tokens = _decoded(await _ask("POST", description.token_endpoint, form), _Tokens)
        claims = await self._claims(tokens, handshake.nonce)
        verified = claims.get("email_verified") in (True, "true")
        email = claims.get("email") if verified else ""
        return Identity(description.issuer, str(claims["sub"]), email if isinstance(email, str) else "")

    async def _claims(self, tokens: _Tokens, nonce: str) -> Mapping[str, Any]:
        try:
            try:
                token = jwt.decode(tokens.id_token, await self._key_set(), algorithms=_ALGORITHMS)
            except InvalidKeyIdError:  # the provider has changed its keys
                token = jwt.decode(tokens.id_token, await self._key_set(anew=True), algorithms=_ALGORITHMS)
            claims = CodeIDToken(
                token.claims,
                token.header,
                options={
                    "iss": {"essential": True, "value": (await self._description()).issuer},
                    "aud": {"essential": True, "value": self._client_id},
                },
                params={"nonce": nonce, "client_id": self._client_id, "access_token": tokens.access_token},
            )
            claims.validate(now=clock.now_ms() // clock.MS_PER_S, leeway=_LEEWAY_S)  # type: ignore[no-untyped-call]
        except (JoseError, ValueError) as error:
            raise ProviderFailed(f"the ID token is not good: {error}") from None
        return claims

    async def _description(self) -> _Description:
        if self._described is None or clock.monotonic_s() - self._described[0] > _KEPT_S:
            body = await _ask("GET", f"{self._issuer}/.well-known/openid-configuration")
            description = _decoded(body, _Description)
            if description.issuer.rstrip("/") != self._issuer:  # Discovery 1.0, 4.3
                raise ProviderFailed(f"the provider calls itself {description.issuer!r}")
            self._described = clock.monotonic_s(), description
            self._keys = None
        return self._described[1]

    async def _key_set(self, *, anew: bool = False) -> KeySet:
        if self._keys is None or anew:
            description = await self._description()
            self._keys = KeySet.import_key_set(_decoded(await _ask("GET", description.jwks_uri), dict[str, Any]))
        return self._keys


def _decoded(body: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.DecodeError as error:
        raise ProviderFailed(f"an answer cannot be read: {error}") from None


async def _ask(method: str, url: str, form: Mapping[str, str] | None = None) -> bytes:
    """The body of an answer of 200. Redirects are not followed: a provider's endpoints are where it says."""
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as client,
            client.request(method, url, data=form, allow_redirects=False) as answer,
        ):
            body = bytearray()
            async for piece in answer.content.iter_any():
                body += piece
                if len(body) > _ANSWER_MOST:
                    raise ProviderFailed(f"{url} answers more than {_ANSWER_MOST} bytes")
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise ProviderFailed(f"{url} does not answer: {error!r}") from None
    if answer.status != 200:
        _log.warning("provider_refused", url=url, status=answer.status)
        raise ProviderFailed(f"{url} answers {answer.status}")
    return bytes(body)
