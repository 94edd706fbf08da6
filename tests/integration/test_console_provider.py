"""Signing in through an OpenID Connect provider that signs real ID tokens, on a console of its own."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pyotp
import pytest
from joserfc.jwk import RSAKey

from services.shared import clock, ids
from tests.deployment import Deployment, deployed
from tests.identity_provider import CLIENT_ID, CLIENT_SECRET, IdentityProvider, identity_provider
from tests.visitors import Visitor, text_of


@pytest.fixture(scope="module")
def running() -> Iterator[IdentityProvider]:
    with identity_provider() as provider:
        yield provider


@pytest.fixture(scope="module")
def sso(tmp_path_factory: pytest.TempPathFactory, running: IdentityProvider) -> Iterator[Deployment]:
    state: Path = tmp_path_factory.mktemp("sso") / "state"
    settings = {"ISSUER": running.url, "CLIENT_ID": CLIENT_ID, "CLIENT_SECRET": CLIENT_SECRET, "LABEL": "House ID"}
    with deployed(state, **{f"TOLLHOUSE_CONSOLE_OIDC_{name}": value for name, value in settings.items()}) as deployment:
        yield deployment


@pytest.fixture
def provider(running: IdentityProvider) -> IdentityProvider:
    """Somebody new is signed in at the provider, and nothing is wrong."""
    running.subject, running.email = ids.ulid(), f"{ids.ulid()}@tests.example"
    running.email_verified, running.refuses, running.claims = True, False, {}
    running.published = None
    return running


def through(visitor: Visitor, start: str = "/sign-in/provider") -> httpx2.Response:
    """To the provider and back; answers what the console says to that."""
    return visitor.get(back_from(visitor, start))


def back_from(visitor: Visitor, start: str = "/sign-in/provider") -> str:
    """Where the provider sends the browser back to."""
    sent = visitor.get(start)
    assert sent.status_code == 303, text_of(sent)
    back = httpx2.get(sent.headers["location"])
    return str(back.headers["location"])


def test_somebody_new_gets_an_account_and_is_the_same_person_the_next_time(
    sso: Deployment, provider: IdentityProvider
) -> None:
    first = Visitor.of(sso)
    assert "Continue with House ID" in text_of(first.get("/sign-in"))
    answer = through(first)
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard")
    assert provider.email in text_of(first.get("/settings"))
    address, provider.email = provider.email, "renamed@tests.example"
    second = Visitor.of(sso)
    assert through(second).status_code == 303
    assert address in text_of(second.get("/settings")), "known by the subject, not by the address"


def test_who_signs_in_through_the_provider_has_no_password(sso: Deployment, provider: IdentityProvider) -> None:
    assert through(Visitor.of(sso)).status_code == 303
    for password in ("", "the password of nobody"):
        assert Visitor.of(sso).sign_in(provider.email, password).status_code == 401


def test_who_has_no_password_turns_codes_off_with_one_of_them(sso: Deployment, provider: IdentityProvider) -> None:
    visitor = Visitor.of(sso)
    assert through(visitor).status_code == 303
    assert "You have none" in text_of(visitor.get("/settings"))
    assert visitor.send("/settings/codes", "/settings/codes/begin").status_code == 303
    secret = re.search(r'data-copy="([A-Z2-7]{32})"', visitor.get("/settings/codes").text)
    assert secret is not None
    code = pyotp.TOTP(secret[1]).at(clock.now_ms() // 1000)
    page = visitor.send("/settings/codes", "/settings/codes/confirm", code=code)
    recovery = re.findall(r"\b[0-9a-z]{5}-[0-9a-z]{5}\b", text_of(page))
    assert through(Visitor.of(sso)).headers["location"].startswith("/sign-in/code")
    for used in (code, "000000", ""):
        assert visitor.send("/settings/codes", "/settings/codes/drop", code=used).status_code == 422
    assert visitor.send("/settings/codes", "/settings/codes/drop", code=recovery[0]).status_code == 303
    assert through(Visitor.of(sso)).headers["location"] == "/dashboard"


def test_signing_in_makes_a_new_session_here_too(sso: Deployment, provider: IdentityProvider) -> None:
    visitor = Visitor.of(sso)
    visitor.get("/sign-in")
    before = visitor.secret
    assert through(visitor).status_code == 303
    assert visitor.secret != before
    assert not Visitor.of(sso, cookie=f"session={before}").is_signed_in


def test_an_address_that_somebody_has_is_not_taken_over(sso: Deployment, provider: IdentityProvider) -> None:
    assert Visitor.of(sso).register(provider.email).status_code == 303
    visitor = Visitor.of(sso)
    refused = through(visitor)
    assert refused.status_code == 409
    assert "Sign in to it with its password" in text_of(refused)
    assert not visitor.is_signed_in


def test_an_account_is_connected_by_who_is_signed_in_to_it(sso: Deployment, provider: IdentityProvider) -> None:
    email, visitor = f"{ids.ulid()}@tests.example", Visitor.of(sso)
    assert visitor.register(email).status_code == 303
    link = re.search(r'href="(/sign-in/provider\?connect=\w+)"', visitor.get("/settings").text)
    assert link is not None
    assert through(visitor, link[1]).headers["location"] == "/settings"
    other = Visitor.of(sso)
    assert through(other).status_code == 303
    assert email in text_of(other.get("/settings"))

    thief = Visitor.of(sso)
    assert thief.register(f"{ids.ulid()}@tests.example").status_code == 303
    link = re.search(r'href="(/sign-in/provider\?connect=\w+)"', thief.get("/settings").text)
    assert link is not None
    assert through(thief, link[1]).status_code == 409


def test_no_other_site_can_make_somebody_connect(sso: Deployment, provider: IdentityProvider) -> None:
    visitor = Visitor.of(sso)
    assert visitor.register(f"{ids.ulid()}@tests.example").status_code == 303
    assert visitor.get("/sign-in/provider").headers["location"] == "/dashboard"
    assert visitor.get("/sign-in/provider?connect=guessed").headers["location"] == "/dashboard"


def test_an_answer_is_good_in_the_browser_that_asked_only(sso: Deployment, provider: IdentityProvider) -> None:
    back = back_from(Visitor.of(sso))
    victim = Visitor.of(sso)
    victim.get("/sign-in")
    assert victim.get(back).status_code == 403
    assert not victim.is_signed_in


def test_a_code_is_good_once(sso: Deployment, provider: IdentityProvider) -> None:
    visitor = Visitor.of(sso)
    back = back_from(visitor)
    secret = visitor.secret
    assert visitor.get(back).status_code == 303
    assert Visitor.of(sso, cookie=f"session={secret}").get(back).status_code == 502


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example"},
        {"aud": "another client"},
        {"nonce": "of another sign-in"},
        {"exp": 1_000_000_000},
        {"iat": None},
        {"sub": None},
        {"azp": "another client"},
    ],
    ids=lambda claims: next(iter(claims)),
)
def test_an_id_token_that_is_not_for_this_sign_in_signs_nobody_in(
    sso: Deployment, provider: IdentityProvider, claims: dict[str, Any]
) -> None:
    provider.claims = claims
    visitor = Visitor.of(sso)
    assert through(visitor).status_code == 502
    assert not visitor.is_signed_in


def test_an_id_token_of_another_key_is_not_believed(sso: Deployment, provider: IdentityProvider) -> None:
    provider.published = provider.key
    provider.key = RSAKey.generate_key(2048, auto_kid=True)
    visitor = Visitor.of(sso)
    assert through(visitor).status_code == 502
    assert not visitor.is_signed_in


def test_new_keys_of_the_provider_are_found(sso: Deployment, provider: IdentityProvider) -> None:
    assert through(Visitor.of(sso)).status_code == 303
    provider.key = RSAKey.generate_key(2048, auto_kid=True)
    assert through(Visitor.of(sso)).status_code == 303


def test_somebody_new_needs_a_verified_address(sso: Deployment, provider: IdentityProvider) -> None:
    provider.email_verified = False
    refused = through(Visitor.of(sso))
    assert refused.status_code == 403
    assert "not verified" in text_of(refused)


def test_a_refusal_of_the_provider_is_told(sso: Deployment, provider: IdentityProvider) -> None:
    provider.refuses = True
    assert "did not let you in" in text_of(through(Visitor.of(sso)))


def test_without_a_provider_there_is_no_such_page(tollhouse: Deployment) -> None:
    visitor = Visitor.of(tollhouse)
    assert visitor.get("/sign-in/provider").status_code == 404
    assert visitor.get("/sign-in/provider/done?code=1&state=2").status_code == 404
    assert "Continue with" not in text_of(visitor.get("/sign-in"))
