"""What people do about themselves over the management API: password, sessions, access tokens, one-time codes."""

from typing import Any

import httpx2
import pyotp
import pytest

from services.shared import clock
from tests.api_callers import ApiCaller, caller_with
from tests.deployment import Deployment
from tests.visitors import PASSWORD, Visitor, customer, operator
from tollhouse.v1 import billing_pb2

PASSWORDS = "/api/user/password"
SESSIONS = "/api/user/sessions"
TOKENS = "/api/user/access-tokens"
CODES = "/api/user/codes"
OTHER = "another sentence for a password"


@pytest.fixture
def caller(tollhouse: Deployment) -> ApiCaller:
    return caller_with(customer(tollhouse), tollhouse, "account:read", "account:write")


def email_of(visitor: Visitor) -> str:
    return f"customer-{visitor.address}@tests.example"


def with_session(visitor: Visitor, method: str, path: str, **options: Any) -> httpx2.Response:
    """A call as a page of the console makes it."""
    token = visitor.token("/settings")
    return visitor.client.request(method, path, headers={"x-csrf-token": token}, **options)


def another_session(tollhouse: Deployment, caller: ApiCaller) -> Visitor:
    visitor = Visitor.of(tollhouse)
    assert visitor.sign_in(email_of(caller.visitor)).status_code == 303
    return visitor


def rows(tollhouse: Deployment, target: str) -> list[billing_pb2.AuditEntry]:
    return list(tollhouse.billing.ListAudit(billing_pb2.ListAuditRequest(target=target)).entries)


def data(answer: httpx2.Response) -> Any:
    assert answer.status_code == 200, answer.text
    assert answer.json()["success"] is True
    return answer.json().get("data")


def refused(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.json()["success"] is False
    return answer.status_code, answer.json()["message"]


# ---- password ----


def test_a_new_password_takes_the_old_one_and_ends_sessions(tollhouse: Deployment, caller: ApiCaller) -> None:
    wrong = {"old_password": "not the password", "new_password": OTHER}
    assert refused(caller.put(PASSWORDS, json=wrong)) == (400, "That is not your password.")
    assert refused(caller.put(PASSWORDS, json={"old_password": PASSWORD, "new_password": "short"}))[0] == 400
    assert caller.visitor.is_signed_in
    data(caller.put(PASSWORDS, json={"old_password": PASSWORD, "new_password": OTHER}))
    assert not caller.visitor.is_signed_in
    assert Visitor.of(tollhouse).sign_in(email_of(caller.visitor)).status_code == 401
    assert Visitor.of(tollhouse).sign_in(email_of(caller.visitor), OTHER).status_code == 303


def test_the_session_that_changes_the_password_goes_on(tollhouse: Deployment, caller: ApiCaller) -> None:
    other = another_session(tollhouse, caller)
    data(with_session(caller.visitor, "PUT", PASSWORDS, json={"old_password": PASSWORD, "new_password": OTHER}))
    assert caller.visitor.is_signed_in
    assert not other.is_signed_in


def test_guessing_a_password_over_the_api_is_throttled_as_on_the_page(caller: ApiCaller) -> None:
    wrong = {"old_password": "not the password", "new_password": OTHER}
    answers = [caller.put(PASSWORDS, json=wrong) for _ in range(12)]
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["retry-after"]) >= 1
    right = {"old_password": PASSWORD, "new_password": OTHER}
    assert caller.put(PASSWORDS, json=right).status_code == 429


def test_pages_and_programs_write_the_same_rows(tollhouse: Deployment, caller: ApiCaller) -> None:
    visitor = caller.visitor
    changed = {"old_password": PASSWORD, "new_password": OTHER}
    assert visitor.send("/settings", "/settings/password", **changed).status_code == 303
    wrong = visitor.send("/settings", "/settings/password", **changed)
    assert wrong.status_code == 422
    data(caller.put(PASSWORDS, json={"old_password": OTHER, "new_password": PASSWORD}))
    found = [entry for entry in rows(tollhouse, email_of(visitor)) if "password" in entry.action]
    assert [entry.action for entry in reversed(found)] == [
        "change_own_password",
        "change_own_password",
        "change_own_password_refused",
        "change_own_password",
    ]
    assert found[0].actor.startswith(f"{email_of(visitor)} via token_")
    assert not any(secret in entry.details for entry in found for secret in (PASSWORD, OTHER))


# ---- sessions ----


def test_sessions_are_listed_and_ended(tollhouse: Deployment, caller: ApiCaller) -> None:
    other = another_session(tollhouse, caller)
    listed = data(caller.get(SESSIONS))
    assert {session["address"] for session in listed} == {caller.visitor.address, other.address}
    assert not any(session["current"] for session in listed)
    (ended,) = [session["id"] for session in listed if session["address"] == other.address]
    data(caller.delete(f"{SESSIONS}/{ended}"))
    assert not other.is_signed_in
    assert caller.visitor.is_signed_in
    assert caller.delete(f"{SESSIONS}/{ended}").status_code == 404
    (current,) = data(with_session(caller.visitor, "GET", SESSIONS))
    assert current["current"] is True


def test_all_sessions_but_the_callers_are_ended(tollhouse: Deployment, caller: ApiCaller) -> None:
    other = another_session(tollhouse, caller)
    data(with_session(caller.visitor, "DELETE", SESSIONS))
    assert (caller.visitor.is_signed_in, other.is_signed_in) == (True, False)
    data(caller.delete(SESSIONS))
    assert not caller.visitor.is_signed_in


def test_nobody_ends_somebody_elses_session_or_token(tollhouse: Deployment, caller: ApiCaller) -> None:
    stranger = caller_with(customer(tollhouse), tollhouse, "account:read", "account:write")
    (session,) = data(caller.get(SESSIONS))
    (token,) = data(caller.get(TOKENS))
    assert stranger.delete(f"{SESSIONS}/{session['id']}").status_code == 404
    assert stranger.delete(f"{TOKENS}/{token['id']}").status_code == 404
    data(stranger.delete(SESSIONS))
    assert caller.visitor.is_signed_in
    assert len(data(caller.get(TOKENS))) == 1


# ---- access tokens ----


def test_access_tokens_are_made_in_a_session_listed_and_revoked(tollhouse: Deployment, caller: ApiCaller) -> None:
    wanted = {"name": "deploy", "scopes": ["keys:read"], "days": 30}
    made = data(with_session(caller.visitor, "POST", TOKENS, json=wanted))
    program = ApiCaller(tollhouse, made["access_token"])
    assert program.get("/api/token/").status_code == 200
    assert program.get(SESSIONS).status_code == 403
    listed = {token["id"]: token for token in data(caller.get(TOKENS))}
    assert listed[made["id"]]["scopes"] == ["keys:read"]
    assert made["access_token"] not in str(listed)
    data(caller.delete(f"{TOKENS}/{made['id']}"))
    assert program.get("/api/token/").status_code == 401
    assert {token["id"]: token for token in data(caller.get(TOKENS))}[made["id"]]["revoked_time"] > 0


def test_an_access_token_makes_no_other(caller: ApiCaller) -> None:
    wanted = {"name": "child", "scopes": ["keys:read"], "days": 365}
    assert refused(caller.post(TOKENS, json=wanted))[0] == 403
    assert len(data(caller.get(TOKENS))) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"name": ""},
        {"name": "x" * 51},
        {"scopes": []},
        {"scopes": ["everything"]},
        {"scopes": ["admin:write"]},
        {"days": 0},
        {"days": 366},
    ],
    ids=str,
)
def test_what_no_access_token_can_be_is_refused(caller: ApiCaller, fault: dict[str, Any]) -> None:
    wanted = {"name": "deploy", "scopes": ["keys:read"], "days": 30} | fault
    assert refused(with_session(caller.visitor, "POST", TOKENS, json=wanted))[0] == 400


# ---- one-time codes ----


def test_one_time_codes_are_turned_on_and_off(tollhouse: Deployment, caller: ApiCaller) -> None:
    assert data(caller.get(CODES)) == {"on": False, "recovery_codes_left": 0}
    begun = data(caller.post(CODES))
    device = pyotp.TOTP(begun["secret"])
    assert begun["secret"] in begun["uri"]
    assert refused(caller.post(f"{CODES}/confirm", json={"code": "000000"}))[0] == 400
    code = device.at(clock.now_ms() // 1000)
    assert len(data(caller.post(f"{CODES}/confirm", json={"code": code}))["recovery_codes"]) == 10
    assert data(caller.get(CODES)) == {"on": True, "recovery_codes_left": 10}
    assert refused(caller.post(CODES))[0] == 409
    asked = Visitor.of(tollhouse).sign_in(email_of(caller.visitor))
    assert asked.headers["location"].startswith("/sign-in/code")
    assert refused(caller.post(f"{CODES}/drop", json={"password": "not it"})) == (400, "That is not your password.")
    data(caller.post(f"{CODES}/drop", json={"password": PASSWORD}))
    assert data(caller.get(CODES))["on"] is False
    assert another_session(tollhouse, caller).is_signed_in


# ---- people, by operators ----


def test_operators_make_operators_and_end_sessions_but_not_their_own(tollhouse: Deployment) -> None:
    admin = caller_with(operator(tollhouse), tollhouse, "admin:read", "admin:people", "account:read")
    visitor = customer(tollhouse)
    people = "/api/admin/v1/people"
    mine = data(admin.get("/api/user/self"))["id"]
    theirs = data(caller_with(visitor, tollhouse, "account:read").get("/api/user/self"))["id"]
    assert admin.put(f"{people}/{theirs}", json={"enabled": True, "role": "operator"}).json()["role"] == "operator"
    assert visitor.get("/operator/people").status_code == 200
    assert admin.put(f"{people}/{theirs}", json={"enabled": True}).json()["role"] == "operator"
    assert admin.put(f"{people}/{theirs}", json={"enabled": True, "role": "customer"}).json()["role"] == "customer"
    assert visitor.get("/operator/people").status_code == 403
    assert admin.put(f"{people}/{theirs}", json={"enabled": True, "role": "owner"}).status_code == 400
    assert admin.put(f"{people}/{mine}", json={"enabled": True, "role": "customer"}).status_code == 409
    assert admin.delete(f"{people}/{theirs}/sessions").status_code == 204
    assert not visitor.is_signed_in
    assert admin.delete(f"{people}/person_nobody/sessions").status_code == 404
    assert rows(tollhouse, theirs)[0].action == "end_sessions"
