"""What keeps the console safe, on the real process: tokens of forms, cookies, headers, where one may be sent."""

import re

import httpx2
import pytest

from services.shared import ids
from tests.deployment import Deployment
from tests.visitors import PASSWORD, Visitor, customer, text_of

PAGES = ("/", "/sign-in", "/register", "/nowhere", "/brand.css", "/dashboard", "/favicon.ico")


def change(visitor: Visitor, token: str, **headers: str) -> int:
    """Tries to end the other sessions, which does no harm; answers the status."""
    fields = {"csrf_token": token} if token else {}
    return visitor.client.post("/settings/sessions/end-others", data=fields, headers=headers).status_code


# ---- requests of other sites ----


def test_a_change_needs_the_token_of_its_own_session(tollhouse: Deployment) -> None:
    visitor, other = customer(tollhouse), customer(tollhouse)
    good = visitor.token("/settings")
    assert change(visitor, good) == 303
    assert change(visitor, "") == 403
    assert change(visitor, other.token("/settings")) == 403
    assert change(visitor, good[:-1] + ("0" if good[-1] != "0" else "1")) == 403
    assert change(visitor, "é" * 64) == 403


def test_htmx_brings_the_token_as_a_header(tollhouse: Deployment) -> None:
    visitor = customer(tollhouse)
    page = visitor.get("/settings").text
    said = re.search(r"hx-headers='\{\"x-csrf-token\": \"(\w+)\"\}'", page)
    assert said is not None
    assert change(visitor, "", **{"x-csrf-token": said[1]}) == 303
    assert change(visitor, "", **{"x-csrf-token": "wrong"}) == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
    ],
)
def test_what_another_site_asks_for_is_refused_even_with_the_token(
    tollhouse: Deployment, headers: dict[str, str]
) -> None:
    visitor = customer(tollhouse)
    assert change(visitor, visitor.token("/settings"), **headers) == 403


def test_what_our_own_page_asks_for_is_done(tollhouse: Deployment) -> None:
    visitor = customer(tollhouse)
    token = visitor.token("/settings")
    assert change(visitor, token, **{"sec-fetch-site": "same-origin"}) == 303
    assert change(visitor, token, origin=tollhouse.console_url) == 303


def test_signing_in_and_registering_need_a_token_too(tollhouse: Deployment) -> None:
    email = f"{ids.ulid()}@tests.example"
    for path in ("/sign-in", "/register"):
        visitor = Visitor.of(tollhouse)
        assert visitor.client.post(path, data={"email": email, "password": PASSWORD}).status_code == 403
        assert not visitor.is_signed_in


def test_the_token_of_before_signing_in_is_good_no_more(tollhouse: Deployment) -> None:
    visitor = Visitor.of(tollhouse)
    before = visitor.token("/register")
    assert visitor.register(f"{ids.ulid()}@tests.example").status_code == 303
    assert change(visitor, before) == 403


def test_a_caller_with_authorization_is_not_who_its_cookie_says(tollhouse: Deployment) -> None:
    visitor = customer(tollhouse)
    assert change(visitor, "", authorization="Bearer something") == 303
    assert visitor.get("/settings").status_code == 200
    answer = visitor.get("/dashboard", headers={"authorization": "Bearer something"})
    assert answer.headers["location"].startswith("/sign-in")


# ---- sessions ----


def test_a_session_that_was_planted_before_signing_in_is_not_the_one_of_after(tollhouse: Deployment) -> None:
    email = f"{ids.ulid()}@tests.example"
    assert Visitor.of(tollhouse).register(email).status_code == 303
    planted = "A" * 43
    victim = Visitor.of(tollhouse)
    victim.client.cookies.set("session", planted)
    assert victim.sign_in(email).status_code == 303
    secrets = [cookie.value for cookie in victim.client.cookies.jar if cookie.name == "session"]
    assert any(secret != planted for secret in secrets)
    attacker = Visitor.of(tollhouse, cookie=f"session={planted}")
    assert not attacker.is_signed_in


def test_signing_in_again_ends_the_session_of_before(tollhouse: Deployment) -> None:
    email = f"{ids.ulid()}@tests.example"
    visitor = Visitor.of(tollhouse)
    assert visitor.register(email).status_code == 303
    before = visitor.secret
    token = visitor.token("/settings")
    again = visitor.client.post("/sign-in", data={"csrf_token": token, "email": email, "password": PASSWORD})
    assert again.status_code == 303
    assert visitor.secret != before
    assert not Visitor.of(tollhouse, cookie=f"session={before}").is_signed_in


def test_cookies_are_kept_from_scripts_and_other_sites(tollhouse: Deployment) -> None:
    cookie = Visitor.of(tollhouse).get("/sign-in").headers["set-cookie"]
    assert cookie.startswith("session=")
    assert {"HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))


def test_behind_https_cookies_are_bound_to_the_host_and_browsers_stay_with_https(tollhouse: Deployment) -> None:
    answer = Visitor.of(tollhouse, **{"x-forwarded-proto": "https"}).get("/sign-in")
    cookie = answer.headers["set-cookie"]
    assert cookie.startswith("__Host-session=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(cookie.split("; "))
    assert "Domain" not in cookie
    assert "max-age=31536000" in answer.headers["strict-transport-security"]
    assert "strict-transport-security" not in Visitor.of(tollhouse).get("/sign-in").headers


def test_over_https_one_can_register_and_is_signed_in(tollhouse: Deployment) -> None:
    visitor = Visitor.of(tollhouse, **{"x-forwarded-proto": "https"})

    def with_cookie(answer: httpx2.Response) -> str:
        cookie = next(said for said in answer.headers.get_list("set-cookie") if said.startswith("__Host-session="))
        return cookie.partition(";")[0]

    page = visitor.get("/register")
    token = re.search(r'name="csrf_token" value="(\w+)"', page.text)
    assert token is not None
    fields = {"csrf_token": token[1], "email": f"{ids.ulid()}@tests.example", "password": PASSWORD}
    registered = visitor.client.post("/register", data=fields, headers={"cookie": with_cookie(page)})
    assert registered.status_code == 303
    assert visitor.get("/dashboard", headers={"cookie": with_cookie(registered)}).status_code == 200


# ---- headers ----


@pytest.mark.parametrize("path", PAGES)
def test_every_response_tells_browsers_what_not_to_do(tollhouse: Deployment, path: str) -> None:
    headers = Visitor.of(tollhouse).get(path).headers
    policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert "server" not in headers


def test_refusals_of_the_layer_itself_have_the_headers_too(tollhouse: Deployment) -> None:
    refused = Visitor.of(tollhouse).client.post("/sign-in", data={})
    assert refused.status_code == 403
    assert "content-security-policy" in refused.headers
    assert "reload it" in text_of(refused)


def test_pages_are_not_kept_and_hashed_files_are_for_good(tollhouse: Deployment) -> None:
    visitor = customer(tollhouse)
    page = visitor.get("/dashboard")
    assert page.headers["cache-control"] == "no-store"
    files = re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text)
    assert len(files) >= 5
    for name in files:
        answer = visitor.get(name)
        assert answer.status_code == 200, name
        assert "immutable" in answer.headers["cache-control"]
        assert "set-cookie" not in answer.headers
    assert visitor.get("/static/console.css").status_code == 404
    assert visitor.get("/static/../app.py").status_code == 404


def test_no_page_needs_what_the_policy_forbids(tollhouse: Deployment) -> None:
    visitor = customer(tollhouse)
    for path in (*PAGES, "/settings"):
        page = visitor.get(path).text
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", page), path


# ---- where one may be sent ----


@pytest.mark.parametrize(
    "onward", ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example", "evil", "", "///evil"]
)
def test_signing_in_leads_nowhere_but_to_our_own_pages(tollhouse: Deployment, onward: str) -> None:
    email = f"{ids.ulid()}@tests.example"
    visitor = Visitor.of(tollhouse)
    assert visitor.register(email).status_code == 303
    assert visitor.sign_out().status_code == 303
    assert visitor.sign_in(email, onward=onward).headers["location"] == "/dashboard"
    assert visitor.get("/sign-in", params={"next": onward}).headers["location"] == "/dashboard"


def test_a_body_that_is_too_large_is_refused(tollhouse: Deployment) -> None:
    visitor = customer(tollhouse)
    token = visitor.token("/settings")
    fields = {"csrf_token": token, "old_password": "x" * (1024 * 1024)}
    assert visitor.client.post("/settings/password", data=fields).status_code == 413


def test_what_people_chose_is_escaped_wherever_it_is_shown(tollhouse: Deployment) -> None:
    bad = "<script>alert(1)</script>"
    visitor = Visitor.of(tollhouse, **{"user-agent": bad})
    assert visitor.register(f"{ids.ulid()}'or'1@tests.example").status_code == 303
    page = visitor.get("/settings").text
    assert bad not in page
    assert "&lt;script&gt;" in page
    again = visitor.client.post(
        "/sign-in", data={"csrf_token": visitor.token("/settings"), "email": f'"{bad}', "next": f'"{bad}'}
    )
    assert bad not in again.text
